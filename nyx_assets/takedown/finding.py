"""What a takedown has to remove: pages, what was made from them, and pictures that nothing else shows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from nyx_assets.captioned import in_text
from nyx_assets.records import content_id
from nyx_assets.taken_down import Target, address_key, is_of_domain
from resources.home import Home
from resources.vlm import segment_digest
from training_kernels.documents import Document, Segment

RENAMED, STRIPPED, BLANKED = ("cluster",), ("examples",), ("example",)
"""Columns whose mention of something removed does not condemn their row: a cluster gets another name, a list of examples
loses one, an address that only stands as an example is left out."""


@dataclass(slots=True)
class Removal:
    """Everything that goes, by id."""

    pages: list[dict[str, Any]] = field(default_factory=list)
    """doc_id, url, crawl, source_file and source_row of each page."""
    doc_ids: set[str] = field(default_factory=set)
    chunk_ids: set[str] = field(default_factory=set)
    qa_ids: set[str] = field(default_factory=set)
    images: set[str] = field(default_factory=set)
    segments: set[str] = field(default_factory=set)
    """`segment_digest` of texts and pictures that stand on removed pages, or in questions about them, and nowhere else; and
    of the texts of each of these as one, which is what a server of embeddings is asked for."""
    addresses: set[str] = field(default_factory=set)
    """Of pictures that were lost."""
    request_digests: set[str] = field(default_factory=set)

    @property
    def ids(self) -> set[str]:
        """What condemns a row that names it."""
        return self.doc_ids | self.chunk_ids | self.qa_ids | self.images

    def to_lists(self) -> dict[str, list[str]]:
        names = ("doc_ids", "chunk_ids", "qa_ids", "images", "segments", "addresses", "request_digests")
        return {name: sorted(getattr(self, name)) for name in names}

    def take_in(self, lists: Mapping[str, list[str]]) -> None:
        for name, values in lists.items():
            getattr(self, name).update(values)


def find(home: Home, target: Target, started: Mapping[str, list[str]]) -> Removal:
    """What the target stands for in this home, and what an earlier run of the same takedown had found.

    Tables are read whether they are quarantined or not.
    """
    removal = Removal()
    removal.take_in(started)
    pages = list(rows_of(home, "crawl_documents"))
    for page in pages:
        if _is_meant(page, target) or page["doc_id"] in removal.doc_ids:
            removal.doc_ids.add(page["doc_id"])
            removal.pages.append({name: page[name] for name in ("doc_id", "url", "crawl", "source_file", "source_row")})
    for chunk in rows_of(home, "chunked_corpus"):
        if chunk["doc_id"] in removal.doc_ids:
            removal.chunk_ids.add(chunk["chunk_id"])
    questions = [row for name in ("raw_qa", "filtered_qa", "rejected_qa") for row in rows_of(home, name)]
    for row in questions:
        if row["chunk_id"] in removal.chunk_ids:
            removal.qa_ids.add(row["qa_id"])
            if row.get("request_digest"):
                removal.request_digests.add(row["request_digest"])
    for row in rows_of(home, "rejected_documents"):
        if row["doc_id"] in removal.doc_ids:
            removal.addresses.add(row["reference"])
    altered = list(rows_of(home, "altered_queries"))
    captions_by_crawl: dict[str | None, dict[str, str]] = {}
    for row in rows_of(home, "chunk_captions"):
        if row["caption"]:
            captions_by_crawl.setdefault(row["crawl"], {})[row["image"]] = row["caption"]
    all_captions = {image: caption for captions in captions_by_crawl.values() for image, caption in captions.items()}
    gone_segments: set[str] = set()
    kept_segments: set[str] = set()
    gone_images: set[str] = set()
    kept_images: set[str] = set()
    for row, column, is_gone in (
        *((page, "segments", page["doc_id"] in removal.doc_ids) for page in pages),
        *((chunk, "segments", chunk["chunk_id"] in removal.chunk_ids) for chunk in rows_of(home, "chunked_corpus")),
        *((pair, "question", pair["qa_id"] in removal.qa_ids) for pair in (*questions, *altered)),
    ):
        segments = row[column] or []
        document = Document.from_rows(segments)
        said = {*document.segments, *_embedded(document, captions_by_crawl.get(row["crawl"], {}), all_captions)}
        (gone_segments if is_gone else kept_segments).update(map(segment_digest, said))
        (gone_images if is_gone else kept_images).update(s["image"] for s in segments if s["image"])
    removal.segments |= gone_segments - kept_segments
    removal.images |= gone_images - kept_images
    if target.kind == "image":
        removal.images.add(target.value)
    return removal


def _embedded(document: Document, *captions: Mapping[str, str]) -> Iterator[Segment]:
    """What a server of embeddings was asked for it: all texts as one, without its pictures and with each set of captions."""
    for read in (document, *(in_text(document, caption_by_image) for caption_by_image in captions)):
        if read.text.strip():
            yield Segment(text=read.text)


def _is_meant(page: Mapping[str, Any], target: Target) -> bool:
    url = page["url"] or ""
    match target.kind:
        case "url":
            return address_key(url) == address_key(target.value)
        case "domain":
            return is_of_domain(url, target.value)
        case "document":
            return page["doc_id"] == target.value
        case _:
            return any(segment["image"] == target.value for segment in page["segments"])


def rows_of(home: Home, asset: str) -> Iterator[dict[str, Any]]:
    """Rows of an asset in all its partitions, with their `crawl`, quarantined ones as well; none if it was never made."""
    for partition in home.tables.all_partitions(asset):
        for table in home.tables.raw_batches(asset, partition):
            yield from (row | {"crawl": partition} for row in table.to_pylist())


def without_removed(table: pa.Table, removal: Removal) -> pa.Table:
    """The table without the rows that name something removed, and with no mention of it in those that stay."""
    ids = removal.ids
    names = [column.name for column in table.schema if _holds_text(column.type)]
    rows = table.select(names).to_pylist()
    keep = [
        not any(_names(row[name], ids) for name in names if name not in (*RENAMED, *STRIPPED, *BLANKED)) for row in rows
    ]
    if not all(keep):
        table = table.filter(pa.array(keep, pa.bool_()))
        rows = [row for row, is_kept in zip(rows, keep, strict=True) if is_kept]
    for name in names:
        values: list[Any] = [row[name] for row in rows]
        changed: list[Any]
        if name in STRIPPED:
            changed = [None if value is None else [one for one in value if one not in ids] for value in values]
        elif name in BLANKED:
            changed = ["" if value in removal.addresses else value for value in values]
        elif name in RENAMED:
            changed = [content_id("cluster", value) if value in ids else value for value in values]
        else:
            continue
        if changed != values:
            place = table.schema.get_field_index(name)
            table = table.set_column(
                place, table.schema.field(place), pa.array(changed, table.schema.field(place).type)
            )
    return table


def _holds_text(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(_holds_text(kind.field(place).type) for place in range(kind.num_fields))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _holds_text(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _names(value: Any, ids: set[str]) -> bool:
    """Whether a value names one of the ids, at any depth."""
    if isinstance(value, str):
        return value in ids
    if isinstance(value, dict):
        return any(_names(one, ids) for one in value.values())
    if isinstance(value, list):
        return any(_names(one, ids) for one in value)
    return False
