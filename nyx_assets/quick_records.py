"""Dagster's records in SQLite, without what makes their writing slow: waits for the disk, and a new connection at every step.

Dagster writes each event in four or five transactions, each over an engine and a connection of its own. SQLite waits for the
disk at the end of each, and puts its journal away whenever the last connection to a file is closed; SQLAlchemy compiles each
statement anew for each engine. Here nothing waits for the disk, a storage keeps its connections, and many events in a row
share their transactions (`together`).

In its WAL mode, in which Dagster keeps all of its databases, a database is never damaged by that
(https://www.sqlite.org/pragma.html#pragma_synchronous): a killed process loses at most what it was about to write together,
a second's events, and a power cut the last ones; the next run makes known again what the tables hold.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from dagster import DagsterInstance, EventLogEntry
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import serialize_value
from dagster_shared.record import replace
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool

MAX_OPEN = 4
"""Choice: the index of all runs, and the files of the runs that a process writes at a time; each run has its file."""

EVENTS_A_BATCH = 200
"""Choice: of what Dagster gives in batches by itself. In Postgres, such a batch is one statement."""
MAX_SECONDS_TOGETHER = 1.0
"""Choice: for so long at most other processes wait that want to write; Dagster has them wait for 30 s before they fail."""

PAUSE_SECONDS = 0.1
"""Between two transactions. SQLite has a process that waits look again every tenth of a second: without a pause it would
find the next one begun."""

_engines: "WeakKeyDictionary[SqliteEventLogStorage, dict[str, Engine]]" = WeakKeyDictionary()
_transactions: "WeakKeyDictionary[SqliteEventLogStorage, Transactions]" = WeakKeyDictionary()
"""Of the storages whose events are written together now."""
_tables: "WeakKeyDictionary[SqliteEventLogStorage, set[str]]" = WeakKeyDictionary()


def write_records_quickly() -> None:
    """Have this process write Dagster's records so, wherever they are in SQLite. May be called again."""
    if not event.contains(Engine, "connect", _leave_out_the_wait):
        event.listen(Engine, "connect", _leave_out_the_wait)
        os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", str(EVENTS_A_BATCH))
        os.register_at_fork(after_in_child=_forget_connections)
    for name, ours in _REPLACED.items():
        setattr(SqliteEventLogStorage, name, ours)


def _leave_out_the_wait(connection: Any, record: Any) -> None:
    if not isinstance(connection, sqlite3.Connection):
        return  # Postgres, say
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    if mode == "wal":
        connection.execute("PRAGMA synchronous=NORMAL")


@contextmanager
def together(instance: DagsterInstance) -> Iterator[None]:
    """Have the events that are stored within share transactions, each of a second at most.

    Only around events that come one after the other without work between them, and never around a `yield`: while a
    transaction is open, no other process writes. Does nothing where the records are not in SQLite.
    """
    storage = instance.event_log_storage
    if isinstance(storage, SqliteEventLogStorage):
        with _together(storage, is_all_or_nothing=False):
            yield
    else:
        yield


@contextmanager
def _together(storage: SqliteEventLogStorage, *, is_all_or_nothing: bool) -> Iterator[None]:
    """
    Args:
        is_all_or_nothing: whether an error takes back what was written since the last commit.
    """
    mine = Transactions()
    with storage._db_lock:
        is_owner = _transactions.setdefault(storage, mine) is mine
    if not is_owner:  # within another, or another thread has one: what is written goes into those, and ends with them
        yield
        return
    keeps = not is_all_or_nothing
    try:
        yield
        keeps = True
    finally:
        with storage._db_lock:
            del _transactions[storage]
            mine.end(storage, keeps=keeps)


class Transactions:
    """The open transactions of a storage, a file each, and what is to be written before they end."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[ExitStack, Connection]] = {}
        self._last: dict[tuple[str, str], Callable[[], None]] = {}
        self._since = 0.0

    @property
    def is_late(self) -> bool:
        return bool(self._open) and time.monotonic() - self._since > MAX_SECONDS_TOGETHER

    def connection(self, shard: str, engine: Engine) -> Connection:
        if not self._open:
            self._since = time.monotonic()
        if shard not in self._open:
            stack = ExitStack()
            connection = stack.enter_context(engine.connect())
            connection.begin()
            self._open[shard] = stack, connection
        return self._open[shard][1]

    def at_the_end(self, what: tuple[str, str], write: Callable[[], None]) -> None:
        """Write, before the transactions end, what each event of an asset writes over what the one before has written."""
        self._last.pop(what, None)  # so that it stands after what came since
        self._last[what] = write

    def end(self, storage: SqliteEventLogStorage, *, keeps: bool = True) -> None:
        """Commit them all, the index of all runs first, or roll them back; whatever happens, none stays open."""
        opened, last = self._open, self._last
        self._open, self._last = {}, {}
        with ExitStack() as all_closed:
            for stack, _ in opened.values():
                all_closed.push(stack)
            if not keeps:
                return
            for write in last.values():
                write()
            for shard in sorted(opened, key=lambda shard: shard != INDEX_SHARD_NAME):
                opened[shard][1].commit()
                _show(storage, shard)


@contextmanager
def _connect(self: SqliteEventLogStorage, shard: str) -> Iterator[Connection]:
    """A connection to one file of a storage, in a transaction. It is the storage's own: one thread at a time has it."""
    was_late = False
    with self._db_lock:
        engine = _engine(self, shard)
        transactions = _transactions.get(self)
        if transactions is None:
            with engine.connect() as connection, connection.begin():
                yield connection
            _show(self, shard)
            return
        yield transactions.connection(shard, engine)
        if was_late := transactions.is_late:
            transactions.end(self)
    if was_late:
        time.sleep(PAUSE_SECONDS)


def _show(storage: SqliteEventLogStorage, shard: str) -> None:
    """Have the UI look at the events of a run: it watches the file itself, and in WAL mode they are written beside it."""
    if shard != INDEX_SHARD_NAME:
        with suppress(OSError):
            os.utime(storage.path_for_shard(shard))


def _engine(storage: SqliteEventLogStorage, shard: str) -> Engine:
    engines = _engines.setdefault(storage, {})
    if (engine := engines.pop(shard, None)) is None:
        engine = create_engine(
            storage.conn_string_for_shard(shard),
            poolclass=QueuePool,
            pool_size=1,
            max_overflow=2,  # while its tables are made
            connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
        )
        while len(engines) >= MAX_OPEN:
            engines.pop(next(iter(engines))).dispose()
    engines[shard] = engine  # the one used last is the last
    if shard not in storage._initialized_dbs:
        storage._initdb(engine)
        engine.dispose()  # it was opened before the file was in WAL mode
        storage._initialized_dbs.add(shard)
    return engine


def _store_asset_event(
    self: SqliteEventLogStorage, connection: Connection, entry: EventLogEntry, event_id: int
) -> None:
    """The latest of an asset, in the table of all assets."""
    write = partial(_store_asset_event_now, self, connection, entry, event_id)
    transactions, of = _transactions.get(self), entry.dagster_event
    if transactions is None or of is None:
        write()
    else:
        transactions.at_the_end((str(of.asset_key), of.event_type_value), write)


_store_asset_event_now = SqliteEventLogStorage._store_asset_event


def _store_planned_check(self: SqliteEventLogStorage, entry: EventLogEntry, event_id: int | None) -> None:
    """A row for each partition that a run is to check, without the list of all of them that Dagster keeps in every row.

    With it, a run of 1,000 partitions and four checks writes 4,000 rows of 1,000 names; of 10,000, gigabytes.
    """
    said = entry.get_dagster_event()
    planned = said.event_specific_data
    if not isinstance(planned, AssetCheckEvaluationPlanned) or not planned.partitions_subset:
        _store_planned_check_of_all(self, entry, event_id)
        return
    short = said._replace(event_specific_data=replace(planned, partitions_subset=None))
    row = {
        "asset_key": planned.asset_key.to_string(),
        "check_name": planned.check_name,
        "run_id": entry.run_id,
        "execution_status": AssetCheckExecutionRecordStatus.PLANNED.value,
        "evaluation_event": serialize_value(entry._replace(dagster_event=short)),
        "evaluation_event_timestamp": self._event_insert_timestamp(entry),
        "evaluation_event_storage_id": event_id,
    }
    with self.index_connection() as connection:
        rows = [row | {"partition": key} for key in planned.partitions_subset.get_partition_keys()]
        connection.execute(AssetCheckExecutionsTable.insert(), rows)


_store_planned_check_of_all = SqliteEventLogStorage._store_asset_check_evaluation_planned


def _store_event_batch(self: SqliteEventLogStorage, events: Sequence[EventLogEntry]) -> None:
    """What Dagster has to say of all partitions of a run before it starts. After an error it says each again, singly."""
    with _together(self, is_all_or_nothing=True):
        for one in events:
            self.store_event(one)


def _has_table(self: SqliteEventLogStorage, table_name: str) -> bool:
    """Asked some ten times an event, over a new engine each time, and while a connection is in use; a table stays."""
    known = _tables.setdefault(self, set())
    if table_name not in known and _look_for_table(self, table_name):
        known.add(table_name)
    return table_name in known


_look_for_table = SqliteEventLogStorage.has_table
_dispose_without_connections = SqliteEventLogStorage.dispose


def _dispose(self: SqliteEventLogStorage) -> None:
    for engine in _engines.pop(self, {}).values():
        engine.dispose()
    _dispose_without_connections(self)


def _forget_connections() -> None:
    """In a forked child, which must not use its parent's connections and cannot close them either."""
    _of_the_parent.extend(_transactions.values())
    _transactions.clear()
    for engines in _engines.values():
        for engine in engines.values():
            engine.dispose(close=False)


_of_the_parent: list[Transactions] = []
"""In a forked child: what must not be closed there."""

_REPLACED: dict[str, Callable[..., Any]] = {
    "_connect": _connect,
    "dispose": _dispose,
    "has_table": _has_table,
    "store_event_batch": _store_event_batch,
    "_store_asset_event": _store_asset_event,
    "_store_asset_check_evaluation_planned": _store_planned_check,
}
"""Methods of Dagster's storage, by name. Its version is pinned, and a test sees to it that these are still its names."""
