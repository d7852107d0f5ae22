"""What must hold of pages and chunks before anything is made from them."""

import hashlib
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any

from nyx_assets.materialization import blocking_check
from resources.home import Home


def every_page_is_a_document_or_rejected(home: Home, partition: str | None) -> list[str]:
    """A landed page is a row of crawl_documents or a rejected page: none vanishes, none is doubled."""
    made = dict.fromkeys(("landed_crawl", "crawl_documents", "rejected_documents"), partition)
    (count,) = home.tables.query(
        "SELECT (SELECT coalesce(sum(num_rows), 0)::BIGINT FROM landed_crawl) AS landed, "
        "(SELECT count(*) FROM crawl_documents) AS documents, "
        "(SELECT count(*) FROM rejected_documents WHERE kind = 'page') AS rejected",
        of=made,
    ).to_pylist()
    faults = _doubled(home, "crawl_documents", "doc_id", partition)
    if count["landed"] != count["documents"] + count["rejected"]:
        faults.append(
            f"{count['landed']} pages landed, {count['documents']} became documents and {count['rejected']} were rejected"
        )
    return faults


def every_picture_is_stored(home: Home, partition: str | None) -> list[str]:
    """Each picture that a document names lies in the picture store."""
    shown = home.tables.query(
        "SELECT DISTINCT segment.image AS digest FROM (SELECT unnest(segments) AS segment FROM crawl_documents) "
        "WHERE digest IS NOT NULL ORDER BY digest",
        of={"crawl_documents": partition},
    )
    return [
        f"picture {digest} is missing in {home.images.root}"
        for batch in shown.to_batches()
        for digest in batch["digest"].to_pylist()
        if not home.images.exists(digest)
    ]


def chunks_hold_their_page_whole(home: Home, partition: str | None) -> list[str]:
    """The texts and pictures of a page's chunks, put together in order, are the page's; white space does not count."""
    digest_by_page: dict[str, bytes] = {}
    faults = []
    chunks = _rows(home, "chunked_corpus", partition, ["doc_id", "segments"])
    for doc_id, own in groupby(chunks, key=itemgetter("doc_id")):
        if doc_id in digest_by_page:
            faults.append(f"chunks of page {doc_id} stand apart from its others")
        digest_by_page[doc_id] = _digest(chunk["segments"] for chunk in own)
    nothing = _digest([])
    for page in _rows(home, "crawl_documents", partition, ["doc_id", "segments"]):
        if digest_by_page.pop(page["doc_id"], nothing) != _digest([page["segments"]]):
            faults.append(f"page {page['doc_id']} differs from its chunks put together")
    return faults + [f"chunks name page {doc_id}, which is not in crawl_documents" for doc_id in digest_by_page]


def no_chunk_is_over_its_limits(home: Home, partition: str | None) -> list[str]:
    """At most 200 text tokens and 5 pictures a chunk (Nyx paper, section 3.2), something in each, no id twice."""
    faults = _doubled(home, "chunked_corpus", "chunk_id", partition)
    for chunk in _rows(home, "chunked_corpus", partition, ["chunk_id", "segments", "text_tokens", "num_images"]):
        if chunk["text_tokens"] > 200 or chunk["num_images"] > 5:
            faults.append(
                f"chunk {chunk['chunk_id']}: {chunk['text_tokens']} text tokens (200 allowed), {chunk['num_images']} pictures (5 allowed)"
            )
        if not any(segment["image"] is not None or (segment["text"] or "").strip() for segment in chunk["segments"]):
            faults.append(f"chunk {chunk['chunk_id']} is empty")
    return faults


def every_page_has_one_cluster(home: Home, partition: str | None) -> list[str]:
    """Over all crawls, each page is in exactly one cluster, and no cluster names a page that is not there."""
    wrong = home.tables.query(
        "SELECT coalesce(clustered.doc_id, page.doc_id) AS doc_id, coalesce(clustered.times, 0) AS times, "
        "page.doc_id IS NOT NULL AS is_there "
        "FROM (SELECT doc_id, count(*) AS times FROM page_clusters GROUP BY doc_id) AS clustered "
        "FULL JOIN (SELECT DISTINCT doc_id FROM crawl_documents) AS page USING (doc_id) "
        "WHERE clustered.times IS DISTINCT FROM 1 OR page.doc_id IS NULL ORDER BY 1",
        of={"page_clusters": None, "crawl_documents": None},
    )
    return [
        f"page {row['doc_id']} stands {row['times']} times in page_clusters and {'is' if row['is_there'] else 'is not'} in "
        "crawl_documents"
        for row in wrong.to_pylist()
    ]


def _doubled(home: Home, table: str, column: str, partition: str | None) -> list[str]:
    """A fault for each id that stands more than once in a table."""
    doubled = home.tables.query(
        f"SELECT {column} AS id, count(*) AS times FROM {table} GROUP BY id HAVING times > 1 ORDER BY id",
        of={table: partition},
    )
    return [f"{column} {row['id']} stands {row['times']} times" for row in doubled.to_pylist()]


def _rows(home: Home, table: str, partition: str | None, columns: list[str]) -> Iterator[dict[str, Any]]:
    """Rows of a table in their order, a batch of them in memory."""
    for batch in home.tables.batches(table, partition=partition, columns=columns):
        yield from batch.to_pylist()


def _digest(documents: Iterable[list[dict[str, Any]]]) -> bytes:
    """Equal for documents that, one after the other, say and show the same; white space does not count.

    Digests are kept where texts would be, so that a page costs some hundred bytes and not its length.
    """
    texts, images = hashlib.sha256(), hashlib.sha256()
    for segments in documents:
        for segment in segments:
            if segment["text"] is not None:
                texts.update("".join(segment["text"].split()).encode("utf-8", "surrogatepass"))
            if segment["image"] is not None:
                images.update(segment["image"].encode() + b"\0")
    return texts.digest() + images.digest()


CORPUS_CHECKS = [
    blocking_check("crawl_documents", partitioned=True, find_faults=every_page_is_a_document_or_rejected),
    blocking_check("crawl_documents", partitioned=True, find_faults=every_picture_is_stored),
    blocking_check("chunked_corpus", partitioned=True, find_faults=chunks_hold_their_page_whole),
    blocking_check("chunked_corpus", partitioned=True, find_faults=no_chunk_is_over_its_limits),
    blocking_check("page_clusters", partitioned=False, find_faults=every_page_has_one_cluster),
]
