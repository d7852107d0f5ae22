"""The vector index seam: versioned collections of chunk embeddings, one of them live behind an alias.

No vendor is imported here. Implementations: index_exact.py (brute force, the oracle) and index_milvus.py (Milvus Lite
by a file, any Milvus by URI).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from training_kernels.errors import ConfigError, DataError

LIVE = "live"
"""The alias that search uses."""


@dataclass(frozen=True, slots=True)
class IndexedChunk:
    """What the index keeps beside an embedding, to filter on."""

    chunk_id: str
    doc_id: str
    crawls: tuple[str, ...]
    modality: str
    language: str = ""
    """Of the page, as its delivery names it; "" where it names none."""
    source: str = ""
    """Host of the page's address without "www."; "" for a page without an address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSpec:
    """How a version holds its embeddings. Raises ConfigError for what no index of ours can be."""

    dim: int
    index_type: str
    metric: str

    def __post_init__(self) -> None:
        checked_dim(self.dim)
        if self.index_type not in INDEX_TYPES:
            raise ConfigError(f"index_type {self.index_type!r} is unknown; known: {', '.join(INDEX_TYPES)}")
        if self.metric not in METRICS:
            raise ConfigError(f"metric {self.metric!r} is unknown; known: {', '.join(METRICS)}")

    @property
    def precision(self) -> str:
        """Of the numbers that are compared at first: "float32", or "int8" with the best compared again in float32."""
        return "int8" if self.index_type in QUANTISED_TYPES else "float32"


@dataclass(frozen=True, slots=True)
class Hit:
    """One chunk that came back; similarity is the cosine."""

    chunk_id: str
    similarity: float


class VectorIndex(Protocol):
    """Versioned collections of unit-norm embeddings under cosine similarity.

    `version` is a name of letters, digits and underscores; where a method takes `name`, an alias does as well. A
    version or alias that does not exist raises IndexUnavailable.
    """

    def create(self, version: str, *, dim: int, index_type: str = "FLAT", metric: str = "COSINE") -> None:
        """An empty version. Raises IndexUnavailable if it exists already, ConfigError for an impossible one."""
        ...

    def rename(self, version: str, new: str) -> None:
        """Give a version another name. Raises IndexUnavailable while an alias points at it, or if the name is taken."""
        ...

    def add(self, version: str, chunks: Sequence[IndexedChunk], embedding_CD: np.ndarray) -> None:
        """Add chunks, or replace those whose chunk_id is there already. embedding_CD: float32, unit norm."""
        ...

    def delete(self, version: str, chunk_ids: Sequence[str]) -> None:
        """Remove chunks; ids that are not there are no error."""
        ...

    def search(
        self, name: str, query_BD: np.ndarray, *, top_k: int, where: Mapping[str, str] | None = None
    ) -> list[list[Hit]]:
        """The `top_k` most similar chunks of each query, best first.

        `where` filters on FILTERS; a chunk of several crawls passes for each. Whatever the metric, a hit's similarity
        is the cosine.
        """
        ...

    def fetch(self, name: str, chunk_ids: Sequence[str]) -> dict[str, np.ndarray]:
        """Stored embeddings by chunk id; ids that are not there are left out."""
        ...

    def count(self, name: str) -> int:
        """How many chunks a version holds."""
        ...

    def versions(self) -> list[str]:
        """All versions, by name."""
        ...

    def drop(self, version: str) -> None:
        """Remove a version. Raises IndexUnavailable while an alias points at it."""
        ...

    def set_alias(self, alias: str, version: str) -> None:
        """Point an alias at a version, in one step for whoever searches."""
        ...

    def resolve(self, alias: str) -> str | None:
        """The version behind an alias, or None."""
        ...

    def close(self) -> None:
        """Give back the file or connection, so that another process can have it."""
        ...


MAX_DIM = 32_768
"""Source: the limit of a Milvus server; Milvus Lite would take more, and its file could then not move to a server."""

MAX_TOP_K = 16_384
"""Source: the limit of a Milvus server on the hits of one query."""

FILTERS = ("crawl", "modality", "language", "source")

INDEX_TYPES = ("FLAT", "HNSW", "HNSW_SQ", "IVF_FLAT", "IVF_SQ8")
"""Those that Milvus Lite and a Milvus server both build and load. Milvus Lite takes the names of others (IVF_PQ, SCANN,
DISKANN) and fails or does something else later, so nothing else is allowed."""

QUANTISED_TYPES = ("HNSW_SQ", "IVF_SQ8")
"""Those that compare 8-bit numbers at first."""

METRICS = ("COSINE", "IP", "L2")
"""Of unit vectors all three give one order: the inner product is the cosine, the squared distance 2 - 2 cosine."""

NORM_TOLERANCE = 1e-3
"""Choice: float32 of a unit vector is within 1e-6, one that went through bfloat16 within 1e-2 / sqrt(dim)."""


def checked_name(name: str) -> str:
    """The name of a version or alias. Raises ConfigError unless it is letters, digits and underscores."""
    if not re.fullmatch(r"[A-Za-z0-9_]{1,128}", name):
        raise ConfigError(f"a version or alias is named by 1 to 128 letters, digits and underscores, got {name!r}")
    return name


def checked_dim(dim: int) -> int:
    """The width of a version. Raises ConfigError if no index could hold it."""
    if not 1 <= dim <= MAX_DIM:
        raise ConfigError(f"an index holds embeddings of 1 to {MAX_DIM} dims, got {dim}; choose a Matryoshka dim below")
    return dim


def checked_embeddings(chunks: Sequence[IndexedChunk], embedding_CD: np.ndarray, *, dim: int) -> np.ndarray:
    """float32 embeddings, one unit vector for each chunk. Raises DataError naming the first row that is not."""
    if embedding_CD.shape != (len(chunks), dim):
        raise DataError(f"{len(chunks)} chunks need embeddings of shape {(len(chunks), dim)}, got {embedding_CD.shape}")
    seen: set[str] = set()
    for chunk in chunks:
        if chunk.chunk_id in seen:
            raise DataError(f"chunk {chunk.chunk_id} stands twice in one call of add; keep one row for each chunk_id")
        seen.add(chunk.chunk_id)
    embedding_CD = np.ascontiguousarray(embedding_CD, dtype=np.float32)
    norm_C = np.linalg.norm(embedding_CD, axis=1)
    # Negated, so that NaN counts as wrong.
    wrong = np.flatnonzero(~(np.abs(norm_C - 1) <= NORM_TOLERANCE))
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"the embedding of chunk {chunks[row].chunk_id} has norm {norm_C[row]:.4g}, 1 is needed; normalise before adding"
        )
    return embedding_CD


def passes(chunk: IndexedChunk, where: Mapping[str, str]) -> bool:
    """Whether a chunk fits a checked filter."""
    return all(
        value in chunk.crawls if field == "crawl" else value == getattr(chunk, field) for field, value in where.items()
    )


def checked_queries(query_BD: np.ndarray, *, dim: int, top_k: int) -> np.ndarray:
    """float32 queries of the index's width. Raises ConfigError for an impossible top_k, DataError for another width."""
    if not 1 <= top_k <= MAX_TOP_K:
        raise ConfigError(f"top_k must be from 1 to {MAX_TOP_K}, got {top_k}")
    if query_BD.ndim != 2 or query_BD.shape[1] != dim:
        raise DataError(
            f"queries need shape (number of queries, {dim}), got {query_BD.shape}; embed with the same checkpoint"
        )
    return np.ascontiguousarray(query_BD, dtype=np.float32)


def checked_where(where: Mapping[str, str] | None) -> dict[str, str]:
    """The filter. Raises ConfigError for a field that the index does not keep."""
    for field in where or {}:
        if field not in FILTERS:
            raise ConfigError(f"an index is filtered on {', '.join(FILTERS)}, got {field!r}")
    return dict(where or {})
