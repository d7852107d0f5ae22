"""What runs that were killed left in Dagster's records, and in tables that nobody checked; a partition that failed for good.

A run of the main job is dead when the next main job begins, since a home has one at a time. Any other, started in the UI,
by a backfill or by a sensor, is dead when the process that its log names is gone.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import dagster as dg
from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunRecord, RunsFilter
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    MAX_RETRIES_TAG,
)

from nyx_assets.materialization import DATA_VERSION_TAG, key_of, name_of
from nyx_assets.partitions import CRAWL
from nyx_assets.quarantine import LANDED
from nyx_assets.run_processes import may_live, processes_of
from resources.commits import Commit
from resources.home import Home

MAIN_JOB_TAGS = {"nyx/main_job": "yes"}
"""Runs of a main job. A home has one at a time, so one that is not finished when the next begins was killed."""
PARTITION_TAG = "dagster/partition"
UNFINISHED = [
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]
NO_RETRIES_TAGS = {MAX_RETRIES_TAG: "0"}
"""The daemon leaves a killed run of a main job alone: the next main job makes what it did not."""
MAIN_JOB_MESSAGE = "its process was killed; the next main job goes on from here"
DEAD_MESSAGE = (
    "its process is gone without a last word: killed, or out of memory; what it had finished is kept, start it again "
    "if the daemon does not"
)


def bury_killed_runs(
    instance: DagsterInstance, home: Home, graph: BaseAssetGraph, *, log: Callable[[str], None]
) -> None:
    """Mark killed runs as failed, free what they hold, and quarantine what they wrote but did not check.

    Call it while no main job is at work. A slot of a pool that a dead run holds would be waited for without end.
    """
    for record in instance.get_run_records(RunsFilter(tags=MAIN_JOB_TAGS, statuses=UNFINISHED)):
        _bury(record, MAIN_JOB_MESSAGE, instance, home, graph, log)
    bury_dead_runs(instance, home, graph, log=log)


def bury_dead_runs(
    instance: DagsterInstance, home: Home, graph: BaseAssetGraph, *, log: Callable[[str], None]
) -> list[str]:
    """The same for every run whose process is gone, at any time; returns their ids.

    Where dagster.yaml enables run retries (that of registering.py does), the daemon starts them again, from what had not
    been finished.
    """
    dead = list(dead_runs(instance))
    for record in dead:
        run = record.dagster_run
        log(f"run {run.run_id[:8]} is ended: its process is gone")
        _bury(record, DEAD_MESSAGE, instance, home, graph, log)
    return [record.dagster_run.run_id for record in dead]


def dead_runs(instance: DagsterInstance) -> Iterator[RunRecord]:
    """Unfinished runs whose processes are all gone; one of another host or container is never judged from here.

    Only where the records are SQLite files, which one machine has for itself: with a database that several hosts share, a
    process that is not here may live elsewhere, and the launcher of that deployment watches it.
    """
    if not isinstance(instance.run_storage, SqliteRunStorage):
        return
    for record in instance.get_run_records(RunsFilter(statuses=UNFINISHED)):
        processes = processes_of(instance, record.dagster_run.run_id)
        if processes and not any(may_live(process) for process in processes):
            yield record


def _bury(
    record: RunRecord,
    message: str,
    instance: DagsterInstance,
    home: Home,
    graph: BaseAssetGraph,
    log: Callable[[str], None],
) -> None:
    run = record.dagster_run
    for name, partition in _unchecked(run, record.create_timestamp, instance, home, graph):
        home.tables.quarantine(name, partition, "the run that made it was killed before its checks had ended")
        log(f"{name} {partition or ''}".strip() + " is made again: the run that made it was killed before its checks")
    if run.status == DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, message)
    else:
        instance.report_run_failed(run, message)
    instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def _unchecked(
    run: DagsterRun, begun: datetime, instance: DagsterInstance, home: Home, graph: BaseAssetGraph
) -> Iterator[tuple[str, str | None]]:
    """Tables, with their partition, that the run wrote, and that it should have checked and did not."""
    evaluations = [
        entry.dagster_event.asset_check_evaluation_data
        for entry in instance.all_logs(run.run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION)
        if entry.dagster_event
    ]
    partitions = partitions_of(run, instance)
    for key in sorted(run.asset_selection or ()):
        name = name_of(key)
        for partition in partitions if graph.has(key) and graph.get(key).is_partitioned else [None]:
            # of a run of one partition an evaluation need not say which
            checked = {one.asset_check_key for one in evaluations if one.partition in (partition, None)}
            if not graph.get_check_keys_for_assets({key}) - checked:
                continue
            commit = home.tables.commit(name, partition)
            if commit is not None and not _is_of_another_run(commit, run, begun, name, partition, instance):
                yield name, partition


def partitions_of(run: DagsterRun, instance: DagsterInstance) -> list[str | None]:
    """The crawl partitions of a run: one, a range of a backfill, or [None]."""
    first, last = run.tags.get(ASSET_PARTITION_RANGE_START_TAG), run.tags.get(ASSET_PARTITION_RANGE_END_TAG)
    if first is None or last is None:
        return [run.tags.get(PARTITION_TAG)]
    keys = list(instance.get_dynamic_partitions(str(CRAWL.name)))
    if first not in keys or last not in keys:
        return [first, last]
    return list(keys[keys.index(first) : keys.index(last) + 1])


def _is_of_another_run(
    commit: Commit, run: DagsterRun, begun: datetime, name: str, partition: str | None, instance: DagsterInstance
) -> bool:
    """Whether a table that lies there is what another run made, before this one began or after it.

    Its content has to be what the records know of that run: the clock alone may have been set back meanwhile. Where it
    cannot be told, the table counts as this run's: made again, it costs time; believed, it may be wrong.
    """
    known = instance.get_latest_data_version_record(key_of(name), partition_key=partition)
    event = known.asset_materialization if known is not None else None
    if known is None or event is None or known.run_id == run.run_id:
        return False
    if (event.tags or {}).get(DATA_VERSION_TAG) != commit.data_version:
        return False
    since = begun.replace(microsecond=0)  # commits know whole seconds
    was_there_before = datetime.fromisoformat(commit.written_at) < since
    return was_there_before or datetime.fromtimestamp(known.timestamp, UTC) > begun.replace(tzinfo=begun.tzinfo or UTC)


def take_partition_out(instance: DagsterInstance, crawl: str, reason: str) -> None:
    """Tell Dagster that a partition is quarantined: it is no partition any more, until it is registered again.

    Why stays to be read at `landed_crawl`, as an observation of that partition.
    """
    instance.report_runless_asset_event(
        dg.AssetObservation(dg.AssetKey(LANDED), partition=crawl, metadata={"quarantined because": reason})
    )
    if instance.has_dynamic_partition(str(CRAWL.name), crawl):
        instance.delete_dynamic_partition(str(CRAWL.name), crawl)
