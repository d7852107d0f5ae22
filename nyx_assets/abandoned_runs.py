"""Runs whose process was killed: they are told to Dagster, which otherwise keeps their places in pools taken for ever.

Each process that runs the main job holds a lock on a file of its own, named in a tag of its runs; the system releases it
when the process ends, however it ends.
"""

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

PROCESS_TAG = "nyx/process"
UNFINISHED = [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.STARTED]


@contextmanager
def tagged_process(instance: DagsterInstance, folder: Path) -> Iterator[dict[str, str]]:
    """Tags for the runs of this process; what killed processes have left is cleared away before.

    Args:
        folder: where the locks of all processes of the home lie.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _clear_abandoned(instance, folder)
    path = folder / f"{os.getpid()}-{uuid.uuid4().hex[:12]}.lock"
    beside = path.with_suffix(".new")
    with beside.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        beside.rename(path)  # nobody sees it before it is locked
        try:
            yield {PROCESS_TAG: path.name}
        finally:
            path.unlink()


def _clear_abandoned(instance: DagsterInstance, folder: Path) -> None:
    """Mark the unfinished runs of dead processes as failed, and give back their places in pools."""
    for run in instance.get_runs(RunsFilter(statuses=UNFINISHED)):
        name = run.tags.get(PROCESS_TAG)
        if name is not None and _is_dead(folder / name):
            instance.report_run_failed(run, "its process was killed; the next run goes on from what is stored")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    for path in folder.glob("*.lock"):
        if _is_dead(path):
            path.unlink(missing_ok=True)


def _is_dead(path: Path) -> bool:
    """True if nobody holds the lock, or its process has ended so well that it took the file along."""
    try:
        with path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
    return True
