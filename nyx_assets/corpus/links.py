"""Which pictures on the web were had and which are lost, counted by host and cause: how far links have rotted."""

from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from resources.fetching import WebSession
from resources.home import Home
from resources.images import PictureRefused, StoredImage

TAKEN = "taken"
"""Stands where a loss has its rule."""

UNREADABLE_HOST = "(no host)"
SHOWN_CHARACTERS = 200
SHOWN_LOSSES = 5
"""Choice: what a person reads of a thousand hosts; the table has the rest."""


class WebLinks:
    """References to pictures on the web, each followed and counted. Its counts grow with hosts, not with pages."""

    def __init__(self, session: WebSession) -> None:
        self._session = session
        self._num_references: Counter[tuple[str, str]] = Counter()
        self._example: dict[tuple[str, str], str] = {}

    def expect(self, address: str) -> None:
        """Say that this picture will be asked for soon."""
        self._session.expect(address)

    def take(self, address: str) -> StoredImage:
        """The picture behind a reference, in the store. Raises PictureRefused."""
        try:
            stored = self._session.take(address)
        except PictureRefused as refusal:
            self._count(address, refusal.rule)
            raise
        self._count(address, TAKEN)
        return stored

    def _count(self, address: str, rule: str) -> None:
        key = (host_of(address), rule)
        self._num_references[key] += 1
        self._example.setdefault(key, address[:SHOWN_CHARACTERS])

    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows of `link_rot`: hosts with the most losses first, and of a host the most frequent cause first."""
        total: Counter[str] = Counter()
        lost: Counter[str] = Counter()
        for (host, rule), count in self._num_references.items():
            total[host] += count
            lost[host] += count if rule != TAKEN else 0

        def rank(key: tuple[str, str]) -> tuple[int, str, int, str]:
            host, rule = key
            return -lost[host], host, -self._num_references[key], rule

        for host, rule in sorted(self._num_references, key=rank):
            count = self._num_references[host, rule]
            yield {
                "host": host,
                "rule": rule,
                "num_references": count,
                "share": count / total[host],
                "example": self._example[host, rule],
            }

    @property
    def num_lost(self) -> int:
        """References that led to no picture."""
        return sum(count for (_, rule), count in self._num_references.items() if rule != TAKEN)

    @property
    def num_taken(self) -> int:
        return sum(count for (_, rule), count in self._num_references.items() if rule == TAKEN)


def host_of(address: str) -> str:
    """The host of an address in lower case, or UNREADABLE_HOST."""
    try:
        return urlsplit(address).hostname or UNREADABLE_HOST
    except ValueError:
        return UNREADABLE_HOST


def link_rot_text(home: Home) -> str:
    """The losses over all partitions by host and cause, the greatest few, for the command line; "" if there are none."""
    if not home.tables.partitions("link_rot"):
        return ""
    counts = home.tables.query(
        "SELECT host, rule, sum(num_references)::BIGINT AS num, min(example) AS example, "
        "(sum(sum(num_references)) OVER (PARTITION BY host))::BIGINT AS of_host FROM link_rot GROUP BY host, rule "
        "ORDER BY num DESC, host, rule",
        of={"link_rot": None},
    ).to_pylist()
    losses = [count for count in counts if count["rule"] != TAKEN]
    if not losses:
        return ""
    num_lost, num_references = sum(loss["num"] for loss in losses), sum(count["num"] for count in counts)
    lines = [
        f"Pictures on the web: {num_lost:,} of {num_references:,} references lost ({num_lost / num_references:.0%}); "
        "most of them:"
    ]
    lines += [
        f"  {loss['host']}: {loss['num']:,} of {loss['of_host']:,} {loss['rule']}, e.g. {loss['example']}"
        for loss in losses[:SHOWN_LOSSES]
    ]
    if len(losses) > SHOWN_LOSSES:
        lines.append(f"  and {len(losses) - SHOWN_LOSSES:,} more hosts and causes: SELECT * FROM link_rot")
    return "\n".join(lines)
