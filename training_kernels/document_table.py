"""Documents by id as they lie in a Parquet file: kept in Arrow's columns, and each made when it is asked for."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from training_kernels.documents import Document
from training_kernels.errors import DataError

NO_SEGMENT = {"kind": None, "text": None, "image": None}


class DocumentTable(Mapping[str, Document]):
    """The documents of two columns, id and segments.

    Raises DataError, with the row, for an id that is null or stands twice, and for a segment that is not what its kind
    says.
    """

    def __init__(self, ids: pa.ChunkedArray, segments: pa.ChunkedArray) -> None:
        self._segments = segments
        self._row_by_id: dict[str, int] = {}
        for row, document_id in enumerate(ids.to_pylist()):
            if not document_id:
                raise DataError(f"row {row} has no document_id; give it one")
            first = self._row_by_id.setdefault(document_id, row)
            if first != row:
                raise DataError(
                    f"rows {first} and {row} both have document_id {document_id!r}; leave one out, or rename it"
                )
        for row in _broken_rows(segments):
            try:
                _document(segments[row].as_py())
            except DataError as error:
                raise DataError(f"row {row}, document {ids[row].as_py()!r}: {error}") from error

    def __getitem__(self, document_id: str) -> Document:
        return _document(self._segments[self._row_by_id[document_id]].as_py())

    def __contains__(self, document_id: object) -> bool:
        return document_id in self._row_by_id

    def __iter__(self) -> Iterator[str]:
        return iter(self._row_by_id)

    def __len__(self) -> int:
        return len(self._row_by_id)


def _document(rows: list[dict[str, Any] | None] | None) -> Document:
    if rows is None:
        raise DataError("segments is null; an empty document has an empty list")
    return Document.from_rows(row or NO_SEGMENT for row in rows)


def _broken_rows(segments: pa.ChunkedArray) -> Iterator[int]:
    """Rows that hold no list, or a segment that is not what its kind says, found without making the documents."""
    start = 0
    for chunk in segments.chunks:
        flat = chunk.flatten()
        kind, text, image = (pc.struct_field(flat, name).cast(pa.string()) for name in ("kind", "text", "image"))
        is_text = pc.and_(pc.equal(kind, "text"), pc.and_(text.is_valid(), image.is_null()))
        is_image = pc.and_(pc.equal(kind, "image"), pc.and_(text.is_null(), image.is_valid()))
        is_sound = pc.fill_null(pc.or_(is_text, is_image), False)
        broken = pc.list_parent_indices(chunk).filter(pc.invert(is_sound)).to_pylist()
        nulls = pc.indices_nonzero(chunk.is_null()).to_pylist()
        yield from (start + row for row in sorted({*broken, *nulls}))
        start += len(chunk)
