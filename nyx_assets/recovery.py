"""What runs that were killed left in Dagster's records, and in tables that nobody checked; a partition that failed for good.

A run is dead when the processes that its log names are gone; only a process of this host can be judged from here. One of a main
job is dead as well when the next main job of its home begins, since a machine has one at a time. Where hosts share the home, it
is when the lease under which it was made is over or silent, wherever it was at work. A run that somebody else has ended, the
code server whose worker died, Kubernetes or a person, leaves the same behind.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunRecord, RunsFilter
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from dagster._core.events import RunFailureReason
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    AUTO_RETRY_RUN_ID_TAG,
    MAX_RETRIES_TAG,
    PARENT_RUN_ID_TAG,
    RUN_FAILURE_REASON_TAG,
    WILL_RETRY_TAG,
)

from nyx_assets.materialization import DATA_VERSION_TAG, key_of, name_of
from nyx_assets.partitions import CRAWL
from nyx_assets.quarantine import LANDED
from nyx_assets.run_processes import RunProcess, is_elsewhere, may_live, processes_of
from resources.commits import Commit
from resources.home import Home

MAIN_JOB_TAGS = {"nyx/main_job": "yes"}
LEASE_TAG = "nyx/lease"
"""Of a run of a main job in a home that hosts share: number and name of the lease under which it was made."""
PARTITION_TAG = "dagster/partition"
UNFINISHED = [
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]
LOOKED_AFTER_KEY = "nyx/ended_runs_looked_after"
"""Where Dagster's records keep until when, and which, runs that had ended were looked after."""
LOOK_BACK = timedelta(days=1)
"""Choice: of the first look, and of one after the clock was set back."""
RETRY_PATIENCE = timedelta(minutes=5)
"""Choice: that long the daemon has to start a run again before what it left is judged without that."""
PATIENCE = timedelta(hours=1)
"""Choice: that long a table waits for a moment in which nobody else makes the same asset."""
PATIENCE_ELSEWHERE = timedelta(minutes=5)
"""Choice: that long after the end of a run a process of it that cannot be seen from here may be at work; Kubernetes gives 30 s."""
CLOCK_SLACK = timedelta(minutes=1)
"""Choice: Dagster dates the end of a run by its event, which may wait half a minute for a database before it is stored."""
ENDED = [DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
NO_RETRIES_TAGS = {MAX_RETRIES_TAG: "0"}
"""The daemon leaves a killed run of a main job alone: the next main job makes what it did not."""
MAIN_JOB_MESSAGE = "its process was killed; the next main job goes on from here"
DEAD_MESSAGE = (
    "its process is gone without a last word: killed, or out of memory; what it had finished is kept, start it again "
    "if the daemon does not"
)


def lease_tags(home: Home, what: str) -> dict[str, str]:
    """The tag of a run that is made while this process holds the lease of this name."""
    return {LEASE_TAG: f"{home.leases.number(what)} {what}"} if home.is_shared else {}


def _lease_of(run: DagsterRun) -> tuple[str, int] | None:
    """Name and number."""
    number, _, what = run.tags.get(LEASE_TAG, "").partition(" ")
    return (what, int(number)) if what else None


def _is_of_main_job(run: DagsterRun) -> bool:
    return MAIN_JOB_TAGS.items() <= run.tags.items()


def bury_killed_runs(
    instance: DagsterInstance, home: Home, graph: BaseAssetGraph, *, log: Callable[[str], None]
) -> None:
    """Mark killed runs as failed, free what they hold, and quarantine what they wrote but did not check.

    Call it while no main job of this machine is at work. A slot of a pool that a dead run holds would be waited for without
    end; therefore what other hosts seem to be at work on is looked at until it is known whether they live.
    """
    unfinished = _unfinished_of_main_jobs(instance)
    for record in unfinished:
        if _lease_of(record.dagster_run) is None:
            _bury(record, instance, home, graph, log)
    bury_dead_runs(instance, home, graph, log=log)
    over = home.leases.over({lease for one in unfinished if (lease := _lease_of(one.dagster_run))}, log=log)
    for record in unfinished:
        if _lease_of(record.dagster_run) in over:
            _bury(record, instance, home, graph, log)
    look_after_ended_runs(instance, home, graph, log=log)


def bury_dead_runs(
    instance: DagsterInstance, home: Home, graph: BaseAssetGraph, *, log: Callable[[str], None]
) -> list[str]:
    """The same for every run that is dead as far as can be told without waiting, at any time; returns their ids.

    Where dagster.yaml enables run retries (those of registering.py and deploy/ do), the daemon starts them again, from what
    had not been finished.
    """
    dead = {record.dagster_run.run_id: record for record in (*dead_runs(instance), *_abandoned(instance, home))}
    return [run_id for run_id, record in dead.items() if _bury(record, instance, home, graph, log)]


def _abandoned(instance: DagsterInstance, home: Home) -> Iterator[RunRecord]:
    """Unfinished runs of main jobs, here or elsewhere, whose lease is known to be over. Silence shows at a later look."""
    for record in _unfinished_of_main_jobs(instance):
        lease = _lease_of(record.dagster_run)
        if lease is not None and home.leases.is_over(*lease):
            yield record


def _unfinished_of_main_jobs(instance: DagsterInstance) -> list[RunRecord]:
    return list(instance.get_run_records(RunsFilter(tags=MAIN_JOB_TAGS, statuses=UNFINISHED)))


def look_after_ended_runs(
    instance: DagsterInstance, home: Home, graph: BaseAssetGraph, *, log: Callable[[str], None]
) -> list[str]:
    """The same for what runs left that were ended from outside; returns the ids of those that left something.

    A code server that sees its worker die marks the run as failed, and a person may cancel one: then no process of the
    run frees its slots of pools, for which the next run, its own retry among them, would wait without end. Tables are
    judged once what was started in its place has ended, as that runs the checks that are still to be run.
    """
    return list(dict.fromkeys([*_free_slots(instance, home, log), *_judge_tables(instance, home, graph, log)]))


def _free_slots(instance: DagsterInstance, home: Home, log: Callable[[str], None]) -> Iterator[str]:
    """Of runs that have ended, and whose processes are gone; however long ago."""
    for run_id in instance.event_log_storage.get_concurrency_run_ids():
        record = instance.get_run_record_by_id(run_id)
        if record is not None and (
            not record.dagster_run.is_finished or _is_at_work(record, instance, home, datetime.now(UTC))
        ):
            continue
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)
        log(f"run {run_id[:8]} held slots of pools after its end: freed")
        yield run_id


def _judge_tables(
    instance: DagsterInstance, home: Home, graph: BaseAssetGraph, log: Callable[[str], None]
) -> Iterator[str]:
    """Of runs that were ended from outside since the last look and on which nothing follows."""
    now = datetime.now(UTC)
    since, known = _looked_after(instance, now)
    until, judged = now, set[str]()
    # what makes the same asset now may have put a table in place that it has not told of yet
    at_work = instance.get_runs(RunsFilter(statuses=UNFINISHED))
    busy = frozenset(key for run in at_work for key in run.asset_selection or ())
    ended = RunsFilter(statuses=ENDED, updated_after=since - CLOCK_SLACK)
    for record in instance.get_run_records(ended):
        run = record.dagster_run
        if _is_of_main_job(run) and _ended_by_itself(run):  # it looks after its own
            continue
        if run.run_id not in known:
            may_mistake = (
                busy & (run.asset_selection or frozenset()) and now - _in_utc(record.update_timestamp) < PATIENCE
            )
            if may_mistake or _is_at_work(record, instance, home, now) or _goes_on(record, instance, now):
                until = min(until, _in_utc(record.update_timestamp))
                continue
            if _quarantine_unchecked(record, instance, home, graph, log):
                yield run.run_id
        judged.add(run.run_id)
    kept = {"until": until.isoformat(), "judged": sorted(judged)}
    instance.daemon_cursor_storage.set_cursor_values({LOOKED_AFTER_KEY: json.dumps(kept)})


def _looked_after(instance: DagsterInstance, now: datetime) -> tuple[datetime, frozenset[str]]:
    """Until when runs were looked after, and which of those that ended later or shortly before."""
    kept = instance.daemon_cursor_storage.get_cursor_values({LOOKED_AFTER_KEY}).get(LOOKED_AFTER_KEY)
    if kept is None:
        return now - LOOK_BACK, frozenset()
    said = json.loads(kept)
    until = datetime.fromisoformat(said["until"])
    return until if until <= now else now - LOOK_BACK, frozenset(said["judged"])


def _is_at_work(record: RunRecord, instance: DagsterInstance, home: Home, now: datetime) -> bool:
    """Whether a run that has ended in the records may still do something."""
    run = record.dagster_run
    processes = processes_of(instance, run.run_id)
    if any(may_live(process) for process in processes if _is_seen(process, instance)):
        return True
    if all(_is_seen(process, instance) for process in processes):
        return False
    if (lease := _lease_of(run)) is not None:
        return not home.leases.is_over(*lease)
    return now - _in_utc(record.update_timestamp) < PATIENCE_ELSEWHERE


def _is_seen(process: RunProcess, instance: DagsterInstance) -> bool:
    """Whether it can be told from here if a process lives. A mere number, in records that hosts share, may be of any of them."""
    if process.mark is None:
        return isinstance(instance.run_storage, SqliteRunStorage)
    return not is_elsewhere(process.mark)


def _goes_on(record: RunRecord, instance: DagsterInstance, now: datetime) -> bool:
    """Whether what was started in the place of a run is still to end, or still to be started by the daemon."""
    run = record.dagster_run
    is_recent = now - _in_utc(record.update_timestamp) < RETRY_PATIENCE
    if is_recent and run.tags.get(WILL_RETRY_TAG) == "true" and AUTO_RETRY_RUN_ID_TAG not in run.tags:
        return True
    return any(not one.is_finished for one in _line_of(run, instance))


def _line_of(run: DagsterRun, instance: DagsterInstance) -> list[DagsterRun]:
    """The run and those that were started in its place, and in the place of these."""
    line = [run]
    for one in line:  # it grows meanwhile
        line += instance.get_runs(RunsFilter(tags={PARENT_RUN_ID_TAG: one.run_id}))
    return line


def dead_runs(instance: DagsterInstance) -> Iterator[RunRecord]:
    """Unfinished runs whose processes are all gone; one of another host or container is never judged from here."""
    for record in instance.get_run_records(RunsFilter(statuses=UNFINISHED)):
        processes = processes_of(instance, record.dagster_run.run_id)
        if processes and not any(not _is_seen(process, instance) or may_live(process) for process in processes):
            yield record


def _bury(
    found: RunRecord, instance: DagsterInstance, home: Home, graph: BaseAssetGraph, log: Callable[[str], None]
) -> bool:
    """End a dead run; False where it has ended, in order, since it was looked up."""
    record = instance.get_run_record_by_id(found.dagster_run.run_id)
    if record is None or record.dagster_run.is_finished:
        return False
    run = record.dagster_run
    message = MAIN_JOB_MESSAGE if _is_of_main_job(run) else DEAD_MESSAGE
    log(f"run {run.run_id[:8]} is ended: its process is gone")
    _quarantine_unchecked(record, instance, home, graph, log)
    if run.status == DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, message)
    else:
        instance.report_run_failed(run, message)
    instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return True


def _ended_by_itself(run: DagsterRun) -> bool:
    return run.tags.get(RUN_FAILURE_REASON_TAG) == RunFailureReason.STEP_FAILURE.value


def _quarantine_unchecked(
    record: RunRecord, instance: DagsterInstance, home: Home, graph: BaseAssetGraph, log: Callable[[str], None]
) -> bool:
    """Whether the run left tables that it should have checked; they are made again."""
    ended_by_itself = _ended_by_itself(record.dagster_run)
    how = "failed" if ended_by_itself else "was killed"
    unchecked = list(_unchecked(record, instance, home, graph, must_be_known=ended_by_itself))
    for name, partition in unchecked:
        home.tables.quarantine(name, partition, f"the run that made it {how} before its checks had ended")
        log(f"{name} {partition or ''}".strip() + f" is made again: the run that made it {how} before its checks")
    return bool(unchecked)


def _unchecked(
    record: RunRecord, instance: DagsterInstance, home: Home, graph: BaseAssetGraph, *, must_be_known: bool
) -> Iterator[tuple[str, str | None]]:
    """Tables, with their partition, that the run wrote, and that neither it nor one in its place has checked.

    Args:
        must_be_known: only what the run had time to say that it had made.
    """
    run, begun = record.dagster_run, record.create_timestamp
    line = _line_of(run, instance)
    evaluations = [
        event.asset_check_evaluation_data for event in _events(line, DagsterEventType.ASSET_CHECK_EVALUATION, instance)
    ]
    begun_steps = {event.step_key for event in _events(line, DagsterEventType.STEP_START, instance)}
    step_by_asset = {
        event.asset_key: event.step_key
        for event in _events(line, DagsterEventType.ASSET_MATERIALIZATION_PLANNED, instance)
    }
    partitions = partitions_of(run, instance)
    for key in sorted(run.asset_selection or ()):
        name = name_of(key)
        if key in step_by_asset and step_by_asset[key] not in begun_steps:
            continue
        for partition in partitions if graph.has(key) and graph.get(key).is_partitioned else [None]:
            # of a run of one partition an evaluation need not say which
            checked = {one.asset_check_key for one in evaluations if one.partition in (partition, None)}
            if not graph.get_check_keys_for_assets({key}) - checked:
                continue
            if home.tables.quarantine_reason(name, partition) is not None:
                continue
            commit = home.tables.commit(name, partition)
            if commit is None or _is_of_another_run(commit, run, begun, name, partition, instance):
                continue
            known = instance.get_latest_data_version_record(key, partition_key=partition)
            if not must_be_known or (known is not None and known.run_id == run.run_id):
                yield name, partition


def _events(runs: list[DagsterRun], kind: DagsterEventType, instance: DagsterInstance) -> Iterator[dg.DagsterEvent]:
    for run in runs:
        for entry in instance.all_logs(run.run_id, of_type=kind):
            if entry.dagster_event is not None:
                yield entry.dagster_event


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
    return was_there_before or datetime.fromtimestamp(known.timestamp, UTC) > _in_utc(begun)


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=moment.tzinfo or UTC)


def take_partition_out(instance: DagsterInstance, crawl: str, reason: str) -> None:
    """Tell Dagster that a partition is quarantined: it is no partition any more, until it is registered again.

    Why stays to be read at `landed_crawl`, as an observation of that partition.
    """
    instance.report_runless_asset_event(
        dg.AssetObservation(dg.AssetKey(LANDED), partition=crawl, metadata={"quarantined because": reason})
    )
    if instance.has_dynamic_partition(str(CRAWL.name), crawl):
        instance.delete_dynamic_partition(str(CRAWL.name), crawl)
