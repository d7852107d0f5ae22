"""Rows in, one Parquet file out whose footer says what it was made from; memory is that of one group of rows."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from resources.commits import Commit, Provenance, utc_now
from training_kernels.errors import DataError

FOOTER_KEY = b"nyx"
ROWS_PER_GROUP = 2048
"""Rows held in memory by a writer or a reader; pages have about 10 KB each, so about 20 MB."""
BYTES_PER_GROUP = 64 << 20
"""Choice: a group of large rows ends when it has so many bytes, so that pages of 1 MB do not take 2 GB together."""
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
        self._waiting = schema.empty_table()
        self._num_measured = 0
        self._measured_bytes = 0
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
        """Add rows to those that wait, and write the groups that are full.

        Groups end by what is in them, never by how rows were handed over, since the digest is taken group by group.
        """
        self._waiting = pa.concat_tables([self._waiting, table])
        while self._waiting.num_rows - self._num_measured >= ROWS_PER_CONVERSION:
            block = _compact(self._waiting.slice(self._num_measured, ROWS_PER_CONVERSION))
            self._num_measured += ROWS_PER_CONVERSION
            self._measured_bytes += sum(pa.ipc.get_record_batch_size(batch) for batch in block.to_batches())
            if self._num_measured >= ROWS_PER_GROUP or self._measured_bytes >= BYTES_PER_GROUP:
                self._write_group(self._num_measured)

    def _write_group(self, num_rows: int) -> None:
        """Write the first of the waiting rows as one group."""
        group = _compact(self._waiting.slice(0, num_rows))
        for batch in group.to_batches():
            self._digest.update(batch.serialize())
        self._writer.write_table(group, row_group_size=ROWS_PER_GROUP)
        self.num_rows += num_rows
        self._waiting = self._waiting.slice(num_rows)
        self._num_measured = self._measured_bytes = 0

    def finish(self, provenance: Provenance) -> Commit:
        """Write what waits and the footer."""
        self._convert()
        if self._waiting.num_rows:
            self._write_group(self._waiting.num_rows)
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


def _compact(table: pa.Table) -> pa.Table:
    """A copy in one piece: a slice would carry the offsets of the table that it was cut from into the digest."""
    return table.take(pa.array(np.arange(table.num_rows))).combine_chunks()
