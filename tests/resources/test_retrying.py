"""What a Retry-After header asks for."""

from datetime import UTC, datetime

import pytest

from resources.retrying import retry_after_seconds


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (" 120 ", 120.0),
        ("Thu, 01 Jan 2026 12:01:30 GMT", 90.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("soon", 0.0),
        (None, 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(header, seconds):
    assert retry_after_seconds(header, now=datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)) == seconds
