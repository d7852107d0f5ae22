"""What must hold of pages and chunks before anything is made from them."""

from collections import Counter

from nyx_assets.materialization import blocking_check
from resources.home import Home


def every_page_is_a_document_or_rejected(home: Home, partition: str | None) -> list[str]:
    """A landed page is a row of crawl_documents or a rejected page: none vanishes, none is doubled."""
    landed = sum(home.tables.read("landed_crawl", partition=partition, columns=["num_rows"])["num_rows"].to_pylist())
    doc_ids = home.tables.read("crawl_documents", partition=partition, columns=["doc_id"])["doc_id"].to_pylist()
    kinds = home.tables.read("rejected_documents", partition=partition, columns=["kind"])["kind"].to_pylist()
    faults = [f"doc_id {doc_id} stands {count} times" for doc_id, count in Counter(doc_ids).items() if count > 1]
    if landed != len(doc_ids) + kinds.count("page"):
        faults.append(f"{landed} pages landed, {len(doc_ids)} became documents and {kinds.count('page')} were rejected")
    return faults


def every_picture_is_stored(home: Home, partition: str | None) -> list[str]:
    """Each picture that a document names lies in the picture store."""
    digests = {
        segment["image"]
        for batch in home.tables.batches("crawl_documents", partition=partition, columns=["segments"])
        for segments in batch["segments"].to_pylist()
        for segment in segments
        if segment["image"] is not None
    }
    return [
        f"picture {digest} is missing in {home.images.root}"
        for digest in sorted(digests)
        if not home.images.exists(digest)
    ]


def chunks_hold_their_page_whole(home: Home, partition: str | None) -> list[str]:
    """The texts and pictures of a page's chunks, put together in order, are the page's; white space does not count."""
    pages: dict[str, tuple[str, list[str]]] = {}
    for batch in home.tables.batches("chunked_corpus", partition=partition, columns=["doc_id", "position", "segments"]):
        for chunk in batch.to_pylist():
            text, images = pages.get(chunk["doc_id"], ("", []))
            pages[chunk["doc_id"]] = (text + _text(chunk["segments"]), images + _images(chunk["segments"]))
    faults = []
    for batch in home.tables.batches("crawl_documents", partition=partition, columns=["doc_id", "segments"]):
        for page in batch.to_pylist():
            if pages.pop(page["doc_id"], ("", [])) != (_text(page["segments"]), _images(page["segments"])):
                faults.append(f"page {page['doc_id']} differs from its chunks put together")
    return faults + [f"chunks name page {doc_id}, which is not in crawl_documents" for doc_id in pages]


def no_chunk_is_over_its_limits(home: Home, partition: str | None) -> list[str]:
    """At most 200 text tokens and 5 pictures a chunk (Nyx paper, section 3.2), something in each, no id twice."""
    table = home.tables.read("chunked_corpus", partition=partition)
    faults = [
        f"chunk_id {one} stands {count} times"
        for one, count in Counter(table["chunk_id"].to_pylist()).items()
        if count > 1
    ]
    for chunk in table.to_pylist():
        if chunk["text_tokens"] > 200 or chunk["num_images"] > 5:
            faults.append(
                f"chunk {chunk['chunk_id']}: {chunk['text_tokens']} text tokens (200 allowed), {chunk['num_images']} pictures (5 allowed)"
            )
        if not _text(chunk["segments"]) and not _images(chunk["segments"]):
            faults.append(f"chunk {chunk['chunk_id']} is empty")
    return faults


def every_page_has_one_cluster(home: Home, partition: str | None) -> list[str]:
    """Over all crawls, each page is in exactly one cluster, and no cluster names a page that is not there."""
    counts = Counter(home.tables.read("page_clusters", columns=["doc_id"])["doc_id"].to_pylist())
    doc_ids = set(home.tables.read("crawl_documents", columns=["doc_id"])["doc_id"].to_pylist())
    return [
        f"page {doc_id} stands {counts[doc_id]} times in page_clusters and {'is' if doc_id in doc_ids else 'is not'} in "
        "crawl_documents"
        for doc_id in sorted(doc_ids | counts.keys())
        if counts[doc_id] != 1 or doc_id not in doc_ids
    ]


def _text(segments: list[dict]) -> str:
    return "".join("".join(segment["text"].split()) for segment in segments if segment["text"] is not None)


def _images(segments: list[dict]) -> list[str]:
    return [segment["image"] for segment in segments if segment["image"] is not None]


CORPUS_CHECKS = [
    blocking_check("crawl_documents", partitioned=True, find_faults=every_page_is_a_document_or_rejected),
    blocking_check("crawl_documents", partitioned=True, find_faults=every_picture_is_stored),
    blocking_check("chunked_corpus", partitioned=True, find_faults=chunks_hold_their_page_whole),
    blocking_check("chunked_corpus", partitioned=True, find_faults=no_chunk_is_over_its_limits),
    blocking_check("page_clusters", partitioned=False, find_faults=every_page_has_one_cluster),
]
