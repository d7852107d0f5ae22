"""Tables of the pipeline: Parquet files, one per asset and crawl partition, complete or absent.

    <root>/<asset key>/crawl=<partition>/part-0.parquet     a partitioned asset
    <root>/<asset key>/part-0.parquet                       an unpartitioned one
    <root>/<asset key>/crawl=<partition>/_quarantine.json   why the table must not be read, until it is written again

A file is written beside its place under a hidden name and renamed, so readers see the old table or the new one. Its
footer says what it was made from, so a table and its provenance cannot come apart.
"""

import hashlib
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol, Self

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from training_kernels.errors import DataError, IncompleteArtifact

FOOTER_KEY = b"nyx"
ROWS_PER_GROUP = 2048
"""Rows held in memory by a writer; pages have about 10 KB each, so about 20 MB."""
ROWS_PER_CONVERSION = 256
"""Python rows turned into Arrow at a time: enough to be fast, few enough that an error comes close to its row."""
NOT_OF_ITS_TYPE = (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError)
"""What Arrow raises for a value that a column does not take: a wrong type, too large an integer, a lone surrogate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What an artefact was made from: the version of the code and of each input."""

    code_version: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Data version by name of input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One complete version of a table or folder."""

    data_version: str
    """Digest of the content: equal content, equal version, whenever and from whatever it was made."""
    num_rows: int
    provenance: Provenance
    written_at: str
    """UTC, ISO 8601."""

    def to_json(self) -> dict[str, Any]:
        return {
            "data_version": self.data_version,
            "num_rows": self.num_rows,
            "code_version": self.provenance.code_version,
            "inputs": dict(self.provenance.inputs),
            "written_at": self.written_at,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        return cls(
            data_version=content["data_version"],
            num_rows=content["num_rows"],
            provenance=Provenance(code_version=content["code_version"], inputs=content["inputs"]),
            written_at=content["written_at"],
        )


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


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


def _difference(before: pa.Table, after: pa.Table) -> int:
    """Rows taken away, or at least one where others are changed."""
    return before.num_rows - after.num_rows or int(not before.equals(after))


class Tables(Protocol):
    """Named tables, complete or absent."""

    def write(self, asset: str, schema: pa.Schema, *, partition: str | None, provenance: Provenance) -> Any:
        """Context manager that yields a TableWriter; leaving it commits, an exception leaves what was there before."""
        ...

    def commit(self, asset: str, partition: str | None) -> Commit | None:
        """The committed version, or None."""
        ...

    def partitions(self, asset: str) -> list[str]:
        """Crawl partitions that are committed and not quarantined, by name."""
        ...

    def read(self, asset: str, *, partition: str | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """One partition, or all of them (then with their `crawl`), rows in order of partition and position."""
        ...

    def batches(
        self, asset: str, *, partition: str | None, columns: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """One partition as a stream of record batches of at most ROWS_PER_GROUP rows."""
        ...

    def query(self, sql: str) -> pa.Table:
        """The answer of DuckDB, where each table is a view of its name with `/` written `_`."""
        ...

    def quarantine(self, asset: str, partition: str | None, reason: str) -> None:
        """Keep a table from being read until it is written again."""
        ...


class ParquetTables:
    """Tables in a folder, or under any fsspec URL."""

    def __init__(self, root: str) -> None:
        self.root = str(root).rstrip("/")
        self.fs, self.base = fsspec.core.url_to_fs(self.root)
        self._is_local = "file" in self.fs.protocol

    def _folder(self, asset: str, partition: str | None) -> str:
        return f"{self.base}/{asset}" if partition is None else f"{self.base}/{asset}/crawl={partition}"

    def _file(self, asset: str, partition: str | None) -> str:
        return f"{self._folder(asset, partition)}/part-0.parquet"

    def _mark(self, asset: str, partition: str | None) -> str:
        return f"{self._folder(asset, partition)}/_quarantine.json"

    @contextmanager
    def write(
        self, asset: str, schema: pa.Schema, *, partition: str | None, provenance: Provenance
    ) -> Iterator[TableWriter]:
        with self._replaced(asset, schema, partition, provenance) as writer:
            yield writer
        mark = self._mark(asset, partition)
        if self.fs.exists(mark):
            self.fs.rm(mark)

    @contextmanager
    def _replaced(
        self, asset: str, schema: pa.Schema, partition: str | None, provenance: Provenance
    ) -> Iterator[TableWriter]:
        """The file beside its place, renamed into it; a mark of quarantine stays."""
        folder, file = self._folder(asset, partition), self._file(asset, partition)
        self.fs.makedirs(folder, exist_ok=True)
        beside = f"{folder}/.part-{uuid.uuid4().hex}.writing"
        place = asset if partition is None else f"{asset}, partition {partition}"
        try:
            with self.fs.open(beside, "wb") as stream:
                writer = TableWriter(stream, schema, place=place)
                try:
                    yield writer
                    writer.finish(provenance)
                except BaseException:
                    writer.abandon()
                    raise
            self.fs.mv(beside, file)
        finally:
            if self.fs.exists(beside):
                self.fs.rm(beside)

    def raw_batches(self, asset: str, partition: str | None) -> Iterator[pa.Table]:
        """The rows of a committed table a row group at a time, whether it is quarantined or not."""
        with self.fs.open(self._file(asset, partition), "rb") as stream, pq.ParquetFile(stream) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group).replace_schema_metadata(None)

    def amend(
        self,
        asset: str,
        partition: str | None,
        change: Callable[[pa.Table], pa.Table],
        *,
        added: Sequence[Mapping[str, Any]] = (),
    ) -> int:
        """Write a table again with changed rows, in one step; how many rows were changed, taken away or added.

        Nothing is written where nothing changes. The table keeps what its footer says that it was made from, and a
        quarantine stays: it is the same table, less what may not be kept.
        """
        num_changed = len(added) + sum(
            _difference(table, change(table)) for table in self.raw_batches(asset, partition)
        )
        commit = self.commit(asset, partition)
        if not num_changed or commit is None:
            return 0
        with self.fs.open(self._file(asset, partition), "rb") as stream:
            schema = pq.read_schema(stream).remove_metadata()
        with self._replaced(asset, schema, partition, commit.provenance) as writer:
            for table in self.raw_batches(asset, partition):
                writer.append_table(change(table))
            writer.append(added)
        return num_changed

    def commit(self, asset: str, partition: str | None) -> Commit | None:
        file = self._file(asset, partition)
        if not self.fs.exists(file):
            return None
        with self.fs.open(file, "rb") as stream:
            footer = pq.read_metadata(stream).metadata or {}
        if FOOTER_KEY not in footer:
            raise DataError(
                f"{file} has no provenance in its footer: not written by this project; delete it and materialize {asset}"
            )
        return Commit.from_json(json.loads(footer[FOOTER_KEY]))

    def partitions(self, asset: str) -> list[str]:
        names = [name for name in self.all_partitions(asset) if name is not None]
        return [name for name in names if not self.fs.exists(self._mark(asset, name))]

    def all_partitions(self, asset: str) -> list[str | None]:
        """Every committed partition, quarantined ones as well; [None] for an unpartitioned asset."""
        if self.fs.exists(self._file(asset, None)):
            return [None]
        files = self.fs.glob(f"{self.base}/{asset}/crawl=*/part-0.parquet")
        return sorted(file.rsplit("/", 2)[-2].removeprefix("crawl=") for file in files)

    def quarantine(self, asset: str, partition: str | None, reason: str) -> None:
        mark = self._mark(asset, partition)
        beside = f"{mark}.{uuid.uuid4().hex}.writing"  # a mark that is half written would stop every reader
        with self.fs.open(beside, "w") as file:
            json.dump({"reason": reason, "since": utc_now()}, file)
        self.fs.mv(beside, mark)

    def quarantine_reason(self, asset: str, partition: str | None) -> str | None:
        """Why a table must not be read, or None."""
        mark = self._mark(asset, partition)
        if not self.fs.exists(mark):
            return None
        with self.fs.open(mark, "r") as file:
            return json.load(file)["reason"]

    def _open(self, asset: str, partition: str | None) -> pq.ParquetFile:
        where = asset if partition is None else f"{asset}, partition {partition!r},"
        file = self._file(asset, partition)
        if not self.fs.exists(file):
            raise IncompleteArtifact(f"table {where} has not been made; materialize {asset}")
        if (reason := self.quarantine_reason(asset, partition)) is not None:
            raise IncompleteArtifact(
                f"table {where} is quarantined ({reason}); mend the cause and materialize {asset} again"
            )
        return pq.ParquetFile(self.fs.open(file, "rb"))

    def schema(self, asset: str, partition: str | None) -> pa.Schema:
        """Columns of a committed table."""
        with self._open(asset, partition) as file:
            return file.schema_arrow.remove_metadata()

    def num_rows(self, asset: str, partition: str | None) -> int:
        """Rows of a committed table. Raises IncompleteArtifact if there is none."""
        with self._open(asset, partition) as file:
            return file.metadata.num_rows

    def read(self, asset: str, *, partition: str | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        if partition is not None or self.fs.exists(self._file(asset, None)):
            with self._open(asset, partition) as file:
                return file.read(columns=list(columns) if columns is not None else None)
        names = self.partitions(asset)
        if not names:
            raise IncompleteArtifact(f"table {asset} has no partition yet; materialize {asset}")
        return pa.concat_tables(self._with_crawl(asset, name, columns) for name in names)

    def _with_crawl(self, asset: str, partition: str, columns: Sequence[str] | None) -> pa.Table:
        table = self.read(asset, partition=partition, columns=columns)
        return table.append_column("crawl", pa.array([partition] * table.num_rows, pa.string()))

    def batches(
        self, asset: str, *, partition: str | None, columns: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        with self._open(asset, partition) as file:
            yield from file.iter_batches(
                batch_size=ROWS_PER_GROUP, columns=list(columns) if columns is not None else None
            )

    def assets(self) -> list[str]:
        """Keys of all assets that have a table here, by name."""
        depth = len(self.base.rstrip("/").split("/"))
        keys = set()
        for file in self.fs.glob(f"{self.base}/**/part-0.parquet"):
            parts = file.split("/")[depth:-1]
            keys.add("/".join(part for part in parts if not part.startswith("crawl=")))
        return sorted(keys)

    def view_sql(self, asset: str) -> str:
        """The DuckDB expression that reads all of an asset's tables, with `crawl` where it is partitioned.

        What is quarantined is left out; "" if nothing else is there.
        """
        is_partitioned = not self.fs.exists(self._file(asset, None))
        names = [name for name in self.all_partitions(asset) if not self.fs.exists(self._mark(asset, name))]
        files = [self._file(asset, name) for name in names]
        if not self._is_local:
            files = [self.fs.unstrip_protocol(file) for file in files]
        listed = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
        hive = ", hive_partitioning = true, hive_types = {'crawl': VARCHAR}" if is_partitioned else ""
        return f"read_parquet([{listed}]{hive})" if files else ""

    def query(self, sql: str) -> pa.Table:
        with duckdb.connect(":memory:") as connection:
            if not self._is_local:
                connection.register_filesystem(self.fs)
            for asset in self.assets():
                if source := self.view_sql(asset):
                    connection.execute(f'CREATE VIEW "{asset.replace("/", "_")}" AS FROM {source}')
            return connection.sql(sql).to_arrow_table()
