"""Web pages in JSON lines, plain or gzipped: one object a line with the columns of the OBELICS schema.

`metadata` and `general_metadata` may be JSON values as well as texts that hold JSON.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any, BinaryIO

from nyx_assets.corpus.web_pages import RefusedPage, RowFault, WebPage, page_of_row, refused
from training_kernels.errors import DataError

MAX_LINE_BYTES = 64 << 20
"""Choice: far above any page; a file without line ends must not fill the memory."""

READING_ERRORS = (OSError, EOFError, zlib.error)
"""What a file that is gone, cut off or no gzip raises while it is read."""


def read_json_rows(file: Path | BinaryIO, place: str, *, source_file: str) -> Iterator[WebPage | RefusedPage]:
    """Every line of a file that is not blank, as a page or refused. Raises DataError if the file cannot be read.

    Args:
        place: the file's path or URL; its end says whether it is gzipped.
    """
    for source_row, line in enumerate(_lines(file, place)):
        try:
            row = _row(line)
        except RowFault as fault:
            yield refused(fault, source_file=source_file, source_row=source_row)
        else:
            yield page_of_row(row, source_file=source_file, source_row=source_row)


def count_json_rows(file: Path | BinaryIO, place: str) -> int:
    """Number of lines that are not blank; the whole file is read. Raises DataError if it cannot be."""
    return sum(1 for _ in _lines(file, place))


def _lines(source: Path | BinaryIO, place: str) -> Iterator[bytes]:
    """Lines that are not blank; of one that is too long only the beginning, which is no JSON."""
    try:
        with _opened(source, is_gzip=place.endswith(".gz")) as file:
            while line := file.readline(MAX_LINE_BYTES):
                is_whole = line.endswith(b"\n") or len(line) < MAX_LINE_BYTES
                if not line.isspace():
                    yield line
                while not is_whole:
                    rest = file.readline(MAX_LINE_BYTES)
                    is_whole = rest.endswith(b"\n") or len(rest) < MAX_LINE_BYTES
    except READING_ERRORS as error:
        raise DataError(
            f"{place} cannot be read ({error or type(error).__name__}); deliver the file again, its partition is left out"
        ) from error


def _opened(source: Path | BinaryIO, *, is_gzip: bool) -> AbstractContextManager[IO[bytes] | gzip.GzipFile]:
    if is_gzip:
        return gzip.open(source, "rb")
    return source.open("rb") if isinstance(source, Path) else nullcontext(source)


def _row(line: bytes) -> dict[str, Any]:
    """The columns of a line with their texts as bytes, as they come out of Parquet."""
    if len(line) >= MAX_LINE_BYTES:
        raise RowFault(
            "line_too_long", f"the line has {MAX_LINE_BYTES:,} bytes or more; a page is one line, so split it"
        )
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RowFault("not_json", f"the line is not JSON ({error}); write one object a line, as UTF-8") from error
    if not isinstance(content, dict):
        raise RowFault("not_json", f"the line is a JSON {type(content).__name__}; write one object a line")
    return {
        "images": _texts(content, "images"),
        "texts": _texts(content, "texts"),
        "metadata": _json_bytes(content.get("metadata")),
        "general_metadata": _json_bytes(content.get("general_metadata")),
    }


def _texts(content: Mapping[str, Any], name: str) -> list[bytes | None] | None:
    values = content.get(name)
    if values is None:
        return None
    if not isinstance(values, list) or any(value is not None and not isinstance(value, str) for value in values):
        raise RowFault("wrong_type", f"{name} must be a list of texts and nulls, got {json.dumps(values)[:80]}")
    return [None if value is None else _bytes(value) for value in values]


def _json_bytes(value: Any) -> bytes | None:
    if value is None:
        return None
    return _bytes(value if isinstance(value, str) else json.dumps(value))


def _bytes(text: str) -> bytes:
    """UTF-8; half a surrogate pair, which JSON can spell, becomes what is refused as no UTF-8 later."""
    return text.encode("utf-8", "surrogatepass")
