"""The corpus as retrievers search it: every chunk once, by words and by embeddings.

Shape letters: C chunks, D width.
"""

import numpy as np

from nyx_assets.rag.bm25 import Bm25Corpus
from nyx_assets.rag.dense import DenseCorpus
from nyx_assets.records import embedding_matrix
from resources.home import Home
from training_kernels.documents import Document
from training_kernels.errors import DataError


def chunk_documents(home: Home) -> dict[str, Document]:
    """Every chunk of every crawl by id; a chunk that came in several crawls stands once."""
    return {
        row["chunk_id"]: Document.from_rows(row["segments"])
        for partition in home.tables.partitions("chunked_corpus")
        for batch in home.tables.batches("chunked_corpus", partition=partition, columns=["chunk_id", "segments"])
        for row in batch.to_pylist()
    }


def bm25_corpus(chunk_by_id: dict[str, Document]) -> Bm25Corpus:
    """The chunks' texts, indexed by their words."""
    return Bm25Corpus(list(chunk_by_id), [document.text for document in chunk_by_id.values()])


def corpus_embeddings(home: Home, retriever: str) -> tuple[list[str], np.ndarray]:
    """Ids of all chunks that a retriever has embedded, in order of id, and their embeddings: float32 [C, D]."""
    table = home.tables.read(f"{retriever}/chunk_embeddings")
    if table.num_rows == 0:
        raise DataError(f"{retriever}/chunk_embeddings is empty: no chunk was made of any crawl partition")
    row_by_id = dict(zip(table["chunk_id"].to_pylist(), range(table.num_rows), strict=True))
    ids = sorted(row_by_id)
    return ids, embedding_matrix(table)[[row_by_id[chunk_id] for chunk_id in ids]]


def dense_corpus(home: Home, retriever: str) -> DenseCorpus:
    """The chunks' embeddings by a retriever, at full width."""
    return DenseCorpus(*corpus_embeddings(home, retriever))
