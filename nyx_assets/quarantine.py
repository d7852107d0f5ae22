"""A crawl partition that fails for good is taken out, so that what is made of all partitions goes on without it.

Every failure is a row of `failed_attempts`, one for each run. After so many of one asset, with the same code on the same
delivery, each of the partition's tables is marked, its landed_crawl last: with that it is out, readers of whole tables leave
it out, and nothing is made of it until somebody releases it or its delivery changes.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa

from nyx_assets.records import FAILED_ATTEMPTS
from resources.home import Home
from resources.tables import Provenance, utc_now
from training_kernels.errors import DataError

TABLE = "failed_attempts"
LANDED = "landed_crawl"
MARK = "partition quarantined: "
"""What the reason of a mark begins with if the whole partition is out, and not only one table."""
NOT_THE_PARTITIONS_FAULT = frozenset(
    {
        "BudgetReached",
        "CourierFailed",
        "VLMError",
        "ReplyMissing",
        "IndexUnavailable",
        "IncompleteArtifact",
        "ConfigError",
        "CrawlUnanswered",
        "OSError",
        "PermissionError",
        "OutOfMemory",
        "MemoryError",
        "TrainingProcessFailed",
        "AlreadyTraining",
        "LeaseLost",
        "DagsterExecutionInterruptedError",
        "TimeoutError",
        # Python's connections, and botocore's ConnectionError
        "ConnectionError",
        "ConnectionAbortedError",
        "ConnectionRefusedError",
        "ConnectionResetError",
        "BrokenPipeError",
        # botocore's
        "HTTPClientError",
        "EndpointConnectionError",
        "ConnectionClosedError",
        "ConnectTimeoutError",
        "ReadTimeoutError",
        "ResponseStreamingError",
        "ProxyConnectionError",
        "SSLError",
        # of a database (SQLAlchemy, sqlite3), and of a device (torch)
        "OperationalError",
        "OutOfMemoryError",
    }
)
"""Errors of servers, disks and settings: they meet whatever partition is at work, so they are no attempt of it.

Names of classes: of an error in another process only the name is known, so a subclass stands here by itself.
"""
MAX_ERROR_CHARACTERS = 600
SAME = ("asset", "crawl", "code_version", "delivery")
"""What attempts have in common that count together."""
PROVENANCE = Provenance(code_version="1")
console = logging.getLogger("nyx")


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedAttempt:
    """One time that an asset of a partition could not be made, or did not pass its check."""

    asset: str
    crawl: str
    code_version: str
    error_kind: str
    """Name of the class of the error; "check" for a check that failed."""
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedPartition:
    """A crawl partition that is out."""

    crawl: str
    reason: str


def note_failures(
    home: Home, attempts: Iterable[FailedAttempt], *, run_id: str, max_attempts: int, began_at: str = ""
) -> list[FailedAttempt]:
    """Keep the failed attempts of one run; those that were the last ones, whose partitions are quarantined now.

    A run counts once for each asset of a partition, however often it is told of; what it takes out is named each time,
    and completed where that was cut short. Attempts from before the asset of the partition was last made, and passed its
    checks, are forgotten.

    Args:
        began_at: when the run began (ISO 8601, UTC): what it stored itself before it failed is no success. Without it
            nothing is forgotten.
    """
    counted: dict[tuple[str, str], FailedAttempt] = {}
    for one in attempts:
        if one.error_kind not in NOT_THE_PARTITIONS_FAULT:
            counted.setdefault((one.asset, one.crawl), one)
    if not counted:
        return []
    with _alone(home):
        before = rows = _rows(home)
        new = {place: _row(home, attempt, run_id) for place, attempt in counted.items()}
        for place, attempt in counted.items():
            of_this = [row for row in rows if _place(row) == place]
            if of_this and (made_at := _made_at(home, attempt, before=began_at)):
                rows = [row for row in rows if _place(row) != place or row["attempted_at"] >= made_at]
            is_known = any(row["run_id"] == run_id for row in of_this)
            if not is_known and home.tables.quarantine_reason(LANDED, attempt.crawl) is None:
                rows = [*rows, new[place]]
        if rows != before:
            _write(home, rows)
    last: dict[str, FailedAttempt] = {}
    reasons: dict[str, str] = {}
    for place, attempt in counted.items():
        same = [row for row in rows if all(row[name] == new[place][name] for name in SAME)]
        if len(same) >= max_attempts and same[-1]["run_id"] == run_id and attempt.crawl not in last:
            last[attempt.crawl] = attempt
            reasons[attempt.crawl] = f"{attempt.asset} failed {len(same)} times, last: {new[place]['error']}"
    take_out(home, reasons)
    return [*last.values()]


def note_success(home: Home, asset: str, crawl: str) -> None:
    """Forget the failures of an asset of a partition: it can be made after all."""
    if not any(row["asset"] == asset and row["crawl"] == crawl for row in _rows(home)):
        return
    with _alone(home):
        _write(home, [row for row in _rows(home) if (row["asset"], row["crawl"]) != (asset, crawl)])


def take_out(home: Home, reason_by_crawl: Mapping[str, str]) -> None:
    """Take partitions out of everything that is made of all partitions. What is stored of them stays."""
    if not reason_by_crawl:
        return
    # landed_crawl last: until it is marked the partition counts as in, and its next failure marks what is left
    assets = [*(name for name in home.tables.assets() if name != LANDED), LANDED]
    to_mark = [  # before anything is marked: in a store, each mark has the listings asked for again
        (asset, crawl)
        for crawl in reason_by_crawl
        for asset in assets
        if home.tables.commit(asset, crawl) is not None and home.tables.quarantine_reason(asset, crawl) is None
    ]
    for asset, crawl in to_mark:
        home.tables.quarantine(asset, crawl, MARK + reason_by_crawl[crawl])


def release_partition(home: Home, crawl: str) -> bool:
    """Let a partition in again and forget its failures; False if none of its tables was marked.

    A table that one of its own checks has marked stays marked: it is made again by the next run.
    """
    # landed_crawl last: until then the partition counts as out
    assets = [*(name for name in home.tables.assets() if name != LANDED), LANDED]
    marked = [name for name in assets if (home.tables.quarantine_reason(name, crawl) or "").startswith(MARK)]
    if not marked:
        return False
    with _alone(home):
        _write(home, [row for row in _rows(home) if row["crawl"] != crawl])
    for asset in marked:
        home.tables.release(asset, crawl)
    return True


def is_quarantined(home: Home, crawl: str) -> bool:
    """True if the whole partition is out."""
    return (home.tables.quarantine_reason(LANDED, crawl) or "").startswith(MARK)


def quarantined_partitions(home: Home) -> list[QuarantinedPartition]:
    """Partitions that are out, by name, each with the reason."""
    return [
        QuarantinedPartition(crawl=crawl, reason=reason.removeprefix(MARK))
        for crawl, reason in sorted(home.tables.quarantined(LANDED).items())
        if reason.startswith(MARK)
    ]


def quarantine_lines(partitions: Sequence[QuarantinedPartition]) -> list[str]:
    """For a person: what is out, why, and how it comes back."""
    return [
        f"crawl {one.crawl} is quarantined: {one.reason}; deliver it again, or: nyx quarantine release {one.crawl}"
        for one in partitions
    ]


def _made_at(home: Home, attempt: FailedAttempt, *, before: str) -> str:
    """When what is stored of the asset of this partition was made; "" if nothing good is stored from before that time."""
    commit = home.tables.commit(attempt.asset, attempt.crawl) if before else None
    if commit is None or commit.written_at >= before:
        return ""
    return "" if home.tables.quarantine_reason(attempt.asset, attempt.crawl) is not None else commit.written_at


@contextmanager
def _alone(home: Home) -> Iterator[None]:
    """Nobody else changes the table, on this machine or on another host of a shared home."""
    with home.alone(TABLE, log=console.info), home.held(TABLE, log=console.info):
        yield


def _row(home: Home, attempt: FailedAttempt, run_id: str) -> dict[str, str]:
    landed = home.tables.commit(LANDED, attempt.crawl)
    return {
        "asset": attempt.asset,
        "crawl": attempt.crawl,
        "code_version": attempt.code_version,
        "delivery": landed.data_version if landed else "",
        "error": attempt.error[:MAX_ERROR_CHARACTERS],
        "attempted_at": utc_now(),
        "run_id": run_id,
    }


def _place(row: Mapping[str, str]) -> tuple[str, str]:
    return row["asset"], row["crawl"]


def _rows(home: Home) -> list[dict[str, str]]:
    """What is kept; nothing where that cannot be read, which must not keep a failure from being told or a run from ending."""
    try:
        rows = home.tables.read(TABLE).to_pylist() if home.tables.commit(TABLE, None) is not None else []
    except (pa.ArrowInvalid, DataError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk or the store; Parquet's own have none
            raise
        file = home.tables.set_aside(TABLE, None)
        console.warning("%s cannot be read (%s): set aside as *.torn, failed attempts are counted anew", file, error)
        return []
    return [{"run_id": "", **row} for row in rows]


def _write(home: Home, rows: Sequence[dict[str, str]]) -> None:
    with home.tables.write(TABLE, FAILED_ATTEMPTS, partition=None, provenance=PROVENANCE) as table:
        table.append(rows)
