"""Rows in, one Parquet file out whose footer says what it was made from; memory is that of one group of rows."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from resources.commits import Commit, Provenance, utc_now
from training_kernels.errors import DataError

FOOTER_KEY = b"nyx"
ROWS_PER_GROUP = 2048
"""Rows held in memory by a writer; pages have about 10 KB each, so about 20 MB."""
ROWS_PER_CONVERSION = 256
"""Python rows turned into Arrow at a time: enough to be fast, few enough that an error comes close to its row."""
NOT_OF_ITS_TYPE = (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError)
"""What Arrow raises for a value that a column does not take: a wrong type, too large an integer, a lone surrogate."""


class TableWriter:
    """Rows in, one committed Parquet file out; use it through `Tables.write`."""

    def __init__(self, file: Any, schema: pa.Schema, *, place: str) -> None:
        self.schema = schema
        self.num_appended = 0
        self.num_rows = 0
        self._place = place
        self._names = set(schema.names)
        self._rows: list[Mapping[str, Any]] = []
        self._waiting: list[pa.Table] = []
        self._num_waiting = 0
        self._digest = hashlib.sha256(schema.remove_metadata().serialize().to_pybytes())
        self._writer = pq.ParquetWriter(file, schema, compression="zstd")

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows. Raises DataError naming the row if it has other fields than the schema, or a value of another type;
        the latter when ROWS_PER_CONVERSION rows are together, or at the end.
        """
        for row in rows:
            if row.keys() != self._names:
                raise DataError(
                    f"{self._place}: row {self.num_appended} has fields {sorted(row)}, the schema has {sorted(self._names)}"
                )
            self._rows.append(row)
            self.num_appended += 1
            if len(self._rows) >= ROWS_PER_CONVERSION:
                self._convert()

    def _convert(self) -> None:
        rows, self._rows = self._rows, []
        try:
            table = pa.Table.from_pylist(rows, schema=self.schema)
        except NOT_OF_ITS_TYPE:
            self._blame(rows)
            raise
        self._enqueue(table)

    def _blame(self, rows: list[Mapping[str, Any]]) -> None:
        """Raise DataError for the first value that its column does not take."""
        for number, row in enumerate(rows, start=self.num_appended - len(rows)):
            for column in self.schema:
                try:
                    pa.array([row[column.name]], column.type)
                except NOT_OF_ITS_TYPE as error:
                    raise DataError(
                        f"{self._place}: row {number}, column {column.name} takes {column.type}, got "
                        f"{row[column.name]!r:.200}: {error}"
                    ) from error

    def append_table(self, table: pa.Table) -> None:
        """Add rows that are in Arrow already; columns in the schema's order and types."""
        if table.schema.remove_metadata() != self.schema.remove_metadata():
            raise DataError(f"{self._place}: got columns\n{table.schema}\nthe schema is\n{self.schema}")
        self._convert()
        self.num_appended += table.num_rows
        self._enqueue(table)

    def _enqueue(self, table: pa.Table) -> None:
        self._waiting.append(table)
        self._num_waiting += table.num_rows
        if self._num_waiting >= ROWS_PER_GROUP:
            self._flush(keep_rest=True)

    def _flush(self, *, keep_rest: bool) -> None:
        """Write whole groups of ROWS_PER_GROUP rows, so that the digest does not depend on how rows were handed over."""
        waiting = pa.concat_tables(self._waiting) if self._waiting else self.schema.empty_table()
        start = 0
        while waiting.num_rows - start >= (ROWS_PER_GROUP if keep_rest else 1):
            # take() copies: slices would carry the offsets of the table that they were cut from into the digest
            size = min(ROWS_PER_GROUP, waiting.num_rows - start)
            group = waiting.take(pa.array(range(start, start + size), pa.int64())).combine_chunks()
            for batch in group.to_batches():
                self._digest.update(batch.serialize())
            self._writer.write_table(group, row_group_size=ROWS_PER_GROUP)
            self.num_rows += size
            start += size
        self._waiting = [waiting.slice(start)] if start < waiting.num_rows else []
        self._num_waiting = waiting.num_rows - start

    def finish(self, provenance: Provenance) -> Commit:
        """Write what waits and the footer."""
        self._convert()
        self._flush(keep_rest=False)
        commit = Commit(
            data_version=self._digest.hexdigest()[:32],
            num_rows=self.num_rows,
            provenance=provenance,
            written_at=utc_now(),
        )
        self._writer.add_key_value_metadata({FOOTER_KEY.decode(): json.dumps(commit.to_json())})
        self._writer.close()
        return commit

    def abandon(self) -> None:
        self._writer.close()
