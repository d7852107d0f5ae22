"""Small real crawl folders in the OBELICS schema."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.deliveries import OBELICS

RAW = pa.schema(
    [
        ("images", pa.list_(pa.binary())),
        ("texts", pa.list_(pa.binary())),
        ("metadata", pa.binary()),
        ("general_metadata", pa.binary()),
    ]
)


def _raw(value):
    return value.encode() if isinstance(value, str) else value


def _row(*parts, url: str | None = "https://a.example/1", metadata=b"null", general=None, images=..., texts=...):
    """An OBELICS row of (image, text) pairs; `images`, `texts`, `metadata` and `general` override what follows."""
    about = json.dumps({"url": url, "title": "T", "language": "en", "licence": "CC0"} if url else {})
    return {
        "images": [_raw(image) for image, _ in parts] if images is ... else images,
        "texts": [_raw(text) for _, text in parts] if texts is ... else texts,
        "metadata": _raw(metadata),
        "general_metadata": _raw(about if general is None else general),
    }


def _write_parquet(path: Path, rows: list[dict], *, row_group_size: int = 3) -> Path:
    """Rows as a file whose columns are declared as text, whatever bytes stand in them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows, schema=RAW)
    columns = [
        pa.ListArray.from_arrays(
            column.offsets, pa.Array.from_buffers(pa.string(), len(column.values), column.values.buffers())
        )
        if pa.types.is_list(column.type)
        else pa.Array.from_buffers(pa.string(), len(column), column.buffers())
        for column in (table.column(name).combine_chunks() for name in RAW.names)
    ]
    pq.write_table(pa.table(columns, schema=OBELICS), path, row_group_size=row_group_size)
    return path


@pytest.fixture
def picture() -> Callable[..., Path]:
    def draw(path: Path, *, size: tuple[int, int] = (50, 40), colour: str = "teal") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, colour).save(path)
        return path

    return draw


@pytest.fixture(name="row")
def row_fixture() -> Callable[..., dict]:
    return _row


@pytest.fixture(name="write_parquet")
def write_parquet_fixture() -> Callable[..., Path]:
    return _write_parquet
