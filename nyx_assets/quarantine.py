"""A crawl partition that fails for good is taken out, so that what is made of all partitions goes on without it.

Every failure is a row of `failed_attempts`. After so many of one asset, with the same code on the same delivery, each of
the partition's tables is marked, its landed_crawl first: readers of whole tables leave it out, and nothing is made of it
until somebody releases it or its delivery changes.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from nyx_assets.records import FAILED_ATTEMPTS
from resources.home import Home
from resources.tables import Provenance, utc_now

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


def note_failure(home: Home, attempt: FailedAttempt, *, max_attempts: int, began_at: str = "") -> bool:
    """Keep a failed attempt; True if it was the last one and the partition is quarantined now.

    Those from before the asset of the partition was last made, and passed its checks, are forgotten.

    Args:
        began_at: when this attempt began (ISO 8601, UTC): what it stored itself before it failed is no success. Without
            it nothing is forgotten.
    """
    if attempt.error_kind in NOT_THE_PARTITIONS_FAULT:
        return False
    landed = home.tables.commit(LANDED, attempt.crawl)
    delivery = landed.data_version if landed else ""
    row = {
        "asset": attempt.asset,
        "crawl": attempt.crawl,
        "code_version": attempt.code_version,
        "delivery": delivery,
        "error": attempt.error[:MAX_ERROR_CHARACTERS],
        "attempted_at": utc_now(),
    }
    with _alone(home):
        made_at = _made_at(home, attempt, before=began_at)
        of_this = (attempt.asset, attempt.crawl)
        kept = [one for one in _rows(home) if (one["asset"], one["crawl"]) != of_this or one["attempted_at"] >= made_at]
        rows = [*kept, row]
        _write(home, rows)
    same = [
        one for one in rows if all(one[name] == row[name] for name in ("asset", "crawl", "code_version", "delivery"))
    ]
    if len(same) < max_attempts or home.tables.quarantine_reason(LANDED, attempt.crawl) is not None:
        return False
    quarantine_partition(
        home, attempt.crawl, f"{attempt.asset} failed {len(same)} times, last: {attempt.error[:MAX_ERROR_CHARACTERS]}"
    )
    return True


def note_success(home: Home, asset: str, crawl: str) -> None:
    """Forget the failures of an asset of a partition: it can be made after all."""
    if not any(row["asset"] == asset and row["crawl"] == crawl for row in _rows(home)):
        return
    with _alone(home):
        _write(home, [row for row in _rows(home) if (row["asset"], row["crawl"]) != (asset, crawl)])


def quarantine_partition(home: Home, crawl: str, reason: str) -> None:
    """Take a partition out of everything that is made of all partitions. What is stored of it stays."""
    for asset in [LANDED, *home.tables.assets()]:
        if home.tables.commit(asset, crawl) is not None and home.tables.quarantine_reason(asset, crawl) is None:
            home.tables.quarantine(asset, crawl, MARK + reason)


def release_partition(home: Home, crawl: str) -> bool:
    """Let a partition in again and forget its failures; False if it was not out.

    A table that one of its own checks has marked stays marked: it is made again by the next run.
    """
    if not is_quarantined(home, crawl):
        return False
    with _alone(home):
        _write(home, [row for row in _rows(home) if row["crawl"] != crawl])
    # landed_crawl last: while it is marked, a release that was cut short can be repeated
    for asset in [*(name for name in home.tables.assets() if name != LANDED), LANDED]:
        if (home.tables.quarantine_reason(asset, crawl) or "").startswith(MARK):
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
    commit = home.tables.commit(attempt.asset, attempt.crawl)
    if commit is None or commit.written_at >= before:
        return ""
    return "" if home.tables.quarantine_reason(attempt.asset, attempt.crawl) is not None else commit.written_at


@contextmanager
def _alone(home: Home) -> Iterator[None]:
    """Nobody else changes the table, on this machine or on another host of a shared home."""
    with home.alone(TABLE, log=console.info), home.held(TABLE, log=console.info):
        yield


def _rows(home: Home) -> list[dict[str, str]]:
    return home.tables.read(TABLE).to_pylist() if home.tables.commit(TABLE, None) is not None else []


def _write(home: Home, rows: Sequence[dict[str, str]]) -> None:
    with home.tables.write(TABLE, FAILED_ATTEMPTS, partition=None, provenance=PROVENANCE) as table:
        table.append(rows)
