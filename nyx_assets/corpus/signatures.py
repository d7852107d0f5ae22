"""What is kept of pages, pictures and chunks to find their near copies later; each landing computes only its own."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from nyx_assets.corpus.clusters import page_key
from nyx_assets.near_copies import SHINGLE_TERMS, content_digest, picture_hash, text_digest, text_signatures
from nyx_assets.rag.bm25 import terms
from resources.images import ImageStore
from training_kernels.documents import Document

ROWS_PER_BATCH = 256
"""Choice: pages of 1 MB still stay under 300 MB."""


def page_signatures(documents: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows of PAGE_SIGNATURES from rows of `crawl_documents`."""
    for rows, texts, minhashes in _signed(documents):
        for row, text, minhash in zip(rows, texts, minhashes, strict=True):
            num_terms = len(terms(text))
            yield {
                "doc_id": row["doc_id"],
                "page_key": page_key(row["url"] or "", row["title"] or ""),
                "content_digest": text_digest(text) if num_terms else None,
                "is_comparable": num_terms >= SHINGLE_TERMS,
                "minhash": minhash,
            }


def picture_signatures(documents: Iterable[Mapping[str, Any]], store: ImageStore) -> Iterator[dict[str, Any]]:
    """Rows of PICTURE_SIGNATURES from rows of `crawl_documents`: one a page and picture; each picture is opened once."""
    hash_by_image: dict[str, str | None] = {}
    for row in documents:
        for image in dict.fromkeys(Document.from_rows(row["segments"]).images):
            if image not in hash_by_image:
                hash_by_image[image] = picture_hash(store.open(image))
            yield {"doc_id": row["doc_id"], "image": image, "phash": hash_by_image[image]}


def chunk_signatures(chunks: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows of CHUNK_SIGNATURES from rows of `chunked_corpus`."""
    for rows, texts, minhashes in _signed(chunks):
        for row, text, minhash in zip(rows, texts, minhashes, strict=True):
            yield {
                "chunk_id": row["chunk_id"],
                "doc_id": row["doc_id"],
                "content_digest": content_digest(Document.from_rows(row["segments"])),
                "is_comparable": len(terms(text)) >= SHINGLE_TERMS,
                "minhash": minhash,
            }


def _signed(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[list[Mapping[str, Any]], list[str], list[list[int]]]]:
    """Rows of a batch, their texts, and the texts' MinHashes."""
    left = iter(rows)
    while batch := list(islice(left, ROWS_PER_BATCH)):
        texts = [Document.from_rows(row["segments"]).text for row in batch]
        yield batch, texts, text_signatures(texts).tolist()
