"""Failed runs and failed checks are told once, in the log and by webhook, and counted against their partition."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

import dagster as dg
from dagster import DagsterEventType, DagsterInstance, DagsterRun
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_START_TAG

from nyx_assets.failures import attempts_of, cause_of, error_of, failed_check, faults_of, is_failure
from nyx_assets.main_job import Pipeline
from nyx_assets.materialization import name_of
from nyx_assets.quarantine import note_failures
from nyx_assets.recovery import MAIN_JOB_TAGS, PARTITION_TAG, take_partition_out
from resources.home import Home
from resources.settings import Settings
from sensors.alerts import add_waiting, post_waiting
from sensors.job_runs import FAULTS_KEY
from training_kernels.errors import AlreadyQuarantined

TOLD = "nyx/told"
"""Key of the records of what was told, in Dagster's own store."""


def failures_sensor(home: Home, settings: Settings, pipeline_of: Callable[[], Pipeline]) -> dg.SensorDefinition:
    """The sensor that hears of every failed run but those inside a main job, which tells of its failures itself."""

    @dg.run_failure_sensor(
        name="failures",
        description="Tells of each failed run and failed check once: in its log, and to NYX_ALERT_WEBHOOK.",
        minimum_interval_seconds=10,
        default_status=dg.DefaultSensorStatus.RUNNING,
        monitor_all_code_locations=False,
    )
    def failures(context: dg.RunFailureSensorContext) -> None:
        run = context.dagster_run
        if run.tags.get("nyx/main_job") == MAIN_JOB_TAGS["nyx/main_job"]:
            return
        events = list(_events(context.instance, run))
        pipeline = pipeline_of()
        messages = list(messages_of(run, events, pipeline.asset_of_node)) or [
            f"run {run.run_id} of {run.job_name} failed: {context.failure_event.message}"
        ]
        # before the books are kept: whatever becomes of that, Dagster does not have this run heard again
        _tell(context, home, settings, messages)
        out = note_failures(
            home,
            attempts_of(
                events,
                run.tags.get(PARTITION_TAG),
                asset_of_node=pipeline.asset_of_node,
                code_version_of=pipeline.code_version_of,
            ),
            run_id=run.run_id,
            max_attempts=pipeline.max_attempts,
            began_at=_began_at(context.instance, run),
        )
        for attempt in out:
            take_partition_out(context.instance, attempt.crawl, f"{attempt.asset}: {attempt.error}")
        _tell(
            context,
            home,
            settings,
            [
                f"partition {attempt.crawl} is quarantined after {pipeline.max_attempts} attempts at {attempt.asset}; "
                f"deliver it again, or: nyx quarantine release {attempt.crawl}"
                for attempt in out
            ],
        )

    return failures


def _tell(context: dg.RunFailureSensorContext, home: Home, settings: Settings, messages: Iterable[str]) -> None:
    """Each that was not told today: in the log, and to the webhook as far as that takes it now."""
    new = [message for message in dict.fromkeys(messages) if not is_told_before(context.instance, message)]
    for message in new:
        context.log.error(message)
        if settings.alert_webhook is not None:
            run = context.dagster_run
            add_waiting(home, context.instance, message, run_id=run.run_id, job=run.job_name)
        remember(context.instance, message)
    if new and settings.alert_webhook is not None:
        post_waiting(home, context.instance, settings.alert_webhook, warn=context.log.warning)


def messages_of(
    run: DagsterRun, events: list[dg.DagsterEvent], asset_of_node: Callable[[str], str | None]
) -> Iterator[str]:
    """What a person is told of a failed run: a line for each step that failed and each check that did not pass.

    Of the checks of a table the first that finds a fault is told; the others did not look at it. Of a job of the launchpad
    each thing that failed in it is told: of its runs of a main job, which are not heard by themselves, nobody else tells.
    """
    of_run = f" of partition {run.tags[PARTITION_TAG]}" if PARTITION_TAG in run.tags else ""
    is_of_many = ASSET_PARTITION_RANGE_START_TAG in run.tags
    has_found_a_fault = any(failed_check(event) for event in events)
    for event in events:
        if is_failure(event):
            if has_found_a_fault and error_of(event).cls_name == AlreadyQuarantined.__name__:
                continue
            if faults := _faults_of_job(event):
                yield from (f"{run.job_name}: {fault}" for fault in faults)
                continue
            yield f"{asset_of_node(event.node_name) or event.node_name}{of_run} failed: {cause_of(event)}"
        elif (evaluation := failed_check(event)) is not None:
            if is_of_many and evaluation.partition is None and _is_told_by_partition(evaluation, events):
                continue
            of_partition = f" of partition {evaluation.partition}" if evaluation.partition else of_run
            yield (
                f"{name_of(evaluation.asset_key)}{of_partition} is quarantined, its check {evaluation.check_name} failed: "
                f"{faults_of(evaluation)}"
            )


def _faults_of_job(event: dg.DagsterEvent) -> list[str]:
    """What a job of the launchpad says that failed in it; [] of any other step."""
    failure = event.step_failure_data.user_failure_data
    told = failure.metadata.get(FAULTS_KEY) if failure else None
    return [str(fault) for fault in told.value] if isinstance(told, dg.JsonMetadataValue) and told.value else []


def _began_at(instance: DagsterInstance, run: DagsterRun) -> str:
    """ISO 8601, UTC; "" if the run never started."""
    record = instance.get_run_record_by_id(run.run_id)
    if record is None or record.start_time is None:
        return ""
    return datetime.fromtimestamp(record.start_time, UTC).isoformat(timespec="seconds")


def _is_told_by_partition(whole: dg.AssetCheckEvaluation, events: list[dg.DagsterEvent]) -> bool:
    """True if what this evaluation sums up is told of each partition as well."""
    failed = (evaluation for event in events if (evaluation := failed_check(event)) is not None)
    return any(one.asset_check_key == whole.asset_check_key and one.partition is not None for one in failed)


def is_told_before(instance: DagsterInstance, message: str) -> bool:
    """True if this very message was told today (UTC), by this process or an earlier one: what lasts is told once a day."""
    key = _key(message)
    return bool(instance.daemon_cursor_storage.get_cursor_values({key}).get(key))


def remember(instance: DagsterInstance, message: str) -> None:
    instance.daemon_cursor_storage.set_cursor_values({_key(message): message})


def _key(message: str) -> str:
    today = datetime.now(UTC).date().isoformat()
    return f"{TOLD}/{today}/{hashlib.sha256(message.encode()).hexdigest()[:32]}"


def _events(instance: DagsterInstance, run: DagsterRun) -> Iterator[dg.DagsterEvent]:
    kinds = {DagsterEventType.STEP_FAILURE, DagsterEventType.ASSET_CHECK_EVALUATION}
    for entry in instance.all_logs(run.run_id, of_type=kinds):
        if entry.dagster_event is not None:
            yield entry.dagster_event
