"""How many pages a delivered file holds: of Parquet its footer says so, JSON lines are counted.

Of a crawl in a store the footer alone is asked for, by its place at the end of the file, so that taking note of a delivery
does not bring it here.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nyx_assets.corpus.crawl_listing import OBELICS_COLUMNS, kind_of
from nyx_assets.corpus.jsonl import count_json_rows
from resources.crawl_store import CrawlStore
from training_kernels.errors import DataError

FOOTER_BYTES = 64 << 10
"""Choice: the footer of a file of up to some hundred row groups of four columns; of a longer one the rest is asked for."""


def count_rows(path: Path) -> int:
    """Of a file of this machine. Raises DataError if it cannot be read or lacks the OBELICS columns."""
    kind = kind_of(path.name)
    if kind == "parquet":
        return _num_parquet_rows(path, str(path))
    return count_json_rows(path, str(path)) if kind == "json_rows" else 1


def count_stored_rows(store: CrawlStore, name: str, num_bytes: int) -> int:
    """The same of a file of this size in a store."""
    kind, place = kind_of(name), f"{store.url}/{name}"
    if kind == "parquet":
        return _num_parquet_rows(pa.BufferReader(_footer(store, name, num_bytes)), place)
    if kind == "json_rows":
        with store.brought(name, num_bytes=num_bytes, scratch=None) as file:
            return count_json_rows(file, place)
    return 1


def _footer(store: CrawlStore, name: str, num_bytes: int) -> bytes:
    """The end of a Parquet file, which begins before its footer: the last eight bytes are that one's length and a mark."""
    end = store.end_of(name, num_bytes=FOOTER_BYTES, size=num_bytes)
    needed = int.from_bytes(end[-8:-4], "little") + 8
    is_parquet = end.endswith(b"PAR1") and needed <= num_bytes
    return store.end_of(name, num_bytes=needed, size=num_bytes) if is_parquet and needed > len(end) else end


def _num_parquet_rows(source: Any, place: str) -> int:
    try:
        with pq.ParquetFile(source) as parquet:
            schema, num_rows = parquet.schema_arrow, parquet.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{place} cannot be read as Parquet ({error}); if it is still being copied it is looked at again when it "
            "has changed, else deliver it again"
        ) from error
    if faults := _schema_faults(schema):
        got = ", ".join(f"{column.name} {column.type}" for column in schema)
        raise DataError(
            f"{place} has no OBELICS columns: {'; '.join(faults)}. Got: {got}. Allowed: {OBELICS_COLUMNS}, and any more. "
            "Rename or convert its columns"
        )
    return num_rows


def _schema_faults(schema: pa.Schema) -> list[str]:
    faults = []
    for name, is_right in {
        "images": _is_list_of_texts,
        "texts": _is_list_of_texts,
        "metadata": _is_text,
        "general_metadata": _is_text,
    }.items():
        places = schema.get_all_field_indices(name)
        if len(places) != 1:
            faults.append(f"{name} is there {len(places)} times")
        elif not is_right(schema.field(places[0]).type):
            faults.append(f"{name} is {schema.field(places[0]).type}")
    return faults


def _is_text(kind: pa.DataType) -> bool:
    texts = (pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view())
    return kind in (*texts, pa.null())


def _is_list_of_texts(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return is_list and _is_text(kind.value_type)
