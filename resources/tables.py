"""Tables of the pipeline: Parquet files, one per asset and crawl partition, complete or absent.

    <root>/<asset key>/crawl=<partition>/part-0.parquet     a partitioned asset
    <root>/<asset key>/part-0.parquet                       an unpartitioned one
    <root>/<asset key>/crawl=<partition>/_quarantine.json   why the table must not be read, until it is written again

A file is written beside its place under a hidden name and renamed, so readers see the old table or the new one. For a
root that is no folder it is written on this machine and uploaded when it is whole. Its footer says what it was made
from, so a table and its provenance cannot come apart.
"""

import atexit
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from resources.commits import Commit, Provenance, utc_now
from resources.drafts import DRAFT_NAMES, draft_in, sweep
from resources.listings import Listings
from resources.stores import open_store, put_bytes, put_file, readable_by
from resources.table_writer import FOOTER_KEY, ROWS_PER_GROUP, TableWriter
from training_kernels.errors import DataError, IncompleteArtifact

__all__ = ["ROWS_PER_GROUP", "Commit", "ParquetTables", "Provenance", "TableWriter", "Tables", "sql_text", "utc_now"]


PARQUET_END = b"PAR1"
"""The last bytes of a whole Parquet file."""
COMMITS_KEPT = 65_536
"""Choice: six tables of 10,000 partitions; a kilobyte each."""


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
        """One partition as a stream of record batches of at most ROWS_PER_GROUP rows and about BYTES_PER_GROUP."""
        ...

    def query(self, sql: str, *, of: Mapping[str, str | None] | None = None) -> pa.Table:
        """The answer of DuckDB, where each table is a view of its name with `/` written `_`.

        Args:
            of: the tables asked, each with the partition that is meant, or None for all of it; None for every table
                there is, as far as it is not quarantined.

        Raises IncompleteArtifact if one of `of` is missing or quarantined.
        """
        ...

    def quarantine(self, asset: str, partition: str | None, reason: str) -> None:
        """Keep a table from being read until it is written again."""
        ...


class ParquetTables:
    """Tables in a folder, or under any fsspec URL."""

    def __init__(self, root: str, *, drafts: str = "") -> None:
        """
        Args:
            drafts: folder of this machine for files that are being written, for a root that is no folder; default: one
                for temporary files.
        """
        self.root = str(root).rstrip("/")
        self.fs, self.base = open_store(self.root)
        self._is_local = "file" in self.fs.protocol
        self._drafts = drafts or f"{tempfile.gettempdir()}/nyx_drafts"
        self._listings = Listings(self.fs)

    def look_again(self) -> None:
        """See what other hosts wrote until now; where files are far, what is there is remembered for moments."""
        self._listings.look_again()

    def _is_there(self, asset: str, path: str) -> bool:
        return self.fs.exists(path) if self._is_local else path in self._listings.below(f"{self.base}/{asset}")

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
        if self._is_there(asset, mark):
            self.fs.rm(mark)
            self.look_again()

    @contextmanager
    def _replaced(
        self, asset: str, schema: pa.Schema, partition: str | None, provenance: Provenance
    ) -> Iterator[TableWriter]:
        """The file beside its place, renamed into it; a mark of quarantine stays."""
        file = self._file(asset, partition)
        folder = Path(self._folder(asset, partition) if self._is_local else self._drafts)
        folder.mkdir(parents=True, exist_ok=True)
        sweep([str(path) for path in folder.glob(DRAFT_NAMES)])
        place = asset if partition is None else f"{asset}, partition {partition}"
        with draft_in(str(folder)) as beside:
            try:
                with open(beside, "wb") as stream:
                    writer = TableWriter(stream, schema, place=place)
                    try:
                        yield writer
                        writer.finish(provenance)
                    except BaseException:
                        writer.abandon()
                        raise
                if self._is_local:
                    os.rename(beside, file)
                else:
                    put_file(self.fs, Path(beside), file)
                    self.look_again()
            finally:
                Path(beside).unlink(missing_ok=True)

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

    def drafts(self) -> list[Path]:
        """Every file of a table that is not in its place yet, of living writers and of killed ones."""
        return sorted(Path(self.base if self._is_local else self._drafts).rglob(DRAFT_NAMES))

    def sweep(self) -> list[str]:
        """Remove what killed writers left beside the tables (a writer sweeps its own folder); returns the files."""
        return sweep([str(path) for path in self.drafts()])

    def set_aside_torn(self) -> list[str]:
        """Rename tables whose end is missing, as a power cut leaves them, so that they are made again; returns the files.

        An object store keeps an object whole or not at all, so nothing is looked at there.
        """
        torn = []
        for file in self.fs.glob(f"{self.base}/**/part-0.parquet") if self._is_local else ():
            with open(file, "rb") as stream:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - len(PARQUET_END)))
                is_whole = stream.read() == PARQUET_END
            if not is_whole:
                os.replace(file, f"{file}.torn")
                torn.append(file)
        return torn

    def set_aside(self, asset: str, partition: str | None) -> str:
        """Rename one table that cannot be read, so that it is made again; returns the file."""
        file = self._file(asset, partition)
        self.fs.mv(file, f"{file}.torn")
        self.look_again()
        return file

    def commit(self, asset: str, partition: str | None) -> Commit | None:
        file = self._file(asset, partition)
        if not self._is_local:
            return self._listings.content(f"{self.base}/{asset}", file, partial(self._commit_of, asset))
        try:
            state = os.stat(file)
            return _known_commit(asset, file, (state.st_ino, state.st_size, state.st_mtime_ns))
        except FileNotFoundError:
            return None

    def _commit_of(self, asset: str, file: str) -> Commit:
        with self.fs.open(file, "rb") as stream:
            return _commit_in(asset, file, stream)

    def partitions(self, asset: str) -> list[str]:
        names = [name for name in self.all_partitions(asset) if name is not None]
        return [name for name in names if not self._is_there(asset, self._mark(asset, name))]

    def all_partitions(self, asset: str) -> list[str | None]:
        """Every committed partition, quarantined ones as well; [None] for an unpartitioned asset."""
        if self._is_there(asset, self._file(asset, None)):
            return [None]
        if self._is_local:
            found = _partitions_in(f"{self.base}/{asset}")
        else:
            is_ours = re.compile(re.escape(f"{self.base}/{asset}/crawl=") + "[^/]+/part-0[.]parquet").fullmatch
            files = filter(is_ours, self._listings.below(f"{self.base}/{asset}"))
            found = (file.rsplit("/", 2)[-2].removeprefix("crawl=") for file in files)
        return [*sorted(found)]

    def quarantine(self, asset: str, partition: str | None, reason: str) -> None:
        content = json.dumps({"reason": reason, "since": utc_now()}).encode()
        put_bytes(self.fs, self._mark(asset, partition), content)  # half a mark would stop every reader
        self.look_again()

    def release(self, asset: str, partition: str | None) -> None:
        """Let a table be read again that is quarantined; nothing happens to one that is not."""
        mark = self._mark(asset, partition)
        if self.fs.exists(mark):
            self.fs.rm(mark)
            self.look_again()

    def quarantined(self, asset: str) -> dict[str, str]:
        """Why, by crawl partition, of those that are quarantined; found by one listing."""
        marks = self.fs.glob(f"{self.base}/{asset}/crawl=*/_quarantine.json")
        names = [mark.rsplit("/", 2)[-2].removeprefix("crawl=") for mark in marks]
        return {name: reason for name in names if (reason := self.quarantine_reason(asset, name)) is not None}

    def quarantine_reason(self, asset: str, partition: str | None) -> str | None:
        """Why a table must not be read, or None."""
        mark = self._mark(asset, partition)
        if not self._is_there(asset, mark):
            return None
        return json.loads(self.fs.cat_file(mark))["reason"]

    def _open(self, asset: str, partition: str | None) -> pq.ParquetFile:
        where = asset if partition is None else f"{asset}, partition {partition!r},"
        file = self._file(asset, partition)
        if not self._is_there(asset, file):
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
        if partition is not None or self._is_there(asset, self._file(asset, None)):
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
            names = list(columns) if columns is not None else None
            for group in range(file.num_row_groups):  # one at a time: a batch over several would hold them all
                yield from file.iter_batches(batch_size=ROWS_PER_GROUP, row_groups=[group], columns=names)

    def assets(self) -> list[str]:
        """Keys of all assets that have a table here, by name."""
        depth = len(self.base.rstrip("/").split("/"))
        keys = set()
        for file in self.fs.glob(f"{self.base}/**/part-0.parquet"):
            parts = file.split("/")[depth:-1]
            keys.add("/".join(part for part in parts if not part.startswith("crawl=")))
        return sorted(keys)

    def view_sql(self, asset: str, *, root_sql: str = "") -> str:
        """The DuckDB expression that reads all of an asset's tables, with `crawl` where it is partitioned.

        What is quarantined is left out; "" if nothing else is there.

        Args:
            root_sql: an expression whose value stands for the root of the tables, so that it can be another one later.
        """
        is_partitioned = not self._is_there(asset, self._file(asset, None))
        names = [name for name in self.all_partitions(asset) if not self._is_there(asset, self._mark(asset, name))]
        files = [self._file(asset, name) for name in names]
        return self._scan_sql(files, is_partitioned=is_partitioned, root_sql=root_sql) if files else ""

    def _scan_sql(self, files: Sequence[str], *, is_partitioned: bool, root_sql: str = "") -> str:
        if root_sql:
            names = [f"{root_sql} || {sql_text(file.removeprefix(self.base))}" for file in files]
        else:
            names = [sql_text(file if self._is_local else self.fs.unstrip_protocol(file)) for file in files]
        hive = ", hive_partitioning = true, hive_types = {'crawl': VARCHAR}" if is_partitioned else ""
        return f"read_parquet([{', '.join(names)}]{hive})"

    def query(self, sql: str, *, of: Mapping[str, str | None] | None = None) -> pa.Table:
        if of is None:
            sources = {asset: self.view_sql(asset) for asset in self.assets()}
        else:
            sources = {asset: self._readable_sql(asset, partition) for asset, partition in of.items()}
        with self._connection() as connection, readable_by(connection, self.fs):
            for asset, source in sources.items():
                if source:
                    connection.execute(f'CREATE TEMP VIEW "{asset.replace("/", "_")}" AS FROM {source}')
            return connection.sql(sql).to_arrow_table()

    def _connection(self) -> Any:
        """One of its own, for any thread; what is TEMP goes with it."""
        if self._is_local:
            return _database(os.getpid()).cursor()
        return duckdb.connect(":memory:")  # which file systems are registered belongs to the database

    def _readable_sql(self, asset: str, partition: str | None) -> str:
        """The DuckDB expression that reads what `read` would. Raises IncompleteArtifact as `read` does."""
        if partition is None and not self._is_there(asset, self._file(asset, None)):
            if not self.partitions(asset):
                raise IncompleteArtifact(f"table {asset} has no partition yet; materialize {asset}")
            return self.view_sql(asset)
        self._open(asset, partition).close()
        return self._scan_sql([self._file(asset, partition)], is_partitioned=partition is not None)


@cache
def _database(process: int) -> Any:  # its type, named here, would be held until the end and reported as a leak
    """An empty database in memory, which opens its connections forty times faster than each would open one of its own.

    It keeps nothing of the files that are read: a partition is written again under the same name. A forked process has
    another, since none of the threads of this one is there.
    """
    return duckdb.connect(":memory:", config={"enable_external_file_cache": "false"})


atexit.register(_database.cache_clear)  # what is open when the process ends is reported as a leak


@lru_cache(COMMITS_KEPT)
def _known_commit(asset: str, file: str, stamp: tuple[int, ...]) -> Commit:
    """What the footer of a file of this machine says.

    Args:
        stamp: what the file system says of the file; a table that is written again is another file.
    """
    with Path(file).open("rb") as stream:
        return _commit_in(asset, file, stream)


def _commit_in(asset: str, file: str, stream: Any) -> Commit:
    footer = pq.read_metadata(stream).metadata or {}
    if FOOTER_KEY not in footer:
        raise DataError(
            f"{file} has no provenance in its footer: not written by this project; delete it and materialize {asset}"
        )
    return Commit.from_json(json.loads(footer[FOOTER_KEY]))


def _partitions_in(folder: str) -> Iterator[str]:
    """Names of the partitions of a table in a folder of this machine that are whole."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        if name.startswith("crawl=") and os.path.exists(f"{folder}/{name}/part-0.parquet"):
            yield name.removeprefix("crawl=")


def sql_text(text: str) -> str:
    """A text as SQL spells it."""
    return "'" + text.replace("'", "''") + "'"
