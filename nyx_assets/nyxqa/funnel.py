"""The funnel: how many chunks and pairs went into each step and came out, why the others did not, and what it cost."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from nyx_assets.funnels import HEADER, cells_of, summed
from nyx_assets.nyxqa.asking import Tally
from nyx_assets.previews import markdown_preview
from resources.home import Home
from training_kernels.images import PictureSource

Row = Mapping[str, Any]

EXAMPLES_A_STEP = 3
"""Rejected rows that a step names; their whole text stands in `rejected_qa`."""


@dataclass(kw_only=True)
class FunnelStep:
    """One step of one partition, while it is counted."""

    check: str
    unit: Literal["chunk", "pair"]
    num_in: int
    threshold: float | None = None
    tally: Tally = field(default_factory=Tally)
    num_marked: int = 0
    num_refined: int = 0
    rejected_by_rule: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def reject(self, rule: str, *, example: str) -> None:
        """Count one that goes no further."""
        self.rejected_by_rule[rule] += 1
        if len(self.examples) < EXAMPLES_A_STEP:
            self.examples.append(example)

    @property
    def num_rejected(self) -> int:
        return sum(self.rejected_by_rule.values())


def step_of_sampling(sampled: Iterable[Row]) -> FunnelStep:
    """The step "sample", from rows of `sampled_chunks`."""
    rows = list(sampled)
    step = FunnelStep(check="sample", unit="chunk", num_in=len(rows))
    for row in rows:
        if row["reason"] is not None:
            step.reject(row["reason"].partition(":")[0], example=row["chunk_id"])
    return step


def step_of_writing(raw: Iterable[Row], *, num_chunks: int) -> FunnelStep:
    """The step "write", from rows of `raw_qa`: of the chunks asked about, those that have at least one pair.

    A chunk without one counts under the rule of its first row.
    """
    step = FunnelStep(check="write", unit="chunk", num_in=num_chunks)
    problem_by_chunk: dict[str, str | None] = {}
    refused_by_call: dict[tuple[str, str], bool] = {}
    for row in raw:
        rule = None if row["problem"] is None else row["problem"].partition(":")[0]
        known = problem_by_chunk.setdefault(row["chunk_id"], rule)
        problem_by_chunk[row["chunk_id"]] = None if rule is None else known
        refused_by_call[row["chunk_id"], row["variant"]] = rule == "refused_call"
        step.tally.asked = row["teacher"]
        step.tally.is_stand_in |= row["is_stand_in"]
        step.tally.input_tokens += row["input_tokens"]
        step.tally.output_tokens += row["output_tokens"]
        step.tally.cost_usd += row["cost_usd"]
    step.tally.num_calls = len(refused_by_call)
    step.tally.num_refused = sum(refused_by_call.values())
    for chunk_id, problem in problem_by_chunk.items():
        if problem is not None:
            step.reject(problem, example=chunk_id)
    return step


def funnel_rows(steps: Iterable[FunnelStep]) -> list[dict[str, Any]]:
    """Rows of `qa_funnel` without `crawl`, in order."""
    return [
        {
            "step": number,
            "check": step.check,
            "unit": step.unit,
            "threshold": step.threshold,
            "num_in": step.num_in,
            "num_out": step.num_in - step.num_rejected,
            "num_rejected": step.num_rejected,
            "rejected_by_rule": [
                {"rule": rule, "number": number} for rule, number in sorted(step.rejected_by_rule.items())
            ],
            "num_marked": step.num_marked,
            "num_refined": step.num_refined,
            "asked": step.tally.asked,
            "is_stand_in": step.tally.is_stand_in,
            "num_calls": step.tally.num_calls,
            "num_refused_calls": step.tally.num_refused,
            "input_tokens": step.tally.input_tokens,
            "output_tokens": step.tally.output_tokens,
            "cost_usd": step.tally.cost_usd,
            "request_digests": sorted(step.tally.paid_digests),
            "examples": step.examples,
        }
        for number, step in enumerate(steps, 1)
    ]


def funnel_text(home: Home) -> str:
    """The funnel over all partitions, for the command line; "" before there is one."""
    if not home.tables.partitions("qa_funnel"):
        return ""
    totals = summed(home.tables.read("qa_funnel").to_pylist())
    rows = [list(HEADER), *map(cells_of, totals)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    last = len(HEADER) - 1
    lines = [
        "  ".join(
            cell.ljust(widths[column]) if column in (0, last) else cell.rjust(widths[column])
            for column, cell in enumerate(row)
        ).rstrip()
        for row in rows
    ]
    played = sorted({total["asked"] for total in totals if total["is_stand_in"]})
    said = [f"Calls were answered by {', '.join(played)}: a stand-in, no VLM."] if played else []
    return "\n".join(["NyxQA funnel, all partitions:", *lines, *said])


def funnel_markdown(rows: Sequence[Row], rejected: Iterable[Row], images: PictureSource) -> str:
    """The funnel of one partition as Markdown, with examples of what each step refused, pictures included.

    Args:
        rows: rows of `qa_funnel`.
        rejected: rows of `rejected_qa`, from which the examples are taken.
    """
    totals = summed(rows)
    lines = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    lines += ["| " + " | ".join(cells_of(total)) + " |" for total in totals]
    named = {qa_id for row in rows for qa_id in row["examples"]}
    examples = [row for row in rejected if row["qa_id"] in named]
    if examples:
        columns = ["check", "question", "answer", "measured", "threshold", "reason"]
        lines += ["", "Examples of what was refused:", "", markdown_preview(examples, columns, images)]
    return "\n".join(lines)
