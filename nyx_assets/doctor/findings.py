"""What an examination found: one line a check, good, or what to do."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["good", "note", "bad"]
"""A note is nothing that stops a run, but something to know: no GPU, a table that waits for the next run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The outcome of one check."""

    check: str
    verdict: Verdict
    said: str
    """What was found."""
    remedy: str = ""
    """What to do; empty where there is nothing to do."""

    def __str__(self) -> str:
        line = f"{self.verdict:<4}  {self.check:<18}  {self.said}"
        return f"{line} -> {self.remedy}" if self.remedy else line


def good(check: str, said: str) -> Finding:
    return Finding(check=check, verdict="good", said=said)


def note(check: str, said: str, remedy: str = "") -> Finding:
    return Finding(check=check, verdict="note", said=said, remedy=remedy)


def bad(check: str, said: str, remedy: str) -> Finding:
    return Finding(check=check, verdict="bad", said=said, remedy=remedy)


def findings_json(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """The findings as data."""
    return [asdict(finding) for finding in findings]


def one_line(text: object) -> str:
    return " ".join(str(text).split())
