"""Search as a user does it: text and pictures in, chunks with their page and pictures out, from the live index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nyx_assets.index_versions import (
    BM25,
    VersionRecord,
    chunks_of_version,
    ids_that_pass,
    live_record,
    version_folder,
)
from nyx_assets.rag.bm25 import Bm25Corpus
from nyx_assets.rag.dense import prefix
from nyx_assets.rag.fusion import reciprocal_rank_fusion
from resources.embedder import Embedders
from resources.home import Home
from resources.images import ImageStore, PictureLimits, PictureRefused
from resources.vector_index import VectorIndex
from training_kernels.documents import Document, Segment
from training_kernels.errors import ConfigError, DataError, IndexUnavailable

SHOWN_CHARACTERS = 280
FUSED_DEPTH = 100
"""Hits of each ranking that are fused. Choice: a chunk further down in both adds under 1/80 and rarely reaches the top."""


def query_document(text: str, pictures: Sequence[Path], store: ImageStore, *, limits: PictureLimits) -> Document:
    """The query of some picture files and a text, pictures first; the pictures are taken into the store.

    Raises DataError that names the file for a picture that cannot be read.
    """
    segments = [Segment(image=_taken(path, store, limits)) for path in pictures]
    return Document.of(*segments, *([text] if text.strip() else []))


def _taken(path: Path, store: ImageStore, limits: PictureLimits) -> str:
    try:
        return store.put(path.read_bytes(), limits=limits).digest
    except PictureRefused as refusal:
        raise DataError(f"query picture {path}: {refusal.reason}; give a PNG, JPEG, GIF or WebP file") from refusal


@dataclass(frozen=True, slots=True)
class _Found:
    """One hit before it is shown."""

    chunk_id: str
    score: float
    similarity: float
    dense_rank: int | None
    bm25_rank: int | None


def search_live(
    home: Home,
    index: VectorIndex,
    embedders: Embedders,
    query: Document,
    *,
    top_k: int,
    where: Mapping[str, str],
    hybrid: bool = False,
) -> list[dict[str, Any]]:
    """The best chunks for a query, best first, each with its page and the paths of its pictures.

    All of it comes from the version that is live when the search begins: its vectors, its checkpoint, its words and its
    chunks, so a swap in between mixes nothing.

    Args:
        where: filter by the fields that the vector index filters on.
        hybrid: whether BM25 ranks the chunks as well, and the two rankings are fused.

    Raises IndexUnavailable before the first index and while another process holds the index file, ConfigError for a
    crawl that the version does not hold.
    """
    for last_try in (False, True):
        record = live_record(home, index)
        try:
            return _search_version(home, index, embedders, query, record, top_k=top_k, where=where, hybrid=hybrid)
        except (IndexUnavailable, FileNotFoundError):
            # the version may have been dropped by several swaps, or a takedown is at work in it: once more
            if last_try:
                raise
    raise AssertionError("the second try returns or raises")


def _search_version(
    home: Home,
    index: VectorIndex,
    embedders: Embedders,
    query: Document,
    record: VersionRecord,
    *,
    top_k: int,
    where: Mapping[str, str],
    hybrid: bool,
) -> list[dict[str, Any]]:
    if "crawl" in where and where["crawl"] not in record.crawls:
        raise ConfigError(
            f"crawl {where['crawl']!r} is not in the live index of {home.root}; it has {', '.join(sorted(record.crawls))}"
        )
    embedder = embedders.open(str(home.artifacts.brought(record.checkpoint_folder)))
    query_BD = prefix(embedder.embed([query], side="query"), record.dim)
    find = _hybrid_hits if hybrid else _dense_hits
    found = find(home, index, record, query, query_BD, top_k, where)
    chunk_by_id = chunks_of_version(home, record.version, [one.chunk_id for one in found])
    found = [one for one in found if one.chunk_id in chunk_by_id]  # less what was taken down at this moment
    return [
        {
            "rank": rank,
            "version": record.version,
            "score": round(one.score, 6),
            "similarity": round(one.similarity, 4),
            "dense_rank": one.dense_rank,
            "bm25_rank": one.bm25_rank,
            **_shown(home, chunk_by_id[one.chunk_id]),
        }
        for rank, one in enumerate(found, start=1)
    ]


def _dense_hits(
    home: Home,
    index: VectorIndex,
    record: VersionRecord,
    query: Document,
    query_BD: np.ndarray,
    top_k: int,
    where: Mapping[str, str],
) -> list[_Found]:
    hits = index.search(record.version, query_BD, top_k=top_k, where=where or None)[0]
    return [_Found(hit.chunk_id, hit.similarity, hit.similarity, rank, None) for rank, hit in enumerate(hits, start=1)]


def _hybrid_hits(
    home: Home,
    index: VectorIndex,
    record: VersionRecord,
    query: Document,
    query_BD: np.ndarray,
    top_k: int,
    where: Mapping[str, str],
) -> list[_Found]:
    """The rankings by embeddings and by words, fused; a hit that only words found gets its cosine as well."""
    depth = max(top_k, FUSED_DEPTH)
    dense = index.search(record.version, query_BD, top_k=depth, where=where or None)[0]
    words = Bm25Corpus.load(version_folder(home, record.version) / BM25)
    [ranking] = words.search([query.text], record.num_chunks or 1)
    allowed = ids_that_pass(home, record.version, where) if where else None
    lexical = [chunk_id for chunk_id, _ in ranking if allowed is None or chunk_id in allowed][:depth]
    dense_rank = {hit.chunk_id: rank for rank, hit in enumerate(dense, start=1)}
    bm25_rank = {chunk_id: rank for rank, chunk_id in enumerate(lexical, start=1)}
    fused = reciprocal_rank_fusion([list(dense_rank), lexical], top_k=top_k)
    similarity = {hit.chunk_id: hit.similarity for hit in dense}
    missing = [chunk_id for chunk_id, _ in fused if chunk_id not in similarity]
    for chunk_id, embedding_D in index.fetch(record.version, missing).items():
        similarity[chunk_id] = float(query_BD[0] @ embedding_D)
    return [
        _Found(chunk_id, score, similarity[chunk_id], dense_rank.get(chunk_id), bm25_rank.get(chunk_id))
        for chunk_id, score in fused
        if chunk_id in similarity
    ]


def _shown(home: Home, chunk: Mapping[str, Any]) -> dict[str, Any]:
    """A chunk with its page as a person wants it."""
    document = Document.from_rows(chunk["segments"])
    return {
        "chunk_id": chunk["chunk_id"],
        "doc_id": chunk["doc_id"],
        "crawls": chunk["crawls"],
        "url": chunk["url"],
        "title": chunk["title"],
        "language": chunk["language"],
        "source": chunk["source"],
        "position": chunk["position"],
        "text": document.text,
        "images": [home.images.address(digest) for digest in document.images],
    }


def search_text(results: Sequence[dict[str, Any]]) -> str:
    """Hits for a person."""
    return "\n".join(line for hit in results for line in _hit_lines(hit)) or "nothing found"


def _hit_lines(hit: dict[str, Any]) -> list[str]:
    text = " ".join(hit["text"].split())
    if len(text) > SHOWN_CHARACTERS:
        text = f"{text[: SHOWN_CHARACTERS - 1]}…"
    where = f"{', '.join(hit['crawls'])}, chunk {hit['position']}"
    found_by = f"   fused from {hit['dense_rank'] or '-'} by embedding, {hit['bm25_rank'] or '-'} by words"
    is_fused = hit["bm25_rank"] is not None or hit["dense_rank"] is None
    return [
        f"{hit['rank']:>2}. {hit['similarity']:.4f}  {hit['title'] or hit['url']}   [{where}]"
        + (found_by if is_fused else ""),
        *([f"      {text}"] if text else []),
        *(f"      picture {path}" for path in hit["images"]),
        f"      {hit['url']}   {hit['chunk_id']}",
    ]
