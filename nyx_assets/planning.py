"""What a run would do before it does it: which assets it makes and why, and what it asks of VLMs: calls, tokens, money,
hours and disk, each as a range, per asset and role.

Counted where the inputs of an asset are made: its requests are built and looked up among the kept replies. Sampled where
they are not: from the pages that would become its chunks, from earlier partitions, from the ledger. Assumed where
nothing is known. Nothing is asked and nothing is written.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from resources.vlm_bookings import Elsewhere
from resources.vlm_budget import Caps, Spending

Basis = Literal["counted", "sampled", "assumed"]
Outlook = Literal["will", "may", "blocked", "current"]
"""will: made, if nothing fails. may: made if the content of an input that is made again changes. blocked: an input is missing
or quarantined, and nothing that is ahead mends it."""

ASKING_ASSETS = (
    "chunk_captions",
    "raw_qa",
    "filtered_qa",
    "negatives",
    "feedback_preferences",
    "caption_embeddings",
    "retrieval_scores",
    "rag_scores",
)
"""Assets that ask a VLM or an embeddings server, in the order in which they are made; of those made together, the one that the calls go under."""


def asking_order(asset: str) -> int | None:
    """The place of an asset among ASKING_ASSETS, that of a further feedback round beside the first; None if it asks none."""
    name = asset.rpartition("/")[2]
    return ASKING_ASSETS.index(name) if name in ASKING_ASSETS else None


REPLY_BYTES = 4096
"""A kept reply is a file, and a file takes a block of the disk at least."""
BYTES_A_TOKEN = 4
ROW_BYTES = 900
"""Of a call in the ledger and the journal together, and of what it adds to a compressed table."""


@dataclass(frozen=True, slots=True)
class Range:
    """A number that is not known yet: hardly less than `low`, hardly more than `high`."""

    low: float
    likely: float
    high: float

    @classmethod
    def exactly(cls, value: float) -> "Range":
        return cls(value, value, value)

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.likely + other.likely, self.high + other.high)

    def __mul__(self, other: "Range | float") -> "Range":
        factor = other if isinstance(other, Range) else Range.exactly(other)
        return Range(self.low * factor.low, self.likely * factor.likely, self.high * factor.high)

    def over(self, whole: "Range") -> "Range":
        """This for each of `whole`, which both grew with."""
        return Range(self.low / whole.low, self.likely / whole.likely, self.high / whole.high)

    def at_least(self, value: float) -> "Range":
        return Range(max(self.low, value), max(self.likely, value), max(self.high, value))

    def at_most(self, value: float) -> "Range":
        return Range(min(self.low, value), min(self.likely, value), min(self.high, value))

    def less(self, known: float) -> "Range":
        """What is left when `known` of it is there already."""
        return Range(self.low - known, self.likely - known, self.high - known).at_least(0)

    def to_json(self) -> dict[str, float]:
        return {"low": round(self.low, 6), "likely": round(self.likely, 6), "high": round(self.high, 6)}

    def text(self, form: str = ",.0f") -> str:
        if f"{self.low:{form}}" == f"{self.high:{form}}":
            return f"{self.likely:{form}}"
        return f"{self.likely:{form}} ({self.low:{form}} to {self.high:{form}})"


NOTHING = Range.exactly(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCalls:
    """Calls of one asset, in one partition or whole, to one role, that are not answered yet."""

    asset: str
    partition: str | None
    role: str
    """Or the name of a further generator."""
    calls: Range
    kept: int = 0
    """Calls beside these whose reply is there already."""
    saved: Range = Range(0, 0, 0)
    """Calls that early stop is going to leave out."""
    input_tokens: Range
    output_tokens: Range
    basis: Basis


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedWork:
    """One partition of an asset, or a whole one, that a run makes, may make, or leaves out."""

    asset: str
    partition: str | None
    outlook: Outlook
    reasons: tuple[str, ...]
    seconds: float | None
    """By what it took before, waiting for replies included; None for what was never timed in this home."""
    num_bytes: float | None
    """Of its table; None where none of its kind lies there."""

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleTerms:
    """What calls to a role cost and how fast they are answered."""

    model: str
    is_free: bool
    """True for the offline stand-in, which is asked in process."""
    max_in_flight: int
    usd_per_input_token: float
    usd_per_output_token: float
    seconds_a_call: Range


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanLine:
    """One asset and role, over all its partitions."""

    asset: str
    role: str
    model: str
    is_free: bool
    basis: Basis
    partitions: int
    calls: Range
    kept: int
    saved: Range
    input_tokens: Range
    output_tokens: Range
    usd: Range
    hours: Range
    disk_bytes: Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is ahead, and what was spent already under which caps."""

    lines: Sequence[PlanLine]
    spent: Spending
    """By all hosts of the home."""
    interrupted: int
    """Calls that a killed process had under way: counted as spent, some of them perhaps billed twice."""
    caps: Caps
    work: Sequence[PlannedWork]
    """Everything that a run makes or may make, in its order."""
    refused: Sequence[str] = field(default=())
    """Deliveries that cannot be read, with the reason."""
    elsewhere: Elsewhere | None = None
    """What other hosts had of what was spent, and may still spend; None where none share the home."""

    def total(self, name: str) -> Range:
        """Sum of a column over what is paid; hours add up, because the stages follow each other."""
        return sum((getattr(line, name) for line in self.lines if not line.is_free), NOTHING)

    @property
    def seconds_of_work(self) -> Range:
        """What is made without waiting for a paid VLM: from what is certain to all that is possible."""
        paid = {line.asset for line in self.lines if not line.is_free}
        will, may = (
            sum(one.seconds or 0.0 for one in self.work if one.outlook == outlook and one.asset not in paid)
            for outlook in ("will", "may")
        )
        return Range(will, will + may / 2, will + may)

    @property
    def bytes_of_tables(self) -> Range:
        """What the tables take that are made, pictures and checkpoints not counted."""
        will, may = (
            sum(one.num_bytes or 0.0 for one in self.work if one.outlook == outlook) for outlook in ("will", "may")
        )
        return Range(will, will + may / 2, will + may)

    @property
    def never_timed(self) -> list[str]:
        """Assets ahead of which nobody knows how long they take."""
        return list(dict.fromkeys(one.asset for one in self.work if one.seconds is None and one.outlook != "blocked"))

    @property
    def caps_in_the_way(self) -> list[str]:
        """Caps that what is likely ahead, with what was spent, would pass."""
        tokens = self.total("input_tokens") + self.total("output_tokens")
        ahead = Spending(
            calls=round(self.total("calls").likely), tokens=round(tokens.likely), usd=self.total("usd").likely
        )
        return self.caps.passed_by(self.spent + ahead)


def lines_of(planned: Iterable[PlannedCalls], terms_by_role: Mapping[str, RoleTerms]) -> list[PlanLine]:
    """The planned calls added up by asset and role, in the order of ASKING_ASSETS, with what they come to."""
    groups: dict[tuple[str, str], list[PlannedCalls]] = {}
    for one in sorted(planned, key=lambda one: asking_order(one.asset) or 0):
        groups.setdefault((one.asset, one.role), []).append(one)
    return [_line(asset, group, terms_by_role[role]) for (asset, role), group in groups.items()]


def _line(asset: str, group: Sequence[PlannedCalls], terms: RoleTerms) -> PlanLine:
    calls = sum((one.calls for one in group), NOTHING)
    input_tokens = sum((one.input_tokens for one in group), NOTHING)
    output_tokens = sum((one.output_tokens for one in group), NOTHING)
    is_free = terms.is_free
    return PlanLine(
        asset=asset,
        role=group[0].role,
        model=terms.model,
        is_free=is_free,
        basis=max((one.basis for one in group), key=("counted", "sampled", "assumed").index),
        partitions=len(group),
        calls=calls,
        kept=sum(one.kept for one in group),
        saved=sum((one.saved for one in group), NOTHING),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        usd=input_tokens * terms.usd_per_input_token + output_tokens * terms.usd_per_output_token,
        hours=NOTHING if is_free else calls * terms.seconds_a_call * (1 / terms.max_in_flight / 3600),
        disk_bytes=NOTHING if is_free else calls * (REPLY_BYTES + ROW_BYTES) + output_tokens * BYTES_A_TOKEN,
    )


def plan_json(plan: Plan) -> dict[str, Any]:
    """The plan as data."""
    names = ("calls", "input_tokens", "output_tokens", "usd", "hours", "disk_bytes")
    return {
        "lines": [
            {
                "asset": line.asset,
                "role": line.role,
                "model": line.model,
                "is_free": line.is_free,
                "basis": line.basis,
                "partitions": line.partitions,
                "kept": line.kept,
                "saved": line.saved.to_json(),
                **{name: getattr(line, name).to_json() for name in names},
            }
            for line in plan.lines
        ],
        "total": {name: plan.total(name).to_json() for name in names},
        "spent": _amounts(plan.spent),
        "spent_elsewhere": _amounts(plan.elsewhere.spent if plan.elsewhere else Spending()),
        "booked_elsewhere": _amounts(plan.elsewhere.booked if plan.elsewhere else Spending()),
        "interrupted": plan.interrupted,
        "caps_in_the_way": plan.caps_in_the_way,
        "work": [one.to_json() for one in plan.work],
        "seconds_of_work": plan.seconds_of_work.to_json(),
        "bytes_of_tables": plan.bytes_of_tables.to_json(),
        "never_timed": plan.never_timed,
        "refused": list(plan.refused),
    }


def _amounts(spending: Spending) -> dict[str, float]:
    return {"calls": spending.calls, "tokens": spending.tokens, "usd": spending.usd}


def spending_text(spent: Spending, elsewhere: Elsewhere | None) -> str:
    """What was spent, for a person.

    Args:
        spent: by all hosts.
    """
    if elsewhere is None:
        return f"Spent so far: {spent}"
    text = f"Spent so far by all hosts of the home: {spent}; by others than this one: {elsewhere.spent}"
    if elsewhere.hosts:
        text += f"; booked by {', '.join(elsewhere.hosts)} beside: {elsewhere.booked}"
    return text


def plan_text(plan: Plan) -> str:
    """The plan for a person: likely numbers, with the range where they are not certain."""
    lines = []
    for line in plan.lines:
        paid = "free" if line.is_free else f"{line.usd.text(',.2f')} USD, {line.hours.text(',.2g')} h"
        kept = f", {line.kept:,} answered already" if line.kept else ""
        if line.saved.high:
            all_calls = line.calls.likely + line.kept + line.saved.likely
            kept += f", {line.saved.text()} saved by early stop ({line.saved.likely / all_calls:.0%})"
        lines.append(
            f"{line.asset}, {line.role} {line.model}: {line.calls.text()} calls{kept}; {line.input_tokens.text()} tokens "
            f"in, {line.output_tokens.text()} out; {paid} [{line.basis}]"
        )
    total = (
        f"{plan.total('calls').text()} calls, {plan.total('input_tokens').text()} tokens in, "
        f"{plan.total('output_tokens').text()} out, {plan.total('usd').text(',.2f')} USD, "
        f"{plan.total('hours').text(',.2g')} hours, {(plan.total('disk_bytes') * 1e-6).text(',.1f')} MB of disk"
    )
    lines += [
        "" if lines else "Nothing is to be asked of a VLM.",
        f"To pay: {total}",
        spending_text(plan.spent, plan.elsewhere),
    ]
    if plan.interrupted:
        lines.append(f"Calls that a killed run had under way, perhaps billed twice: {plan.interrupted:,}")
    if plan.caps_in_the_way:
        lines.append(f"Stops on the way at {', '.join(plan.caps_in_the_way)}; what is answered until then is kept.")
    lines += [f"Refused: {reason}" for reason in plan.refused]
    return "\n".join([*_work_lines(plan), *lines])


MAX_REASONS = 3
"""Choice: what a person reads of one asset; `--json` has all."""

TITLES: tuple[tuple[Outlook, str], ...] = (
    ("will", "A run makes"),
    ("may", "and, only if the content of what they read changes,"),
    ("blocked", "It leaves out, until an input is there,"),
)


def _work_lines(plan: Plan) -> list[str]:
    """What is ahead, one line for all partitions of an asset that have the same reason."""
    if not plan.work:
        return ["Everything is current: a run makes nothing.", ""]
    lines = []
    for outlook, title in TITLES:
        partitions_by_reason: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        for one in plan.work:
            if one.outlook == outlook:
                partitions_by_reason.setdefault((one.asset, one.reasons), []).append(one.partition or "")
        if partitions_by_reason:
            lines.append(f"{title}:")
        for (asset, reasons), partitions in partitions_by_reason.items():
            number = f" ({len(partitions)} partitions)" if len(partitions) > 1 else f" {partitions[0]}".rstrip()
            more = f"; and {len(reasons) - MAX_REASONS} more" if len(reasons) > MAX_REASONS else ""
            lines.append(f"  {asset}{number}: {'; '.join(reasons[:MAX_REASONS])}{more}")
    untimed = f"; never timed: {', '.join(plan.never_timed)}" if plan.never_timed else ""
    seconds, megabytes = plan.seconds_of_work, plan.bytes_of_tables * 1e-6
    return [
        *lines,
        f"Besides paid calls: {seconds.text()} s of work, {megabytes.text(',.1f')} MB of tables{untimed}",
        "",
    ]
