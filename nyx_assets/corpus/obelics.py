"""Reads web pages out of Parquet files in the OBELICS schema, a few at a time; a page that breaks the schema is refused.

Source: the data card of HuggingFaceM4/OBELICS: `images` and `texts` are aligned lists of which exactly one is set at
each position, `metadata` is a JSON list aligned with them, `general_metadata` a JSON object about the page.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nyx_assets.corpus.deliveries import DeliveredFile, Delivery
from training_kernels.errors import DataError

PAGES_PER_BATCH = 64
"""Choice: pages of 1 MB still stay under 100 MB."""

COLUMNS = ("images", "texts", "metadata", "general_metadata")


@dataclass(frozen=True, slots=True)
class PictureReference:
    """A picture as a page names it, before anybody looked for it."""

    reference: str
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WebPage:
    """One row: texts and picture references in reading order. What the row does not tell is an empty string."""

    url: str
    title: str
    language: str
    licence: str
    parts: tuple[str | PictureReference, ...]
    source_file: str
    source_row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedPage:
    """A row that cannot be read as a web page."""

    reference: str
    """The page's address, or file and row where the address cannot be read."""
    rule: str
    reason: str
    source_file: str
    source_row: int


class _RowFault(Exception):
    """Why a row is refused; never leaves this module."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(rule, reason)
        self.rule = rule
        self.reason = reason


def read_pages(delivery: Delivery) -> Iterator[WebPage | RefusedPage]:
    """Every row of a delivery, as a page or refused. Raises DataError if a file's data cannot be read any more."""
    for file in delivery.files:
        name = delivery.name_of(file)
        for source_row, row in enumerate(_raw_rows(file)):
            yield _page(row, source_file=name, source_row=source_row)


def _raw_rows(file: DeliveredFile) -> Iterator[dict[str, Any]]:
    """Rows with all texts as bytes: decoding is done page by page, so that one bad byte costs one page."""
    try:
        # Without pre-buffering, pages of a column are read as they are needed, not a row group at a time.
        with pq.ParquetFile(file.path, pre_buffer=False, buffer_size=1 << 20) as parquet:
            for batch in parquet.iter_batches(batch_size=PAGES_PER_BATCH, columns=list(COLUMNS)):
                columns = [_as_bytes(batch.column(name)).to_pylist() for name in COLUMNS]
                for values in zip(*columns, strict=True):
                    yield dict(zip(COLUMNS, values, strict=True))
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{file.path} cannot be read ({error}); deliver the file again, its partition is left out"
        ) from error


def _as_bytes(column: pa.Array) -> pa.Array:
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return column.cast(pa.large_list(pa.large_binary()))
    return column.cast(pa.large_binary())


def _page(row: Mapping[str, Any], *, source_file: str, source_row: int) -> WebPage | RefusedPage:
    place = f"{source_file} row {source_row}"
    address = ""
    try:
        general = _general_metadata(row["general_metadata"])
        address = _known(general, "url")
        images, texts = row["images"], row["texts"]
        if images is None or texts is None or len(images) != len(texts):
            got = ["null" if column is None else f"{len(column)} positions" for column in (images, texts)]
            raise _RowFault("unequal_lists", f"images has {got[0]} and texts {got[1]}; they must be aligned lists")
        about = _metadata(row["metadata"], num_positions=len(images))
        address = address or _document_url(about)
        parts = _parts(images, texts)
    except _RowFault as fault:
        return RefusedPage(
            reference=address or place,
            rule=fault.rule,
            reason=f"{place}: {fault.reason}",
            source_file=source_file,
            source_row=source_row,
        )
    return WebPage(
        url=address,
        title=_known(general, "title"),
        language=_known(general, "language"),
        licence=_known(general, "licence") or _known(general, "license"),
        parts=parts,
        source_file=source_file,
        source_row=source_row,
    )


def _parts(images: Sequence[bytes | None], texts: Sequence[bytes | None]) -> tuple[str | PictureReference, ...]:
    """What the page shows. An empty reference names no picture and a blank text says nothing: both leave no trace."""
    parts: list[str | PictureReference] = []
    for position, (image, text) in enumerate(zip(images, texts, strict=True)):
        if (image is None) == (text is None):
            got = "neither image nor text" if image is None else "both an image and a text"
            raise _RowFault("both_or_neither", f"position {position} holds {got}; exactly one must be set")
        if text is not None:
            decoded = _decoded(text, f"texts[{position}]")
            if decoded.strip():
                parts.append(decoded)
        elif image:
            parts.append(PictureReference(_decoded(image, f"images[{position}]"), position))
    return tuple(parts)


def _decoded(value: bytes, field: str) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _RowFault(
            "invalid_utf8",
            f"{field} is not UTF-8 at byte {error.start} (0x{value[error.start]:02x}); write it as UTF-8",
        ) from error


def _json(value: bytes | None, field: str) -> Any:
    """The JSON value of a column; None where the column is null or empty."""
    if not value:
        return None
    try:
        return json.loads(_decoded(value, field))
    except (ValueError, RecursionError) as error:
        raise _RowFault("metadata_not_json", f"{field} is not JSON: {error}") from error


def _general_metadata(value: bytes | None) -> Mapping[str, Any]:
    general = _json(value, "general_metadata")
    if general is not None and not isinstance(general, dict):
        raise _RowFault("metadata_not_json", f"general_metadata is a JSON {type(general).__name__}, must be an object")
    return general or {}


def _metadata(value: bytes | None, *, num_positions: int) -> list[Any]:
    about = _json(value, "metadata")
    if about is None:
        return []
    if not isinstance(about, list) or len(about) != num_positions:
        got = f"{len(about)} entries" if isinstance(about, list) else f"a JSON {type(about).__name__}"
        raise _RowFault("metadata_not_aligned", f"metadata has {got}, images and texts have {num_positions} positions")
    return about


def _document_url(about: list[Any]) -> str:
    return next((url for entry in about if isinstance(entry, dict) and (url := _known(entry, "document_url"))), "")


def _known(values: Mapping[str, Any], name: str) -> str:
    """A text that may be missing. JSON can spell half a surrogate pair, which no table can hold: it becomes '?'."""
    value = values.get(name)
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else ""
