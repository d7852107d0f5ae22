"""When a server may be asked again, and when it wants to be: shared by all that asks over HTTP."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

RETRIED_STATUSES = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
"""Statuses that a later attempt may not meet: time-outs, conflicts, rate limits, an overloaded or restarting server."""


def retry_after_seconds(header: str | None, *, now: datetime) -> float:
    """Seconds that a Retry-After header asks to wait; 0 where it is absent or unreadable.

    Source: RFC 9110, section 10.2.3: a number of seconds or an HTTP date.
    """
    if header is None:
        return 0.0
    if header.strip().isdigit():
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds())
