"""Retrievers whose embeddings of the corpus are stored already."""

from nyx_assets.evaluation.retrievers import DenseRetriever
from nyx_assets.rag.corpus import corpus_embeddings
from nyx_assets.retrievers import RetrieverSpec
from resources.embedder import Embedders
from resources.home import Home


def stored_retriever(retriever: RetrieverSpec, home: Home, embedders: Embedders) -> DenseRetriever:
    """A retriever that only has to embed the queries. Raises IncompleteArtifact if its checkpoint or table is missing."""
    ids, embedding_CD = corpus_embeddings(home, retriever.name)
    return DenseRetriever(
        retriever.name,
        embedders.open(retriever.folder(home, embedders)),
        known=dict(zip(ids, embedding_CD, strict=True)),
    )
