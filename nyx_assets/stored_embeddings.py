"""Embeddings of chunks that are in some table already, so that nobody computes them again.

Shape letters: C candidates, D width.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from nyx_assets.records import embedding_matrix
from nyx_assets.retrievers import UNTRAINED
from resources.embedder import Embedder
from resources.home import Home
from training_kernels.documents import Document

SAMPLED_CHUNKS = 4
MAX_DIFFERENCE = 1e-3
"""Choice: one document embedded twice differs by its place in a batch, up to 1e-7 in float32 and some 1e-4 in bfloat16;
embeddings of different backbones of one width are no more alike than chance has it."""
NORM_TOLERANCE = 1e-3
"""Choice: float32 normalisation is exact to about 1e-6; a thousandth means that something else was stored."""


def embedded_once(
    ids: Sequence[str], document_of: Callable[[int], Document], embedder: Embedder, known: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, int]:
    """float32 [C, D] of the chunks of these ids, and how many were known already; the others are embedded.

    Args:
        document_of: the chunk at a place of `ids`; asked for only where its embedding is not known.
    """
    embedding_CD = np.empty((len(ids), embedder.dim), np.float32)
    new = []
    for row, chunk_id in enumerate(ids):
        if chunk_id in known:
            embedding_CD[row] = known[chunk_id]
        else:
            new.append(row)
    if new:
        embedding_CD[new] = embedder.embed([document_of(row) for row in new], side="candidate")
    return embedding_CD, len(ids) - len(new)


def embeddings_of_version(home: Home, version: str, partition: str | None, dim: int) -> dict[str, np.ndarray]:
    """Embeddings, [D] by chunk id, that were made with the checkpoint of this data version; None for all partitions.

    They may stand under any retriever's name: a checkpoint that is promoted was evaluated before.
    """
    known: dict[str, np.ndarray] = {}
    for name in home.tables.assets():
        if not name.endswith("/chunk_embeddings"):
            continue
        for one in home.tables.all_partitions(name) if partition is None else [partition]:
            commit = home.tables.commit(name, one)
            if commit is None or version not in commit.provenance.inputs.values():
                continue
            known |= _stored(home, name, one, dim)
    return known


def embeddings_of_untrained(
    home: Home, embedder: Embedder, chunk_by_id: Mapping[str, Document], *, partition: str | None = None
) -> dict[str, np.ndarray]:
    """Embeddings, [D] by chunk id, of the retriever `untrained`, where they are this embedder's; None for all partitions.

    Its tables name no version of the backbone, so a few of their chunks are embedded again, and a table that differs is
    left alone.
    """
    known: dict[str, np.ndarray] = {}
    name = f"{UNTRAINED.name}/chunk_embeddings"
    for one in home.tables.all_partitions(name) if partition is None else [partition]:
        if home.tables.commit(name, one) is not None:
            known |= believed(_stored(home, name, one, embedder.dim), embedder, chunk_by_id)
    return known


def believed(
    stored: Mapping[str, np.ndarray], embedder: Embedder, document_by_id: Mapping[str, Document]
) -> Mapping[str, np.ndarray]:
    """The stored embeddings, [D] by id, if a few of them, embedded again, come out the same; none otherwise."""
    sample = sorted(stored.keys() & document_by_id.keys())[:SAMPLED_CHUNKS]
    if not sample:
        return {}
    again = embedder.embed([document_by_id[one] for one in sample], side="candidate")
    is_same = np.abs(again - np.stack([stored[one] for one in sample])).max() <= MAX_DIFFERENCE
    return stored if is_same else {}


def faults_of_order(home: Home, ids: Sequence[str], partition: str | None) -> list[str]:
    """What is wrong with the ids of a table that has a row for each chunk of a partition."""
    chunk_ids = home.tables.read("chunked_corpus", partition=partition, columns=["chunk_id"])["chunk_id"].to_pylist()
    if list(ids) == chunk_ids:
        return []
    return [f"{len(ids)} embeddings for {len(chunk_ids)} chunks, or in another order"]


def faults_of_lengths(ids: Sequence[str], embedding_CD: np.ndarray, expected: float | Sequence[float]) -> list[str]:
    """What is wrong with the lengths of embeddings that should have these."""
    if not len(ids):
        return []
    norm_C = np.linalg.norm(embedding_CD, axis=1)
    bad = np.flatnonzero(~(np.abs(norm_C - np.asarray(expected)) <= NORM_TOLERANCE))  # negated: NaN counts as wrong
    return [f"chunk {ids[int(row)]}: embedding of length {norm_C[row]:.4f}" for row in bad]


def _stored(home: Home, name: str, partition: str | None, dim: int) -> dict[str, np.ndarray]:
    """A table's embeddings by chunk id; none of one that is quarantined, since what is wrong there must not be copied."""
    if home.tables.quarantine_reason(name, partition) is not None:
        return {}
    table = home.tables.read(name, partition=partition, columns=["chunk_id", "embedding"])
    if table.schema.field("embedding").type.list_size != dim:
        return {}
    return dict(zip(table["chunk_id"].to_pylist(), embedding_matrix(table), strict=True))
