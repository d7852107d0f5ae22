"""How many calls early stop saves: foreseen from what earlier tries would have needed, and counted afterwards."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from math import sqrt
from operator import itemgetter
from statistics import fmean, stdev
from typing import Any

from nyx_assets.feedback.stopping import next_wave
from nyx_assets.feedback.windows import windows
from nyx_assets.planning import Range
from nyx_assets.recipes import FeedbackRecipe
from resources.home import Home

SAMPLED_QUERIES = 2000
"""Choice: of each partition, the first so many; two standard errors of a share are then 2 % of the calls at most."""
FEWEST_QUERIES = 10
"""Fewer queries say too little of others."""
OTHER_QUERIES = Range(0.8, 1.0, 1.25)
"""Choice: how far the mean of the queries tried before may be from that of others."""
LIKELY_SHARE = 0.5
"""Choice: of all calls, where nothing was tried yet; of what real retrievers find, the published grades are not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackCalls:
    """The calls of one query."""

    all_calls: int
    """Every window and the try without any document."""
    share: Range
    """Of them that is asked."""
    num_sampled: int
    """Queries that the share was seen on; 0 if it is assumed."""

    @property
    def asked(self) -> Range:
        return self.share * self.all_calls

    @property
    def saved(self) -> Range:
        return Range(*(self.all_calls - end for end in (self.asked.high, self.asked.likely, self.asked.low)))


def foreseen_calls(home: Home, recipe: FeedbackRecipe) -> FeedbackCalls:
    """What a query of this recipe is going to ask for, with a range: exactly all without early stop, else by what the
    stored tries of every partition show, or assumed where they are too few."""
    hits = [str(rank) for rank in range(recipe.top_k)]
    num_windows = len(windows(hits, length=recipe.window_length, stride=recipe.window_stride))
    all_calls = 1 + num_windows
    if not recipe.early_stop:
        return FeedbackCalls(all_calls=all_calls, share=Range.exactly(1.0), num_sampled=0)
    shares = [_share(tries, num_windows, recipe) for tries in _past_queries(home)]
    least = 1 / all_calls
    if len(shares) < FEWEST_QUERIES:
        share = Range(least, LIKELY_SHARE, 1.0).at_least(least)
        return FeedbackCalls(all_calls=all_calls, share=share, num_sampled=0)
    error = 2 * stdev(share.likely for share in shares) / sqrt(len(shares))
    seen = Range(*(fmean(getattr(share, end) for share in shares) for end in ("low", "likely", "high")))
    share = (seen + Range(-error, 0, error)).at_least(0) * OTHER_QUERIES
    share = share.at_least(least).at_most(1)
    return FeedbackCalls(all_calls=all_calls, share=share, num_sampled=len(shares))


def saved_text(foreseen: FeedbackCalls, *, num_queries: int, asked: int, left: int) -> str:
    """What was asked and saved, beside what was foreseen."""
    planned = foreseen.asked * num_queries
    share = left / (asked + left) if asked + left else 0.0
    basis = f"by {foreseen.num_sampled:,} queries tried before" if foreseen.num_sampled else "assumed"
    if foreseen.share == Range.exactly(1.0):
        basis = "since every window is asked"
    return (
        f"{asked:,} asked of {asked + left:,}, {share:.0%} saved; foreseen {planned.text()} asked, "
        f"{foreseen.saved.over(Range.exactly(foreseen.all_calls)).text('.0%')} saved, {basis}"
    )


def _past_queries(home: Home) -> Iterator[list[Mapping[str, Any]]]:
    """The stored tries of each query, at most SAMPLED_QUERIES of each partition."""
    names = ["qa_id", "window_rank", "grade"]
    for partition in home.tables.partitions("feedback_preferences"):
        batches = home.tables.batches("feedback_preferences", partition=partition, columns=names)
        rows = (row for batch in batches for row in batch.to_pylist())
        yield from islice((list(tries) for _, tries in groupby(rows, key=itemgetter("qa_id"))), SAMPLED_QUERIES)


def _share(tries: Sequence[Mapping[str, Any]], num_windows: int, recipe: FeedbackRecipe) -> Range:
    """The share of its calls that this recipe would have asked of a query: known, unless the recipe that was followed
    stopped sooner or had fewer windows; then all the rest may be asked, or one call more."""
    stored = {row["window_rank"]: row["grade"] for row in tries}
    all_calls = 1 + num_windows
    grades: dict[int, float | None] = {}
    while wave := next_wave(grades, num_windows, recipe):
        known = {rank: stored[rank] for rank in wave if rank in stored}
        grades |= known
        if len(known) < len(wave):
            low = len(grades) + 1
            return Range(low, (low + all_calls) / 2, all_calls) * (1 / all_calls)
    return Range.exactly(len(grades) / all_calls)
