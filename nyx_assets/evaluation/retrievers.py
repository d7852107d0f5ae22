"""Retrievers under evaluation: what ranks a suite's candidates for its queries."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from nyx_assets.captioned import in_text
from nyx_assets.rag.bm25 import Bm25Corpus
from nyx_assets.rag.dense import DenseCorpus, prefix
from nyx_assets.rag.rankings import Ranking
from resources.embedder import Embedder
from training_kernels.documents import Document
from training_kernels.errors import DataError

NO_DIM = 0
"""The Matryoshka dim of a retriever without embeddings."""


class Retriever(Protocol):
    """Ranks any candidates for any queries."""

    @property
    def name(self) -> str:
        """As it stands in tables and reports."""
        ...

    def rank(
        self, queries: Sequence[Document], candidates: Mapping[str, Document], *, top_k: int
    ) -> dict[int, list[Ranking]]:
        """The best `top_k` candidates of each query, by Matryoshka dim."""
        ...


class Bm25Retriever:
    """BM25 over the texts; pictures leave no trace, so a query without text finds nothing."""

    name = "bm25"

    def rank(
        self, queries: Sequence[Document], candidates: Mapping[str, Document], *, top_k: int
    ) -> dict[int, list[Ranking]]:
        corpus = Bm25Corpus(list(candidates), [candidate.text for candidate in candidates.values()])
        return {NO_DIM: corpus.search([query.text for query in queries], top_k)}


class DenseRetriever:
    """Cosine of embeddings, searched exactly at each Matryoshka dim. Ranking raises DataError for embeddings that are no numbers.

    Args:
        known: embeddings of candidates that this embedder made before, at full width, by id; others are embedded.
    """

    def __init__(self, name: str, embedder: Embedder, *, known: Mapping[str, np.ndarray] | None = None) -> None:
        self._name = name
        self._embedder = embedder
        self._known = known or {}

    @property
    def name(self) -> str:
        return self._name

    def rank(
        self, queries: Sequence[Document], candidates: Mapping[str, Document], *, top_k: int
    ) -> dict[int, list[Ranking]]:
        query_BD = self._embedder.embed(queries, side="query")
        candidate_CD = self._candidate_embeddings(candidates)
        for what, rows in (("query", query_BD), ("candidate", candidate_CD)):
            if len(bad := np.flatnonzero(~np.isfinite(rows).all(axis=1))):
                raise DataError(
                    f"{self._name} embedded {len(bad):,} of {len(rows):,} {what} documents as what is no number, the first "
                    f"is number {bad[0]}; such a model cannot be measured: look at its training, or at its weights"
                )
        return {
            dim: DenseCorpus(list(candidates), prefix(candidate_CD, dim)).search(prefix(query_BD, dim), top_k)
            for dim in self._embedder.dims
        }

    def _candidate_embeddings(self, candidates: Mapping[str, Document]) -> np.ndarray:
        """float32 [C, D] in the order of the candidates."""
        embedding_CD = np.empty((len(candidates), self._embedder.dim), dtype=np.float32)
        missing = [row for row, candidate_id in enumerate(candidates) if candidate_id not in self._known]
        for row, candidate_id in enumerate(candidates):
            if candidate_id in self._known:
                embedding_CD[row] = self._known[candidate_id]
        if missing:
            documents = list(candidates.values())
            embedding_CD[missing] = self._embedder.embed([documents[row] for row in missing], side="candidate")
        return embedding_CD


class CaptionedRetriever:
    """Another retriever that reads texts alone, with a caption in the place of each picture, of queries as of candidates.

    A picture without a caption leaves no trace.

    Args:
        caption_by_image: by SHA-256.
    """

    def __init__(self, name: str, inner: Retriever, caption_by_image: Mapping[str, str]) -> None:
        self._name = name
        self._inner = inner
        self._caption_by_image = caption_by_image

    @property
    def name(self) -> str:
        return self._name

    def rank(
        self, queries: Sequence[Document], candidates: Mapping[str, Document], *, top_k: int
    ) -> dict[int, list[Ranking]]:
        return self._inner.rank(
            [in_text(query, self._caption_by_image) for query in queries],
            {one: in_text(candidate, self._caption_by_image) for one, candidate in candidates.items()},
            top_k=top_k,
        )
