"""Reads web pages out of a delivery, a few at a time: Parquet files in the OBELICS schema, JSON lines of the same, or a
folder of Markdown and HTML files."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nyx_assets.corpus.deliveries import DeliveredFile, Delivery
from nyx_assets.corpus.jsonl import read_json_rows
from nyx_assets.corpus.page_files import read_page_file
from nyx_assets.corpus.web_pages import COLUMNS, PictureReference, RefusedPage, WebPage, page_of_row
from training_kernels.errors import DataError

__all__ = ["PictureReference", "RefusedPage", "WebPage", "read_pages"]

PAGES_PER_BATCH = 64
"""Choice: pages of 1 MB still stay under 100 MB."""


def read_pages(delivery: Delivery) -> Iterator[WebPage | RefusedPage]:
    """Every row or page file of a delivery, as a page or refused.

    Raises DataError if a file's data cannot be read any more.
    """
    for file in delivery.files:
        name = delivery.name_of(file)
        if file.kind == "page":
            yield read_page_file(file.path, delivery.folder, source_file=name)
        elif file.kind == "json_rows":
            yield from read_json_rows(file.path, source_file=name)
        else:
            for source_row, row in enumerate(_raw_rows(file)):
                yield page_of_row(row, source_file=name, source_row=source_row)


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
    if isinstance(column.type, (pa.ListType, pa.LargeListType, pa.FixedSizeListType)):
        return column.cast(pa.large_list(pa.large_binary()))
    return column.cast(pa.large_binary())
