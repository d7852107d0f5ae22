"""Miners: what ranks the corpus for a query, and scores the query's positive wherever it ranks.

bm25                              words in common, by the library bm25s
untrained                         the backbone before any training
pretrained/<version>              a committed checkpoint of ours; likewise finetuned/…, promoted/…
checkpoint:<folder>               a checkpoint folder of ours from elsewhere
sentence-transformers:<model>     a folder or hub name; texts only
endpoint:<model>                  the /v1/embeddings server of the settings; texts only
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nyx_assets.rag.bm25 import Bm25Corpus
from nyx_assets.rag.rankings import Ranking
from nyx_assets.retrievers import BM25, UNTRAINED, dense_retriever
from nyx_assets.stored_embeddings import embedded_once, embeddings_of_untrained, embeddings_of_version
from resources.embedder import Embedder, Embedders
from resources.exact_search import exact_top_k, pair_similarities
from resources.home import Home
from training_kernels.documents import Document
from training_kernels.errors import ConfigError, DataError
from training_kernels.manifest import identity

CHECKPOINT = "checkpoint"


class OpensForeign(Protocol):
    """Opens an embedder that is none of our checkpoints, by what stands after the colon of its name."""

    def __call__(self, model: str, /, *, asset: str, partition: str | None) -> Embedder:
        """What it asks a server is entered under this asset and partition."""
        ...


ForeignEmbedders = Mapping[str, OpensForeign]
"""By the scheme of a name."""


@dataclass(frozen=True, slots=True)
class Mined:
    """What a miner found for a query."""

    hits: Ranking
    positive_score: float | None
    """The miner's score of the query's positive, whether or not it is among the hits; None if it cannot read it."""


class Miner(Protocol):
    """Ranks the corpus that it was opened with."""

    @property
    def reads_pictures(self) -> bool:
        """False if pictures of a query say nothing to it."""
        ...

    def mine(self, queries: Sequence[Document], positive_ids: Sequence[str], *, top_k: int) -> list[Mined]:
        """For each query its best `top_k` chunks, exactly, ties by id, and the score of its positive."""
        ...


class Bm25Miner:
    """Words in common; a query without text finds nothing."""

    reads_pictures = False

    def __init__(self, chunk_by_id: Mapping[str, Document]) -> None:
        self._corpus = Bm25Corpus(list(chunk_by_id), [chunk.text for chunk in chunk_by_id.values()])

    def mine(self, queries: Sequence[Document], positive_ids: Sequence[str], *, top_k: int) -> list[Mined]:
        found = self._corpus.search_beside([query.text for query in queries], positive_ids, top_k)
        return [Mined(hits, score) for hits, score in found]


class EmbeddingMiner:
    """Cosine of embeddings, exactly; `num_reused` of its chunks had theirs already. Documents that the embedder cannot read are no candidates and find nothing.

    Shape letters: B queries, C candidates, D width, K hits.

    Args:
        stored: embeddings of chunks that this embedder has made before, by chunk id.
    """

    def __init__(
        self, embedder: Embedder, chunk_by_id: Mapping[str, Document], stored: Mapping[str, np.ndarray] | None = None
    ) -> None:
        self._embedder = embedder
        self._ids = sorted(chunk_id for chunk_id, chunk in chunk_by_id.items() if self._reads(chunk))
        self._row_by_id = {chunk_id: row for row, chunk_id in enumerate(self._ids)}
        self._embedding_CD, self.num_reused = embedded_once(
            self._ids, lambda row: chunk_by_id[self._ids[row]], embedder, stored or {}
        )

    @property
    def reads_pictures(self) -> bool:
        return self._embedder.reads_pictures

    def mine(self, queries: Sequence[Document], positive_ids: Sequence[str], *, top_k: int) -> list[Mined]:
        read = [place for place, query in enumerate(queries) if self._reads(query)]
        found = [Mined([], None) for _ in queries]
        if not read or not self._ids:
            return found
        query_BD = self._embedder.embed([queries[place] for place in read], side="query")
        similarity_BK, row_BK = exact_top_k(query_BD, self._embedding_CD, top_k=top_k)
        for one, place in enumerate(read):
            positive_row = self._row_by_id.get(positive_ids[place])
            positive = None
            if positive_row is not None:
                positive = pair_similarities(query_BD[one : one + 1], self._embedding_CD[[positive_row]])[0]
            hits = zip(row_BK[one].tolist(), similarity_BK[one].tolist(), strict=True)
            found[place] = Mined([(self._ids[row], score) for row, score in hits], positive)
        return found

    def _reads(self, document: Document) -> bool:
        return self._embedder.reads_pictures or bool(document.text.strip())


def open_miner(
    name: str,
    chunk_by_id: Mapping[str, Document],
    *,
    home: Home,
    embedders: Embedders,
    foreign_embedders: ForeignEmbedders,
    asset: str,
    partition: str | None = None,
) -> Miner:
    """The miner of that name over these chunks, with the embeddings that the home has of them, for this asset.

    Raises ConfigError for a name that no line of the module's list fits, IncompleteArtifact for a checkpoint that was
    not made.
    """
    if name == BM25:
        return Bm25Miner(chunk_by_id)
    scheme, _, rest = name.partition(":")
    if scheme in foreign_embedders:
        return EmbeddingMiner(foreign_embedders[scheme](rest, asset=asset, partition=partition), chunk_by_id)
    folder = rest if scheme == CHECKPOINT else _folder(name, home, embedders)
    embedder = embedders.open(folder)
    if name == UNTRAINED.name:
        return EmbeddingMiner(embedder, chunk_by_id, embeddings_of_untrained(home, embedder, chunk_by_id))
    # the version under which trained_checkpoint published the folder, and under which its embeddings were written
    version = identity(Path(folder))[:32]
    return EmbeddingMiner(embedder, chunk_by_id, embeddings_of_version(home, version, None, embedder.dim))


def embeds(name: str) -> bool:
    """Whether the miner of that name embeds in this process, on its accelerator if it has one."""
    return name != BM25 and not name.startswith("endpoint:")


def ranked(
    miner: Miner, queries: Sequence[Mapping[str, Any]], chunk_by_id: Mapping[str, Document], *, top_k: int
) -> dict[str, Mined]:
    """What a miner finds for rows of filtered_qa, by qa_id. Raises DataError for a golden chunk that is in no crawl."""
    for query in queries:
        if query["chunk_id"] not in chunk_by_id:
            raise DataError(
                f"query {query['qa_id']}: its golden chunk {query['chunk_id']} is not in chunked_corpus; make its QA again"
            )
    documents = [Document.from_rows(query["question"]) for query in queries]
    found = miner.mine(documents, [query["chunk_id"] for query in queries], top_k=top_k)
    return {query["qa_id"]: mined for query, mined in zip(queries, found, strict=True)}


def _folder(name: str, home: Home, embedders: Embedders) -> str:
    """Where the weights of a retriever's version lie.

    A retriever that is trained on what was mined cannot be named without a version: each training would change what is
    mined, and each mining what is trained.
    """
    retriever_name, _, version = name.partition("/")
    retriever = dense_retriever(retriever_name)
    if retriever.checkpoint is None:
        return embedders.untrained()
    if not version:
        raise ConfigError(
            f"miner {name!r} would be its own input: it is trained on the negatives that it mines; name a version, "
            f"{name}/<folder name under checkpoints/{retriever.checkpoint}>, or mine with {BM25} or {UNTRAINED.name}"
        )
    return str(home.artifacts.folder(retriever.checkpoint, version))
