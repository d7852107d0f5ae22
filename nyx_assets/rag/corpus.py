"""The corpus as retrievers search it: every chunk once, by words and by embeddings.

Shape letters: C chunks, D width.
"""

import logging
from collections.abc import Collection

import numpy as np
import pyarrow as pa

from nyx_assets.rag.bm25 import Bm25Corpus
from nyx_assets.rag.dense import DenseCorpus
from nyx_assets.records import embedding_matrix
from resources.home import Home
from training_kernels.documents import Document
from training_kernels.errors import DataError

logger = logging.getLogger(__name__)


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
    return _once(table)


def current_embeddings(home: Home, retriever: str) -> tuple[list[str], np.ndarray]:
    """Those of corpus_embeddings that the present checkpoint made, and the backbone before any training always did.

    A partition that was made with another one, because making it anew failed or is still to come, is left out and told:
    queries and chunks of two checkpoints are not alike in anything.
    """
    name = f"{retriever}/chunk_embeddings"
    partitions = home.tables.partitions(name)
    stale = [one for one in partitions if _is_of_another_checkpoint(home, name, one)]
    if not stale:
        return corpus_embeddings(home, retriever)
    logger.warning(
        "%s of %s was made with another checkpoint than the present one and is left out; materialize it",
        name,
        ", ".join(stale),
    )
    fresh = [home.tables.read(name, partition=one) for one in partitions if one not in stale]
    if not fresh:
        raise DataError(f"{name} was made with another checkpoint in every crawl partition; materialize it")
    return _once(pa.concat_tables(fresh))


def _is_of_another_checkpoint(home: Home, name: str, partition: str) -> bool:
    commit = home.tables.commit(name, partition)
    inputs = commit.provenance.inputs if commit is not None else {}
    return any(
        version != home.input_version(asset, None) for asset, version in inputs.items() if asset.endswith("checkpoint")
    )


def _once(table: pa.Table) -> tuple[list[str], np.ndarray]:
    row_by_id = dict(zip(table["chunk_id"].to_pylist(), range(table.num_rows), strict=True))
    ids = sorted(row_by_id)
    return ids, embedding_matrix(table)[[row_by_id[chunk_id] for chunk_id in ids]]


def dense_corpus(home: Home, retriever: str, chunk_ids: Collection[str]) -> DenseCorpus:
    """These chunks' embeddings by the present checkpoint of a retriever, at full width.

    Embeddings of other chunks stay out: their partition was made again, and its embeddings were not, or not yet.
    """
    ids, embedding_CD = current_embeddings(home, retriever)
    rows = [row for row, chunk_id in enumerate(ids) if chunk_id in chunk_ids]
    if len(rows) < len(ids):
        ids, embedding_CD = [ids[row] for row in rows], embedding_CD[rows]
    return DenseCorpus(ids, embedding_CD)
