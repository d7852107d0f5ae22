"""Dagster's records after what went wrong: a main job that was killed, a partition that failed for good."""

from collections.abc import Callable
from datetime import datetime

import dagster as dg
from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from nyx_assets.materialization import name_of
from nyx_assets.partitions import CRAWL
from nyx_assets.quarantine import LANDED
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


def bury_killed_runs(
    instance: DagsterInstance, home: Home, defs: dg.Definitions, *, log: Callable[[str], None]
) -> None:
    """Mark killed runs of the main job as failed, free what they hold, and quarantine what they wrote but did not check.

    Call it while no main job is at work. A slot of a pool that a dead run holds would be waited for without end.
    """
    for record in instance.get_run_records(RunsFilter(tags=MAIN_JOB_TAGS, statuses=UNFINISHED)):
        run = record.dagster_run
        for name in _unchecked(run, record.create_timestamp, instance, home, defs):
            partition = run.tags.get(PARTITION_TAG)
            home.tables.quarantine(name, partition, "the run that made it was killed before its checks had ended")
            log(
                f"{name} {partition or ''}".strip()
                + " is made again: the run that made it was killed before its checks"
            )
        instance.report_run_failed(run, "its process was killed; the next main job goes on from here")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def _unchecked(
    run: DagsterRun, begun: datetime, instance: DagsterInstance, home: Home, defs: dg.Definitions
) -> list[str]:
    """Tables that the run wrote, and that it should have checked and did not."""
    events = instance.all_logs(run.run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION)
    checked = {
        entry.dagster_event.asset_check_evaluation_data.asset_check_key for entry in events if entry.dagster_event
    }
    graph = defs.resolve_asset_graph()
    names = [name_of(key) for key in run.asset_selection or () if graph.get_check_keys_for_assets({key}) - checked]
    commits = {name: home.tables.commit(name, run.tags.get(PARTITION_TAG)) for name in sorted(names)}
    since = begun.replace(microsecond=0)  # commits know whole seconds
    return [name for name, commit in commits.items() if commit and datetime.fromisoformat(commit.written_at) >= since]


def take_partition_out(instance: DagsterInstance, crawl: str, reason: str) -> None:
    """Tell Dagster that a partition is quarantined: it is no partition any more, until it is registered again.

    Why stays to be read at `landed_crawl`, as an observation of that partition.
    """
    instance.report_runless_asset_event(
        dg.AssetObservation(dg.AssetKey(LANDED), partition=crawl, metadata={"quarantined because": reason})
    )
    if instance.has_dynamic_partition(str(CRAWL.name), crawl):
        instance.delete_dynamic_partition(str(CRAWL.name), crawl)
