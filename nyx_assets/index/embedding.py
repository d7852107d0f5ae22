"""Embedding a partition's chunks, each only once for a checkpoint."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from nyx_assets.records import chunk_embeddings_schema, embedding_matrix
from nyx_assets.retrievers import DENSE_RETRIEVERS, RetrieverSpec
from resources.embedder import Embedder
from resources.home import Home
from training_kernels.documents import Document


def known_embeddings(home: Home, retriever: RetrieverSpec, partition: str | None, dim: int) -> dict[str, np.ndarray]:
    """Embeddings that were made before with the very checkpoint that this retriever stands for now, by chunk id.

    They may stand in the partition's present table, or under another retriever's name: a checkpoint that is promoted
    was evaluated before.
    """
    if retriever.checkpoint is None:
        return {}
    version = home.artifacts.require(retriever.checkpoint).commit.data_version
    known: dict[str, np.ndarray] = {}
    for other in DENSE_RETRIEVERS:
        name = f"{other.name}/chunk_embeddings"
        commit = home.tables.commit(name, partition)
        if commit is None or other.checkpoint is None or commit.provenance.inputs.get(other.checkpoint) != version:
            continue
        if home.tables.quarantine_reason(name, partition) is not None:  # what is wrong there must not be copied here
            continue
        table = home.tables.read(name, partition=partition)
        if table.schema.field("embedding").type.list_size == dim:
            known |= dict(zip(table["chunk_id"].to_pylist(), embedding_matrix(table), strict=True))
    return known


def embedded_rows(
    chunks: Sequence[Mapping[str, Any]], embedder: Embedder, known: Mapping[str, np.ndarray]
) -> tuple[pa.Table, int]:
    """Rows of chunk_embeddings for these chunks, and how many embeddings were there already."""
    ids = [chunk["chunk_id"] for chunk in chunks]
    new = [row for row, chunk_id in enumerate(ids) if chunk_id not in known]
    embedding_CD = np.empty((len(ids), embedder.dim), np.float32)
    for row, chunk_id in enumerate(ids):
        if chunk_id in known:
            embedding_CD[row] = known[chunk_id]
    if new:
        documents = [Document.from_rows(chunks[row]["segments"]) for row in new]
        embedding_CD[new] = embedder.embed(documents, side="candidate")
    column = pa.FixedSizeListArray.from_arrays(pa.array(embedding_CD.ravel(), pa.float32()), embedder.dim)
    schema = chunk_embeddings_schema(embedder.dim)
    return pa.Table.from_arrays([pa.array(ids, pa.string()), column], schema=schema), len(ids) - len(new)
