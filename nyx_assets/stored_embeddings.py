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
    home: Home, embedder: Embedder, chunk_by_id: Mapping[str, Document]
) -> dict[str, np.ndarray]:
    """Embeddings, [D] by chunk id, of the retriever `untrained`, where they are this embedder's.

    Its tables name no version of the backbone, so a few of their chunks are embedded again, and a table that differs is
    left alone.
    """
    known: dict[str, np.ndarray] = {}
    name = f"{UNTRAINED.name}/chunk_embeddings"
    for partition in home.tables.all_partitions(name):
        stored = _stored(home, name, partition, embedder.dim)
        sample = sorted(stored.keys() & chunk_by_id.keys())[:SAMPLED_CHUNKS]
        if not sample:
            continue
        again = embedder.embed([chunk_by_id[chunk_id] for chunk_id in sample], side="candidate")
        if np.abs(again - np.stack([stored[chunk_id] for chunk_id in sample])).max() <= MAX_DIFFERENCE:
            known |= stored
    return known


def _stored(home: Home, name: str, partition: str | None, dim: int) -> dict[str, np.ndarray]:
    """A table's embeddings by chunk id; none of one that is quarantined, since what is wrong there must not be copied."""
    if home.tables.quarantine_reason(name, partition) is not None:
        return {}
    table = home.tables.read(name, partition=partition, columns=["chunk_id", "embedding"])
    if table.schema.field("embedding").type.list_size != dim:
        return {}
    return dict(zip(table["chunk_id"].to_pylist(), embedding_matrix(table), strict=True))
