"""The first thing to read: is the tuned retriever better, by how much, how sure, and on what."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nyx_assets.figures import metric_name
from nyx_assets.report.reading import Row, rows_of
from nyx_assets.retrievers import BM25, FINETUNED, PRETRAINED, UNTRAINED
from resources.home import Home

SUITE, SPLIT, METRIC = "nyxqa", "test", "ndcg@10"
BASELINES = (UNTRAINED.name, PRETRAINED.name, BM25)
BETTER, WORSE, NOT_TOLD_APART, NO_INTERVAL = "better", "worse", "not told apart", "no interval"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The tuned retriever beside another one, on the test questions."""

    against: str
    value: float
    against_value: float
    interval: tuple[float, float] | None
    """95 % of the difference; None while nobody has computed it."""
    num_queries: int

    @property
    def difference(self) -> float:
        return self.value - self.against_value

    @property
    def outcome(self) -> str:
        """By the interval alone: a difference whose interval holds 0 says nothing."""
        if self.interval is None:
            return NO_INTERVAL
        low, high = self.interval
        return BETTER if low > 0 else WORSE if high < 0 else NOT_TOLD_APART

    @property
    def words(self) -> str:
        """The comparison as a sentence, but for its end."""
        sign = f"{self.difference:+.3f}".replace("-", "−")
        said = f"{self.value:.3f} against {self.against_value:.3f}, a difference of {sign}"
        if self.interval is None:
            return f"{said}; no interval is computed"
        low, high = (f"{end:+.3f}".replace("-", "−") for end in self.interval)
        return f"{said} (95 % interval {low} to {high})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The headline, with what it rests on."""

    headline: str
    outcome: str
    metric: str
    num_queries: int
    comparisons: tuple[Comparison, ...]
    gate: Row | None
    """The newest row of quality_gate."""


def verdict_of(home: Home) -> Verdict:
    """What the tables say so far."""
    comparisons = _compared(home)
    gates = rows_of(home, "quality_gate")
    if not comparisons:
        headline, outcome = "Nothing is evaluated yet.", NO_INTERVAL
    else:
        first = comparisons[0]
        outcome = first.outcome
        by = f"{abs(first.difference):.3f} {metric_name(METRIC)}"
        headline = {
            BETTER: f"The tuned retriever is better than the untrained backbone, by {by}.",
            WORSE: f"The tuned retriever is worse than the untrained backbone, by {by}.",
            NOT_TOLD_APART: "The tuned retriever is not shown to be better than the untrained backbone.",
            NO_INTERVAL: f"The tuned retriever scores {'higher' if first.difference > 0 else 'no higher'} than the "
            "untrained backbone; whether by chance is not computed.",
        }[outcome]
    return Verdict(
        headline=headline,
        outcome=outcome,
        metric=metric_name(METRIC),
        num_queries=comparisons[0].num_queries if comparisons else 0,
        comparisons=tuple(comparisons),
        gate=gates[-1] if gates else None,
    )


def _compared(home: Home) -> list[Comparison]:
    """With each baseline in turn: from the paired differences where they are made, else from the scores alone."""
    by_baseline = {
        row["against"]: Comparison(
            against=row["against"],
            value=row["value"],
            against_value=row["against_value"],
            interval=(row["interval_low"], row["interval_high"]),
            num_queries=row["num_queries"],
        )
        for row in rows_of(home, "retrieval_differences")
        if (row["suite"], row["split"], row["metric"]) == (SUITE, SPLIT, METRIC) and row["retriever"] == FINETUNED.name
    }
    scores = {row["retriever"]: row for row in main_scores(home) if row["metric"] == METRIC}
    if not by_baseline and FINETUNED.name in scores:
        tuned = scores[FINETUNED.name]
        by_baseline = {
            name: Comparison(
                against=name,
                value=tuned["value"],
                against_value=row["value"],
                interval=None,
                num_queries=tuned["num_queries"],
            )
            for name, row in scores.items()
        }
    return [by_baseline[name] for name in BASELINES if name in by_baseline]


def main_scores(home: Home, *, every_dim: bool = False) -> list[Row]:
    """Scores over all test questions, at full width unless every dim is asked for."""
    rows = [
        row
        for row in rows_of(home, "retrieval_scores")
        if (row["suite"], row["split"], row["modality"]) == (SUITE, SPLIT, "all")
    ]
    return rows if every_dim else _at_full_width(rows)


def _at_full_width(rows: Sequence[dict[str, Any]]) -> list[Row]:
    widest: dict[str, int] = {}
    for row in rows:
        widest[row["retriever"]] = max(row["dim"], widest.get(row["retriever"], 0))
    return [row for row in rows if row["dim"] == widest[row["retriever"]]]
