"""A web page as a source describes it, and how a row in the OBELICS schema becomes one; a row that breaks it is refused.

Source: the data card of HuggingFaceM4/OBELICS: `images` and `texts` are aligned lists of which exactly one is set at
each position, `metadata` is a JSON list aligned with them, `general_metadata` a JSON object about the page.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COLUMNS = ("images", "texts", "metadata", "general_metadata")


@dataclass(frozen=True, slots=True)
class PictureReference:
    """A picture as a page names it, before anybody looked for it."""

    reference: str
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WebPage:
    """Texts and picture references in reading order. What the row does not tell is an empty string."""

    url: str
    title: str
    language: str
    licence: str
    parts: tuple[str | PictureReference, ...]
    source_file: str
    source_row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedPage:
    """A row or file that cannot be read as a web page."""

    reference: str
    """The page's address, or file and row where the address cannot be read."""
    rule: str
    reason: str
    source_file: str
    source_row: int


class RowFault(Exception):
    """Why a row or file is no web page; whoever reads it turns it into a RefusedPage."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(rule, reason)
        self.rule = rule
        self.reason = reason


def page_of_row(row: Mapping[str, Any], *, source_file: str, source_row: int) -> WebPage | RefusedPage:
    """The page of a row whose texts are bytes still, or the row refused. What it does not tell is an empty string."""
    address = ""
    try:
        general = _general_metadata(row["general_metadata"])
        address = known(general, "url")
        images, texts = row["images"], row["texts"]
        if images is None or texts is None or len(images) != len(texts):
            got = ["null" if column is None else f"{len(column)} positions" for column in (images, texts)]
            raise RowFault("unequal_lists", f"images has {got[0]} and texts {got[1]}; they must be aligned lists")
        about = _metadata(row["metadata"], num_positions=len(images))
        address = address or _document_url(about)
        parts = _parts(images, texts)
    except RowFault as fault:
        return refused(fault, source_file=source_file, source_row=source_row, address=address)
    return WebPage(
        url=address,
        title=known(general, "title"),
        language=known(general, "language"),
        licence=known(general, "licence") or known(general, "license"),
        parts=parts,
        source_file=source_file,
        source_row=source_row,
    )


def refused(fault: RowFault, *, source_file: str, source_row: int, address: str = "") -> RefusedPage:
    """The refusal of a row or file, with its place in the reason."""
    place = f"{source_file} row {source_row}"
    return RefusedPage(
        reference=address or place,
        rule=fault.rule,
        reason=f"{place}: {fault.reason}",
        source_file=source_file,
        source_row=source_row,
    )


def _parts(images: Sequence[bytes | None], texts: Sequence[bytes | None]) -> tuple[str | PictureReference, ...]:
    """What the page shows. An empty reference names no picture and a blank text says nothing: both leave no trace."""
    parts: list[str | PictureReference] = []
    for position, (image, text) in enumerate(zip(images, texts, strict=True)):
        if (image is None) == (text is None):
            got = "neither image nor text" if image is None else "both an image and a text"
            raise RowFault("both_or_neither", f"position {position} holds {got}; exactly one must be set")
        if text is not None:
            shown = decoded(text, f"texts[{position}]")
            if shown.strip():
                parts.append(shown)
        elif image:
            parts.append(PictureReference(decoded(image, f"images[{position}]"), position))
    return tuple(parts)


def decoded(value: bytes, field: str) -> str:
    """The text of UTF-8 bytes. Raises RowFault that names the field and the first byte that is none."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RowFault(
            "invalid_utf8",
            f"{field} is not UTF-8 at byte {error.start} (0x{value[error.start]:02x}); write it as UTF-8",
        ) from error


def _json(value: bytes | None, field: str) -> Any:
    """The JSON value of a column; None where the column is null or empty."""
    if not value:
        return None
    try:
        return json.loads(decoded(value, field))
    except (ValueError, RecursionError) as error:
        raise RowFault("metadata_not_json", f"{field} is not JSON: {error}") from error


def _general_metadata(value: bytes | None) -> Mapping[str, Any]:
    general = _json(value, "general_metadata")
    if general is not None and not isinstance(general, dict):
        raise RowFault("metadata_not_json", f"general_metadata is a JSON {type(general).__name__}, must be an object")
    return general or {}


def _metadata(value: bytes | None, *, num_positions: int) -> list[Any]:
    about = _json(value, "metadata")
    if about is None:
        return []
    if not isinstance(about, list) or len(about) != num_positions:
        got = f"{len(about)} entries" if isinstance(about, list) else f"a JSON {type(about).__name__}"
        raise RowFault("metadata_not_aligned", f"metadata has {got}, images and texts have {num_positions} positions")
    return about


def _document_url(about: list[Any]) -> str:
    return next((url for entry in about if isinstance(entry, dict) and (url := known(entry, "document_url"))), "")


def known(values: Mapping[str, Any], name: str) -> str:
    """A text that may be missing. JSON can spell half a surrogate pair, which no table can hold: it becomes '?'."""
    value = values.get(name)
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else ""
