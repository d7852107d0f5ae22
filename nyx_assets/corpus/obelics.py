"""Reads web pages out of a delivery, a few at a time: Parquet files in the OBELICS schema, JSON lines of the same, or a
folder of Markdown and HTML files."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from nyx_assets.corpus.deliveries import DeliveredFile, Delivery
from nyx_assets.corpus.delivery_files import DeliveryFiles, files_of
from nyx_assets.corpus.jsonl import read_json_rows
from nyx_assets.corpus.page_files import read_page_file
from nyx_assets.corpus.web_pages import COLUMNS, PictureReference, RefusedPage, WebPage, page_of_row
from training_kernels.errors import DataError

__all__ = ["PictureReference", "RefusedPage", "WebPage", "read_pages"]

PAGES_PER_BATCH = 64
"""Choice: pages of 1 MB still stay under 100 MB."""


def read_pages(delivery: Delivery, *, scratch: Path | None = None) -> Iterator[WebPage | RefusedPage]:
    """Every row or page file of a delivery, as a page or refused.

    Args:
        scratch: folder of this machine for files that are brought from a store; None: that of the system for such.

    Raises DataError if a file's data cannot be read any more.
    """
    with files_of(delivery, scratch) as files:
        for file, ahead in zip(delivery.files, _ahead(delivery), strict=True):
            for one in ahead:
                files.expect(delivery.name_within(one))
            yield from _pages(delivery, file, files)


def _pages(delivery: Delivery, file: DeliveredFile, files: DeliveryFiles) -> Iterator[WebPage | RefusedPage]:
    name = delivery.name_of(file)
    if file.kind == "page":
        yield read_page_file(delivery.name_within(file), partial(files.page_of, file), source_file=name)
        return
    place = delivery.address_of(file)
    with files.rows_of(file) as source:
        if file.kind == "json_rows":
            yield from read_json_rows(source, place, source_file=name)
        else:
            for source_row, row in enumerate(_raw_rows(source, place)):
                yield page_of_row(row, source_file=name, source_row=source_row)


def _ahead(delivery: Delivery) -> Iterator[list[DeliveredFile]]:
    """For each file those that it is time to expect: page files, PAGES_PER_BATCH before they come."""
    for number in range(len(delivery.files)):
        if number == 0:
            come_into_sight = delivery.files[:PAGES_PER_BATCH]
        else:
            come_into_sight = delivery.files[number + PAGES_PER_BATCH - 1 : number + PAGES_PER_BATCH]
        yield [file for file in come_into_sight if file.kind == "page"]


def _raw_rows(source: Path | BinaryIO, place: str) -> Iterator[dict[str, Any]]:
    """Rows with all texts as bytes: decoding is done page by page, so that one bad byte costs one page."""
    try:
        # Without pre-buffering, pages of a column are read as they are needed, not a row group at a time.
        with pq.ParquetFile(source, pre_buffer=False, buffer_size=1 << 20) as parquet:
            for batch in parquet.iter_batches(batch_size=PAGES_PER_BATCH, columns=list(COLUMNS)):
                columns = [_as_bytes(batch.column(name)).to_pylist() for name in COLUMNS]
                for values in zip(*columns, strict=True):
                    yield dict(zip(COLUMNS, values, strict=True))
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{place} cannot be read ({error}); deliver the file again, its partition is left out"
        ) from error


def _as_bytes(column: pa.Array) -> pa.Array:
    if isinstance(column.type, (pa.ListType, pa.LargeListType, pa.FixedSizeListType)):
        return column.cast(pa.large_list(pa.large_binary()))
    return column.cast(pa.large_binary())
