"""Starts one retraining for a batch of landings, once enough has changed since the last training, or at its time."""

from datetime import UTC, datetime

import dagster as dg
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from nyx_assets.automation import REFRESH_TAGS
from nyx_assets.retraining import Change, change_since_training
from resources.home import Home
from resources.settings import Settings
from sensors.retrain_job import JOB
from training_kernels.errors import ConfigError

NOTHING_NEW = "nothing is new or changed since the last training"
ATTEMPT_TAG = "nyx/retraining_of"
"""Of a run that was started by itself: the digest of what had changed, and the day."""
DAY_TAG = "nyx/retraining_day"
"""Of a run that was started by itself: the day (UTC)."""
DUE_KEY = "nyx/retraining_due"
"""Where Dagster's records keep a due time that is still to be used."""
UNFINISHED = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


def retraining_sensor(home: Home, settings: Settings, job: dg.JobDefinition) -> dg.SensorDefinition:
    """The sensor that asks for the job; it skips, and says why, while NYX_RETRAIN is off."""
    rule = settings.retraining

    @dg.sensor(
        name="retraining",
        job=job,
        description=f"One retraining for a batch of landings, when enough is new: {rule or 'NYX_RETRAIN is off'}.",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def retraining(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if rule is None:
            return dg.SkipReason("no retraining is started by itself: set NYX_RETRAIN=on, or use `nyx run`")
        change = change_since_training(home)
        due = _due(context.instance)
        if not change.crawls:
            _set_due(context.instance, "")
            return dg.SkipReason(NOTHING_NEW)
        if not change.is_enough(rule) and not due:
            return dg.SkipReason(f"since the last training: {change}; one starts at {rule}")
        return _asked_for(context.instance, change)

    return retraining


def retraining_schedules(home: Home, settings: Settings, job: dg.JobDefinition) -> list[dg.ScheduleDefinition]:
    """The schedule of NYX_RETRAIN_CRON, if it is set. Raises ConfigError if that is no cron string.

    A due time at which landings come in, or a retraining is at work, is kept for the sensor, which starts the job when
    they are through.
    """
    rule = settings.retraining
    if rule is None or not rule.cron:
        return []

    def retraining_at(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        change = change_since_training(home)
        if not change.crawls:
            return dg.SkipReason(NOTHING_NEW)
        _set_due(context.instance, context.scheduled_execution_time.isoformat())
        return _asked_for(context.instance, change)

    try:
        return [
            dg.ScheduleDefinition(
                name="retraining_at",
                job=job,
                cron_schedule=rule.cron,
                execution_timezone=rule.timezone,
                execution_fn=retraining_at,
                description="One retraining at NYX_RETRAIN_CRON, if anything is new or changed since the last one.",
                default_status=dg.DefaultScheduleStatus.RUNNING,
            )
        ]
    except dg.DagsterInvalidDefinitionError:
        raise ConfigError(
            f"NYX_RETRAIN_CRON must be five fields as cron writes them (minute, hour, day, month, weekday), such as "
            f"0 3 * * *, got {rule.cron!r}"
        ) from None


def _asked_for(instance: DagsterInstance, change: Change) -> dg.RunRequest | dg.SkipReason:
    """A run on that change; none while one is at work or landings come in, and one a day for the same content.

    What failed may be mended, and a loop of failures is nobody's wish. A training that was begun and did not come to its end
    has content of its own making, so one a day is started to end it, whatever the content is. Should sensor and schedule ask
    in one moment, the second main job waits for the first, and finds everything made.
    """
    if _unfinished(instance, job_name=JOB):
        return dg.SkipReason(f"a retraining is at work; since the one before: {change}")
    if _unfinished(instance, tags=REFRESH_TAGS):
        return dg.SkipReason(f"landings are still coming in; so far: {change}")
    _set_due(instance, "")
    today = datetime.now(UTC).date().isoformat()
    attempt = f"{change.digest} {today}"
    tried = {DAY_TAG: today} if change.is_unfinished else {ATTEMPT_TAG: attempt}
    if instance.get_runs_count(RunsFilter(tags=tried)):
        return dg.SkipReason(f"this was tried today and failed: {change}; start the job `{JOB}` once it is mended")
    return dg.RunRequest(run_key=attempt, tags={"nyx/changed": str(change), ATTEMPT_TAG: attempt, DAY_TAG: today})


def _due(instance: DagsterInstance) -> str:
    """The due time that the schedule could not use, or ""."""
    return instance.daemon_cursor_storage.get_cursor_values({DUE_KEY}).get(DUE_KEY, "")


def _set_due(instance: DagsterInstance, moment: str) -> None:
    if _due(instance) != moment:
        instance.daemon_cursor_storage.set_cursor_values({DUE_KEY: moment})


def _unfinished(instance: DagsterInstance, **what: object) -> bool:
    return instance.get_runs_count(RunsFilter(statuses=UNFINISHED, **what)) > 0  # type: ignore[arg-type]
