"""Which pages belong together: a cluster is never split between training and test."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from nyx_assets.near_copies import Groups, near_copy_clusters
from resources.home import Home

REVISION = re.compile(r"(?=[0-9a-f]*\d)[0-9a-f]{7,64}|v?\d+(?:\.\d+)+|\d{8,14}")
"""A path component that names a state of a page, not the page: commit hash, release number, date or time stamp of an
archive."""

Thing = tuple[str, str]
"""What pages can have in common: ("picture" or "chunk", cluster of its near copies, or its own id)."""


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


@dataclass(frozen=True, slots=True)
class Clusters:
    """Pages that belong together, and what was seen on too many pages to say so."""

    cluster_by_doc: Mapping[str, str]
    num_pages_by_furniture: Mapping[Thing, int]


def clusters_of(
    key_by_doc: Mapping[str, str],
    copies: Mapping[str, str],
    shown: Iterable[tuple[str, Thing]],
    *,
    max_pages: int,
) -> Clusters:
    """Cluster key of every page, by doc_id.

    Pages fall together that have the same page key, are near copies of each other, or show the same thing (a picture,
    a chunk, or near copies of one), directly or through others. The key is the least page key of the cluster, so a
    page that comes again in a later crawl as a cluster of the same pages has the same key, and its split.

    Choice: a thing on more than max_pages pages (a logo, a portrait, a licence text) is furniture: it tells no page
    from another, and would chain a whole site into one cluster.

    Args:
        key_by_doc: page key of every page, by doc_id.
        copies: cluster of near copies of each page that has one, by doc_id.
        shown: what stands on which page, as (doc_id, thing).
    """
    groups = Groups()
    first_key: dict[str, str] = {}
    for doc_id, key in key_by_doc.items():
        if doc_id in copies:
            groups.join(key, first_key.setdefault(copies[doc_id], key))
    keys_by_thing: dict[Thing, set[str]] = defaultdict(set)
    for doc_id, thing in shown:
        # pages that are one page already count once, so that a page that comes again makes nothing furniture
        keys_by_thing[thing].add(groups.of(key_by_doc[doc_id]))
    furniture = {thing: len(keys) for thing, keys in sorted(keys_by_thing.items()) if len(keys) > max_pages}
    for thing, keys in keys_by_thing.items():
        if thing not in furniture:
            first, *others = sorted(keys)
            for other in others:
                groups.join(first, other)
    return Clusters({doc_id: groups.of(key) for doc_id, key in key_by_doc.items()}, furniture)


def page_clusters_of(home: Home, *, max_pages: int) -> Clusters:
    """The clusters of all pages of all crawls, from their signatures and the table of near duplicates."""
    key_by_doc = {row["doc_id"]: row["page_key"] for row in _every(home, "page_signatures", ["doc_id", "page_key"])}
    copies_by_kind = {kind: near_copy_clusters(home, kind) for kind in ("page", "chunk", "picture")}
    pictures, chunks = copies_by_kind["picture"], copies_by_kind["chunk"]
    shown: list[tuple[str, Thing]] = [
        (row["doc_id"], ("picture", pictures.get(row["image"], row["image"])))
        for row in _every(home, "picture_signatures", ["doc_id", "image"])
    ]
    shown += [
        (row["doc_id"], ("chunk", chunks[row["chunk_id"]]))
        for row in _every(home, "chunk_signatures", ["doc_id", "chunk_id"])
        if row["chunk_id"] in chunks
    ]
    return clusters_of(key_by_doc, copies_by_kind["page"], shown, max_pages=max_pages)


def _every(home: Home, table: str, columns: list[str]) -> Iterable[dict[str, Any]]:
    """Rows of every crawl of a table."""
    for partition in home.tables.partitions(table):
        for batch in home.tables.batches(table, partition=partition, columns=columns):
            yield from batch.to_pylist()
