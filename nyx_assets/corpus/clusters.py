"""Which pages belong together: a cluster is never split between training and test."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from training_kernels.documents import Document

REVISION = re.compile(r"(?=[0-9a-f]*\d)[0-9a-f]{7,64}|v?\d+(?:\.\d+)+|\d{8,14}")
"""A path component that names a state of a page, not the page: commit hash, release number, date or time stamp of an
archive."""


def page_key(url: str, title: str) -> str:
    """What stays equal when a page is crawled again: its address without scheme, `www.`, query and revision.

    Choice: not the title, which editors change, and which unlike pages share ("Introduction"); only a page without an
    address goes by its title. The fragment stays: chapters of one book may be pages.
    """
    address = urlsplit(url.strip())
    parts = [part for part in address.path.split("/") if part and not REVISION.fullmatch(part.lower())]
    host = address.netloc.lower().removeprefix("www.")
    if not host and not parts:
        return "title:" + " ".join(title.casefold().split())
    return "/".join([host, *parts]) + (f"#{address.fragment}" if address.fragment else "")


def clusters_of(pages: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Cluster key of every page, by doc_id, from rows of `crawl_documents`.

    Pages fall together that have the same page key, the same text, or a picture in common, directly or through
    others. The key is the least page key of the cluster, so a page that comes again in a later crawl as a cluster of
    the same pages has the same key, and its split.

    Limit: a page that was reworded and moved to another address at once is not recognised.
    """
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    key_by_doc: dict[str, str] = {}
    for page in pages:
        key = page_key(page["url"] or "", page["title"] or "")
        key_by_doc[page["doc_id"]] = key
        document = Document.from_rows(page["segments"])
        for sign in [*_text_signs(document), *(f"image {image}" for image in document.images)]:
            parent[root(sign)] = root(f"page {key}")
    least_by_root: dict[str, str] = {}
    for key in sorted(set(key_by_doc.values())):
        least_by_root.setdefault(root(f"page {key}"), key)
    return {doc_id: least_by_root[root(f"page {key}")] for doc_id, key in key_by_doc.items()}


def _text_signs(document: Document) -> list[str]:
    """A sign that pages of equal text share, spaces and case aside; none for a page without text."""
    text = "".join(document.text.casefold().split())
    return [f"text {hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"] if text else []
