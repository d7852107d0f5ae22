"""What Dagster's events of a run say went wrong, in words for a person and as attempts that are counted."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import dagster as dg
from dagster import DagsterEventType

from nyx_assets.materialization import ERROR_KIND_KEY, FAILED_PARTITIONS_KEY, name_of
from nyx_assets.quarantine import FailedAttempt
from training_kernels.errors import BudgetReached

FAILED_CHECK = "DagsterAssetCheckFailedError"
"""How Dagster stops what follows a failed check; the check itself is reported, with what it found."""
MAX_MESSAGE_CHARACTERS = 600
"""Choice: what a person reads of one failure; Dagster's log has the rest."""
CHECK = "check"
"""Kind of a failure that a check found."""


def attempts_of(
    events: Iterable[dg.DagsterEvent],
    crawl: str | None,
    *,
    asset_of_node: Callable[[str], str | None],
    code_version_of: Callable[[str], str],
) -> Iterator[FailedAttempt]:
    """What could not be made of a partition, and what was made and did not pass a check.

    Args:
        crawl: the partition of the run; None for a run of several, whose events name theirs.
        asset_of_node: an asset that the node of this name makes; where it makes several, always the same.
    """
    for event in events:
        if is_failure(event):
            asset = asset_of_node(event.node_name)
            if asset is None:
                continue
            failed = [(crawl, str(error_of(event).cls_name), cause_of(event))] if crawl is not None else _of_many(event)
        elif (evaluation := failed_check(event)) is not None:
            asset, partition = name_of(evaluation.asset_key), evaluation.partition or crawl
            error = f"{evaluation.check_name}: {faults_of(evaluation)}"
            ended_by = evaluation.metadata.get(ERROR_KIND_KEY)
            kind = str(ended_by.value) if ended_by else CHECK
            failed = [(partition, kind, error)] if partition is not None else []
        else:
            continue
        for partition, kind, error in failed:
            yield FailedAttempt(
                asset=asset, crawl=partition, code_version=code_version_of(asset), error_kind=kind, error=error
            )


def cap_of(event: dg.DagsterEvent) -> str:
    """The words of the cap on spending that ended a failed step; "" if none did."""
    told = [(str(error_of(event).cls_name), cause_of(event)), *((kind, text) for _, kind, text in _of_many(event))]
    return next((text.partition(": ")[2] for kind, text in told if kind == BudgetReached.__name__), "")


def _of_many(event: dg.DagsterEvent) -> list[tuple[str, str, str]]:
    """Partition, kind and words of each failure in a run of several partitions."""
    failure = event.step_failure_data.user_failure_data
    told = failure.metadata.get(FAILED_PARTITIONS_KEY) if failure else None
    if not isinstance(told, dg.JsonMetadataValue) or not isinstance(told.value, Mapping):
        return []
    return [(partition, kind, _one_line(f"{kind}: {text}")) for partition, (kind, text) in told.value.items()]


def is_failure(event: dg.DagsterEvent) -> bool:
    """True for a step that raised an error of its own."""
    return event.event_type == DagsterEventType.STEP_FAILURE and error_of(event).cls_name != FAILED_CHECK


def failed_check(event: dg.DagsterEvent) -> dg.AssetCheckEvaluation | None:
    """The evaluation that this event tells of, if it did not pass."""
    if event.event_type != DagsterEventType.ASSET_CHECK_EVALUATION:
        return None
    evaluation = event.asset_check_evaluation_data
    return None if evaluation.passed else evaluation


def error_of(event: dg.DagsterEvent) -> Any:
    """What stands beneath the wrappers: a SerializableErrorInfo, with the name of its class and its message."""
    error = event.step_failure_data.error
    assert error is not None, f"{event.node_name} failed without an error"
    while error.cause is not None and str(error.cls_name).startswith("Dagster"):
        error = error.cause
    return error


def cause_of(event: dg.DagsterEvent) -> str:
    """The error of a failed step in one line."""
    error = error_of(event)
    # "training_kernels.errors.DataError: text": the class says enough
    _, _, text = error.message.partition(f"{error.cls_name}: ")
    return _one_line(f"{error.cls_name}: {text}" if text else error.message)


def faults_of(evaluation: dg.AssetCheckEvaluation) -> str:
    """What a check found, in one line."""
    faults, examples = evaluation.metadata.get("faults"), evaluation.metadata.get("examples")
    if not faults or not examples:
        return "it says no more"
    first = str(examples.value).splitlines()[0].removeprefix("- ")
    return _one_line(first if faults.value == 1 else f"{faults.value} faults, e.g. {first}")


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_MESSAGE_CHARACTERS else line[: MAX_MESSAGE_CHARACTERS - 1] + "…"
