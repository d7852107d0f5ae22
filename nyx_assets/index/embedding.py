"""Embedding a partition's chunks, each only once for a checkpoint."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from nyx_assets.records import chunk_embeddings_schema
from nyx_assets.retrievers import RetrieverSpec
from nyx_assets.stored_embeddings import embedded_once, embeddings_of_version
from resources.embedder import Embedder
from resources.home import Home
from resources.tables import Provenance
from training_kernels.documents import Document


def known_embeddings(
    home: Home, retriever: RetrieverSpec, made_from: Provenance, partition: str | None, dim: int
) -> dict[str, np.ndarray]:
    """Embeddings that were made before with the very checkpoint that new ones are to be made with, by chunk id.

    They may stand in the partition's present table, or under another retriever's name.
    """
    if retriever.checkpoint is None:
        return {}
    return embeddings_of_version(home, made_from.inputs[retriever.checkpoint], partition, dim)


def embedded_rows(
    chunks: Sequence[Mapping[str, Any]], embedder: Embedder, known: Mapping[str, np.ndarray]
) -> tuple[pa.Table, int]:
    """Rows of chunk_embeddings for these chunks, and how many embeddings were there already."""
    ids = [chunk["chunk_id"] for chunk in chunks]
    embedding_CD, num_reused = embedded_once(
        ids, lambda row: Document.from_rows(chunks[row]["segments"]), embedder, known
    )
    column = pa.FixedSizeListArray.from_arrays(pa.array(embedding_CD.ravel(), pa.float32()), embedder.dim)
    schema = chunk_embeddings_schema(embedder.dim)
    return pa.Table.from_arrays([pa.array(ids, pa.string()), column], schema=schema), num_reused
