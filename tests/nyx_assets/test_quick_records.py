"""Dagster's databases stay in WAL mode, and a process of ours writes them without the waits, whole and for all to read."""

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import Engine

from nyx_assets import quick_records
from nyx_assets.materialization import DATA_VERSION_TAG, Made, Step, each_partition
from nyx_assets.partitions import ONE_RUN
from nyx_assets.quick_records import MAX_OPEN, together, write_records_quickly
from nyx_assets.registering import open_instance
from resources.home import Home

NORMAL, FULL = 1, 2
MADE = dg.AssetKey("made")


@pytest.fixture
def records(home: Home) -> Iterator[dg.DagsterInstance]:
    with open_instance(home) as instance:
        yield instance


def tell(instance: dg.DagsterInstance, *partitions: str, asset: dg.AssetKey = MADE) -> None:
    for partition in partitions:
        instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=partition))


def read(home: Home, sql: str) -> list[Any]:
    """What another process sees."""
    with sqlite3.connect(home.root / "dagster" / "history" / "runs" / "index.db") as plain:
        return plain.execute(sql).fetchall()


@contextmanager
def counting_connections() -> Iterator[list[Any]]:
    opened: list[Any] = []

    def count(connection: Any, record: Any) -> None:
        opened.append(connection)

    event.listen(Engine, "connect", count)
    yield opened
    event.remove(Engine, "connect", count)


def test_a_home_s_records_are_in_wal_mode_and_written_without_a_wait_at_each_event(
    home: Home, records: dg.DagsterInstance
) -> None:
    tell(records, "a")
    databases = sorted((home.root / "dagster").rglob("*.db"))
    assert len(databases) >= 3
    for database in databases:
        with sqlite3.connect(database) as plain:
            assert plain.execute("PRAGMA journal_mode").fetchone() == ("wal",), database
        with create_engine(f"sqlite:///{database}").connect() as ours:
            assert ours.execute(text("PRAGMA synchronous")).scalar() == NORMAL, database
    with open_instance(home) as again:
        assert again.get_latest_materialization_event(MADE) is not None


def test_a_database_without_wal_keeps_its_waits(tmp_path: Path) -> None:
    write_records_quickly()
    with create_engine(f"sqlite:///{tmp_path / 'other.db'}").connect() as other:
        assert other.execute(text("PRAGMA synchronous")).scalar() == FULL


def test_what_is_replaced_is_what_this_version_of_dagster_calls(records: dg.DagsterInstance) -> None:
    """Each name that is set on the storage is one that it has, or inherits, by itself."""
    ours = sorted(quick_records._REPLACED)
    assert all(getattr(SqliteEventLogStorage, name) is one for name, one in quick_records._REPLACED.items())
    untouched = subprocess.run(
        [sys.executable, "-c", "from dagster._core.storage.event_log.sqlite.sqlite_event_log import "
         f"SqliteEventLogStorage as S; print(all(callable(getattr(S, name, None)) for name in {ours!r}))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert untouched.stdout == "True\n"


def test_a_storage_keeps_its_connections_and_closes_them_when_it_is_disposed_of(
    home: Home, records: dg.DagsterInstance
) -> None:
    tell(records, "first")
    with counting_connections() as opened:
        tell(records, *map(str, range(50)))
    assert opened == []
    held = {
        os.readlink(f"/proc/self/fd/{fd}")
        for fd in os.listdir("/proc/self/fd")
        if os.path.exists(f"/proc/self/fd/{fd}")
    }
    assert any(str(home.root) in file and file.endswith("index.db") for file in held)
    records.dispose()
    held = {
        os.readlink(f"/proc/self/fd/{fd}")
        for fd in os.listdir("/proc/self/fd")
        if os.path.exists(f"/proc/self/fd/{fd}")
    }
    assert not [file for file in held if str(home.root) in file and file.endswith("index.db")]


def test_of_many_runs_read_only_a_few_files_stay_open(home: Home, records: dg.DagsterInstance) -> None:
    storage = records.event_log_storage
    assert isinstance(storage, SqliteEventLogStorage)
    for number in range(3 * MAX_OPEN):
        with storage.run_connection(f"run{number}") as connection:
            connection.execute(text("SELECT count(*) FROM event_logs"))
    assert len(quick_records._engines[storage]) == MAX_OPEN
    tell(records, "a")
    assert records.get_materialized_partitions(MADE) == {"a"}


def test_events_written_together_are_all_there_in_order_and_the_latest_of_an_asset_counts(
    home: Home, records: dg.DagsterInstance
) -> None:
    with together(records), together(records):
        tell(records, *"abc")
        tell(records, "x", asset=dg.AssetKey("other"))
        tell(records, "d")
        assert records.get_materialized_partitions(MADE) == set("abcd"), "the process itself sees them at once"
    assert read(home, "SELECT partition FROM event_logs WHERE partition IS NOT NULL ORDER BY id") == [
        (one,) for one in "abcxd"
    ]
    latest = records.get_latest_materialization_event(MADE)
    assert latest is not None
    assert latest.asset_materialization.partition == "d"
    assert {key.path[-1] for key in records.all_asset_keys()} == {"made", "other"}
    tell(records, "e")
    assert read(home, "SELECT count(*) FROM event_logs WHERE partition = 'e'") == [(1,)], "it ended with the block"


def test_an_error_among_events_written_together_loses_none_that_came_before(
    home: Home, records: dg.DagsterInstance
) -> None:
    def fail() -> None:
        with together(records):
            tell(records, "a", "b")
            raise RuntimeError("in between")

    with pytest.raises(RuntimeError, match="in between"):
        fail()
    assert read(home, "SELECT count(*) FROM event_logs WHERE partition IS NOT NULL") == [(2,)]
    assert read(home, "SELECT asset_key FROM asset_keys") == [('["made"]',)]


def test_others_can_write_while_events_are_written_together_for_long(
    home: Home, records: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quick_records, "MAX_SECONDS_TOGETHER", 0.0)
    with together(records):
        tell(records, "a")
        with sqlite3.connect(home.root / "dagster" / "history" / "runs" / "index.db", timeout=0.1) as other:
            other.execute("INSERT INTO secondary_indexes (name) VALUES ('another writes')")
        tell(records, "b")
    assert records.get_materialized_partitions(MADE) == {"a", "b"}


def test_threads_of_a_process_write_through_one_storage(records: dg.DagsterInstance) -> None:
    def write(thread: int) -> None:
        with together(records):
            tell(records, *(f"{thread}-{number}" for number in range(20)))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(records.get_materialized_partitions(MADE)) == 80


def test_a_forked_child_writes_over_connections_of_its_own(home: Home, records: dg.DagsterInstance) -> None:
    tell(records, "before")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            tell(records, "in the child")
            status = 0
        finally:
            os._exit(status)
    tell(records, "in the parent")
    assert os.waitpid(child, 0)[1] == 0
    assert records.get_materialized_partitions(MADE) == {"before", "in the child", "in the parent"}
    assert read(home, "PRAGMA integrity_check") == [("ok",)]


PARTITIONS = dg.StaticPartitionsDefinition([f"p{number:03}" for number in range(120)])


@dg.asset(partitions_def=PARTITIONS, backfill_policy=dg.BackfillPolicy.single_run())
def rows() -> None:
    """Nothing."""


with pytest.warns(dg.PreviewWarning):

    @dg.asset_check(asset=rows, partitions_def=PARTITIONS)
    def rows_are_good(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        run = context.op_execution_context
        for partition in run.partition_keys[:-1]:
            run.log_event(
                dg.AssetCheckEvaluation(rows.key, "rows_are_good", passed=True, partition=partition)  # type: ignore[arg-type]
            )
        return dg.AssetCheckResult(passed=True)


def test_a_run_of_many_partitions_says_of_each_what_is_planned_and_what_came_of_it(
    home: Home, records: dg.DagsterInstance
) -> None:
    keys = PARTITIONS.get_partition_keys()
    tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
    result = dg.materialize([rows, rows_are_good], instance=records, tags=tags)
    assert result.success
    assert records.get_materialized_partitions(rows.key) == set(keys)
    planned = read(home, "SELECT count(*) FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION_PLANNED'")
    assert planned == [(120,)]
    checked = read(
        home, "SELECT execution_status, count(DISTINCT partition), count(*), max(length(evaluation_event)) "
        "FROM asset_check_executions WHERE partition IS NOT NULL GROUP BY 1 ORDER BY 1",
    )  # fmt: skip
    assert [row[:3] for row in checked] == [("PLANNED", 1, 1), ("SUCCEEDED", 119, 119)]
    assert max(row[3] for row in checked) < 2500, "no row lists all partitions"
    (of_last,) = records.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(rows.key, "rows_are_good"), limit=1
    )
    assert of_last.event is not None
    assert of_last.run_id == result.run_id


def test_the_files_of_runs_are_written_without_a_wait_as_the_index_is(records: dg.DagsterInstance) -> None:
    storage = records.event_log_storage
    assert isinstance(storage, SqliteEventLogStorage)
    with storage.run_connection("made just now") as connection:
        assert connection.execute(text("PRAGMA synchronous")).scalar() == NORMAL
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"


def test_the_ui_sees_the_events_of_a_run_while_it_goes_on(home: Home, records: dg.DagsterInstance) -> None:
    """The web server watches the file of a run, in a process of its own that does not write quickly."""
    watcher = """if True:
        import sys, time
        from dagster import DagsterInstance
        seen = []
        with DagsterInstance.from_config(sys.argv[1]) as instance:
            instance.watch_event_logs("a run", None, lambda event, cursor: seen.append(event))
            print("watching", flush=True)
            until = time.monotonic() + 20
            while len(seen) < 5 and time.monotonic() < until:
                time.sleep(0.05)
            print(len(seen), flush=True)
    """
    storage = records.event_log_storage

    def write(number: int) -> None:
        storage.store_event(
            dg.EventLogEntry(
                error_info=None, level=20, user_message=f"line {number}", run_id="a run", timestamp=float(number)
            )
        )

    write(0)
    with subprocess.Popen(
        [sys.executable, "-c", watcher, str(home.root / "dagster")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "watching\n"
        for number in range(1, 5):
            write(number)
        assert process.stdout.readline() == "5\n", "it is told while the connection of the writer stays open"


def test_an_interrupt_among_events_written_together_leaves_nothing_locked(
    home: Home, records: dg.DagsterInstance
) -> None:
    def stop() -> None:
        with together(records):
            tell(records, "a")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    with sqlite3.connect(home.root / "dagster" / "history" / "runs" / "index.db", timeout=0.1) as other:
        other.execute("INSERT INTO secondary_indexes (name) VALUES ('another writes')")
    assert read(home, "SELECT count(*) FROM event_logs WHERE partition = 'a'") == [(1,)]


def test_a_write_that_fails_at_the_end_leaves_nothing_locked_either(
    home: Home, records: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*of: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(quick_records, "_store_asset_event_now", fail)
        with pytest.raises(OSError, match="disk full"), together(records):
            tell(records, "a")
    with sqlite3.connect(home.root / "dagster" / "history" / "runs" / "index.db", timeout=0.1) as other:
        other.execute("INSERT INTO secondary_indexes (name) VALUES ('another writes')")
    tell(records, "b")
    assert records.get_materialized_partitions(MADE) == {"b"}


def test_a_batch_that_fails_is_written_once_by_what_dagster_does_then(
    home: Home, records: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = SqliteEventLogStorage.store_event, []

    def fail_once(self: SqliteEventLogStorage, entry: dg.EventLogEntry) -> None:
        calls.append(entry)
        if len(calls) == 3:
            raise OSError("for a moment")
        whole(self, entry)

    monkeypatch.setattr(SqliteEventLogStorage, "store_event", fail_once)
    tags = {"dagster/asset_partition_range_start": "p000", "dagster/asset_partition_range_end": "p009"}
    assert dg.materialize([rows], instance=records, tags=tags).success
    planned = "SELECT count(*), count(DISTINCT partition) FROM event_logs WHERE dagster_event_type = "
    assert read(home, f"{planned}'ASSET_MATERIALIZATION_PLANNED'") == [(10, 10)]


def test_a_run_of_many_of_ours_reports_each_partition_once_with_its_own_content(
    home: Home, records: dg.DagsterInstance
) -> None:
    schema = pa.schema([("key", pa.string())])

    @dg.asset(code_version="1", partitions_def=PARTITIONS, backfill_policy=ONE_RUN)
    def keyed(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> Iterator[Made]:
        def make(step: Step) -> None:
            with step.tables({"keyed": schema}) as tables:
                tables["keyed"].append([{"key": step.partition}])

        yield from each_partition(context, home, make, "keyed")

    tags = {"dagster/asset_partition_range_start": "p000", "dagster/asset_partition_range_end": "p029"}
    result = dg.materialize([keyed], instance=records, resources={"home": home}, tags=tags)
    made = [event.partition for event in result.get_asset_materialization_events()]
    assert made == [f"p{number:03}" for number in range(30)]
    (stored,) = read(
        home, "SELECT count(*), count(DISTINCT partition) FROM event_logs WHERE dagster_event_type = "
        "'ASSET_MATERIALIZATION' AND partition IS NOT NULL",
    )  # fmt: skip
    assert stored == (30, 30)
    for key in ("p000", "p017", "p029"):
        record = records.get_latest_data_version_record(dg.AssetKey("keyed"), partition_key=key)
        commit = home.commit("keyed", key)
        assert record is not None
        assert commit is not None
        assert record.asset_materialization is not None
        assert (record.asset_materialization.tags or {})[DATA_VERSION_TAG] == commit.data_version
