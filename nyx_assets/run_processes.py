"""Which processes execute a run, and whether they live: told by what no clock can move.

Dagster's events name a process by its number alone, and numbers come again. So each event with the number of the process
that stores it gets a mark of that process beside it. Where there is none, as before a worker has loaded this project, the
start of a process is compared with the clock, and its command line where that contradicts.
"""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster import DagsterEventType, DagsterInstance, EventLogEntry, MetadataValue
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

PROC = Path("/proc")
NUMBER = "pid"
"""Dagster's name for the number of a process, in the metadata of its events."""
MARK = "nyx/process"
CLOCK_SLACK_SECONDS = 5.0
"""Between the start of a process as the kernel has it and the first word of that process in the log."""
RUN_WORDS = (b"python", b"dagster", b"nyx")
"""One of them stands in the command line of whatever executes a run: `dagster api`, `nyx run`, a spawned Python."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What tells a process from every other that ever has its number."""

    start_ticks: str
    """When it started, by the kernel's own clock, which counts from its boot."""
    boot: str
    namespace: str
    """In which process numbers are counted: each container has its own."""
    host: str

    def __str__(self) -> str:
        return f"{self.start_ticks} {self.boot} {self.namespace} {self.host}"


def mark_from(text: str) -> Mark:
    """The mark that has this text."""
    start_ticks, boot, namespace, host = text.split(" ", 3)
    return Mark(start_ticks=start_ticks, boot=boot, namespace=namespace, host=host)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProcess:
    """A process that says in a run's log that it executes it."""

    number: int
    since: float
    """When it said so, in seconds since 1970."""
    mark: Mark | None = None


def processes_of(instance: DagsterInstance, run_id: str) -> list[RunProcess]:
    """Those that said in a run's log that they execute it, with their mark where any of their events has it."""
    found: dict[int, RunProcess] = {}
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        if event is None or event.step_key is not None or NUMBER not in event.engine_event_data.metadata:
            continue
        said = event.engine_event_data.metadata
        number = int(str(said[NUMBER].value))
        mark = mark_from(str(said[MARK].value)) if MARK in said else None
        if number not in found or mark is not None:
            found[number] = RunProcess(number=number, since=entry.timestamp, mark=mark)
    return list(found.values())


def mark_of(number: int, proc: Path = PROC) -> Mark | None:
    """The mark of a living process of this host; None where there is none, or no /proc."""
    try:
        fields = _fields(number, proc)
        boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink(proc / "self/ns/pid")
    except OSError:
        return None
    if fields[0] in "ZX":
        return None
    return Mark(start_ticks=fields[19], boot=boot, namespace=namespace, host=socket.gethostname())


def may_live(process: RunProcess, proc: Path = PROC) -> bool:
    """Whether a process lives, or belongs to another host or container, of which nothing can be seen from here.

    Without a mark it counts as living while there is a process of its number that started before it spoke, or one that may
    be a run's: with the wall clock, the starts of all processes move as well.
    """
    if (mark := process.mark) is not None:
        return is_elsewhere(mark, proc) or mark_of(process.number, proc) == mark
    try:
        fields = _fields(process.number, proc)
        boot = next(
            float(line.split()[1]) for line in (proc / "stat").read_text().splitlines() if line.startswith("btime ")
        )
        command = (proc / str(process.number) / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return not proc.is_dir() and _answers(process.number)
    if fields[0] in "ZX":
        return False
    started = boot + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return started <= process.since + CLOCK_SLACK_SECONDS or any(word in command for word in RUN_WORDS)


def is_elsewhere(mark: Mark, proc: Path = PROC) -> bool:
    """Whether a process is of another host or container than this one. A host that was started anew keeps its name."""
    here = mark_of(os.getpid(), proc)
    if mark.host == socket.gethostname() or here is None:
        return False
    return (mark.boot, mark.namespace) != (here.boot, here.namespace)


def _fields(number: int, proc: Path) -> list[str]:
    """What the kernel says of a process after its name: its state first, its start in clock ticks as the 20th."""
    return (proc / str(number) / "stat").read_text().rpartition(")")[2].split()


def _answers(number: int) -> bool:
    """Whether there is such a process, where there is no /proc."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def note_processes() -> None:
    """Have this process put its mark on the events that name it, in SQLite and Postgres alike. May be called again."""
    setattr(SqlEventLogStorage, "prepare_insert_event", _prepare_insert_event)  # noqa: B010 - a method of another's class


def _prepare_insert_event(self: SqlEventLogStorage, event: EventLogEntry) -> Any:
    return _prepare_insert_event_of_dagster(self, _marked(event))


_prepare_insert_event_of_dagster = SqlEventLogStorage.prepare_insert_event


def _marked(entry: EventLogEntry) -> EventLogEntry:
    event = entry.dagster_event
    if event is None or event.event_type != DagsterEventType.ENGINE_EVENT:
        return entry
    said = event.engine_event_data
    if NUMBER not in said.metadata or str(said.metadata[NUMBER].value) != str(os.getpid()):
        return entry
    if (mark := mark_of(os.getpid())) is None:
        return entry
    marked = said._replace(metadata={**said.metadata, MARK: MetadataValue.text(str(mark))})
    return entry._replace(dagster_event=event._replace(event_specific_data=marked))
