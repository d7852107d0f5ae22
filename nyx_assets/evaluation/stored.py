"""Retrievers whose embeddings of the corpus are stored already."""

import numpy as np

from nyx_assets.evaluation.retrievers import DenseRetriever
from nyx_assets.rag.corpus import current_embeddings
from nyx_assets.records import embedding_matrix
from nyx_assets.retrievers import PROMOTED, RetrieverSpec
from resources.artifacts import Artifact
from resources.embedder import Embedders
from resources.home import Home


def stored_retriever(retriever: RetrieverSpec, home: Home, embedders: Embedders) -> DenseRetriever:
    """A retriever that has to embed the queries, and chunks whose embeddings another checkpoint made.

    Raises IncompleteArtifact if its checkpoint or table is missing.
    """
    folder = retriever.folder(home, embedders)
    ids, embedding_CD = current_embeddings(home, retriever.name)
    return DenseRetriever(
        retriever.name,
        embedders.open(folder),
        known=dict(zip(ids, embedding_CD, strict=True)),
    )


def live_retriever(home: Home, embedders: Embedders, live: Artifact) -> DenseRetriever:
    """The retriever that is live; it has to embed the queries, and chunks that came since it was promoted."""
    return DenseRetriever(PROMOTED.name, embedders.open(str(live.folder)), known=_made_with(home, live))


def _made_with(home: Home, live: Artifact) -> dict[str, np.ndarray]:
    """Embeddings that the live checkpoint itself has made, by chunk id: a table of another checkpoint has other ones."""
    asset = f"{PROMOTED.name}/chunk_embeddings"
    known: dict[str, np.ndarray] = {}
    for partition in home.tables.partitions(asset):
        commit = home.tables.commit(asset, partition)
        if commit and commit.provenance.inputs.get(str(PROMOTED.checkpoint)) == live.commit.data_version:
            table = home.tables.read(asset, partition=partition)
            known |= dict(zip(table["chunk_id"].to_pylist(), embedding_matrix(table), strict=True))
    return known
