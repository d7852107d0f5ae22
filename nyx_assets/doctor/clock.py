"""Does the clock of this machine agree with what is stored?"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from nyx_assets.doctor.findings import Finding, bad, good
from resources.home import Home
from training_kernels.errors import DataError

TOLERANCE = timedelta(minutes=2)
"""Choice: hosts that keep time by NTP differ by less than a second."""
LEAST_YEAR = 2026
"""Nothing of this project was made before; a clock that says so has lost its battery."""


def newest(home: Home) -> tuple[datetime, str] | None:
    """When the latest table was committed, and its name; None for a home without tables.

    Of tables without partitions, which are made after those with: ten thousand partitions are not looked through.
    """
    return max(_moments(home), default=None)


def _moments(home: Home) -> Iterator[tuple[datetime, str]]:
    for asset in home.tables.assets():
        try:
            commit = home.tables.commit(asset, None)
        except (DataError, pa.ArrowException, OSError):  # the check of tables names it
            continue
        if commit is not None:
            yield datetime.fromisoformat(commit.written_at), asset


def examine_clock(home: Home, now: datetime) -> Finding:
    """Whether now is after everything that was made: a clock that was set back misdates rows and counts caps wrongly."""
    said = now.astimezone(UTC).isoformat(timespec="seconds")
    if now.year < LEAST_YEAR:
        return bad(
            "clock", f"{said}, which is before this project was written", "set the clock (timedatectl set-ntp true)"
        )
    last = newest(home)
    if last is not None and last[0] > now + TOLERANCE:
        return bad(
            "clock",
            f"{said}, but {last[1]} was made at {last[0].isoformat()}: the clock was set back, or another host's is ahead",
            "set the clocks of all hosts by NTP; tables stay good, since what is current is decided by content",
        )
    return good("clock", said)
