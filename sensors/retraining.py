"""Starts one retraining for a batch of landings, once enough has changed since the last training."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import dagster as dg
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from nyx_assets.automation import REFRESH_TAGS
from nyx_assets.main_job import Pipeline, run_main_job
from nyx_assets.retraining import change_since_training
from resources.home import Home
from resources.settings import Settings

JOB = "retrain"
UNFINISHED = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


def retrain_job(home: Home, pipeline_of: Callable[[], Pipeline]) -> dg.JobDefinition:
    """The main job as a job of Dagster: what `nyx run` does with what landed, started from the UI or by the sensor.

    Args:
        pipeline_of: the asset graph; asked for when the job runs, since the job is a part of it.
    """

    @dg.op(
        name="bring_everything_up_to_date",
        description="Makes what is missing or stale: questions, negatives, checkpoints, gate, index. Each piece is a run of its own.",
    )
    def bring_everything_up_to_date(context: dg.OpExecutionContext) -> None:
        with _told_to(context.log):
            report = run_main_job(pipeline_of(), context.instance, home)
        made = {name: asset.made for name, asset in report.by_asset.items() if asset.made}
        metadata: dict[str, dg.MetadataValue | float] = {
            "made": dg.MetadataValue.json(made),
            "seconds": round(report.seconds, 1),
        }
        if report.stopped_by_cap or report.failures:
            faults = [report.stopped_by_cap, *report.failures] if report.stopped_by_cap else report.failures
            more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            raise dg.Failure(
                f"{faults[0]}{more}; what it did not touch is done, and the next run goes on from here",
                metadata={**metadata, "failures": dg.MetadataValue.md("\n".join(f"- {fault}" for fault in faults))},
                allow_retries=False,
            )
        context.add_output_metadata(metadata)

    @dg.job(
        name=JOB,
        description="Questions, training, the gate and the index of everything that landed; what is current is left as it is.",
        executor_def=dg.in_process_executor,
    )
    def retrain() -> None:
        bring_everything_up_to_date()

    return retrain


def retraining_sensor(home: Home, settings: Settings, job: dg.JobDefinition) -> dg.SensorDefinition:
    """The sensor that asks for the job; it skips, and says why, while NYX_RETRAIN is off."""

    @dg.sensor(
        name="retraining",
        job=job,
        description="One retraining for a batch of landings, when NYX_RETRAIN_SHARE or NYX_RETRAIN_PAGES is reached.",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def retraining(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        rule = settings.retraining
        if rule is None:
            return dg.SkipReason("no retraining is started by itself: set NYX_RETRAIN=on, or use `nyx run`")
        change = change_since_training(home)
        if not change.crawls:
            return dg.SkipReason("nothing is new or changed since the last training")
        if not change.is_enough(rule):
            return dg.SkipReason(f"since the last training: {change}; NYX_RETRAIN_SHARE is {rule.min_share:.1%}")
        if _unfinished(context.instance, job_name=JOB):
            return dg.SkipReason(f"a retraining is at work; since the one before: {change}")
        if _unfinished(context.instance, tags=REFRESH_TAGS):
            return dg.SkipReason(f"landings are still coming in; so far: {change}")
        # one try a day for the same content: what failed may be mended, and a loop of failures is nobody's wish
        today = datetime.now(UTC).date().isoformat()
        return dg.RunRequest(run_key=f"{change.digest} {today}", tags={"nyx/changed": str(change)})

    return retraining


def _unfinished(instance: DagsterInstance, **what: object) -> bool:
    return instance.get_runs_count(RunsFilter(statuses=UNFINISHED, **what)) > 0  # type: ignore[arg-type]


@contextmanager
def _told_to(log: logging.Logger) -> Iterator[None]:
    """The pipeline's own lines go to a log of Dagster as well."""
    console = logging.getLogger("nyx")
    handler = _Forward(log)
    level = console.level
    console.addHandler(handler)
    console.setLevel(logging.INFO)
    try:
        yield
    finally:
        console.removeHandler(handler)
        console.setLevel(level)


class _Forward(logging.Handler):
    """Says to one log what is said to another."""

    def __init__(self, log: logging.Logger) -> None:
        super().__init__()
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        self.log.log(record.levelno, record.getMessage())
