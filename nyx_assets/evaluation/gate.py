"""The quality gate: a retriever goes live only if it is shown to be better than the one that is live."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
NUM_RESAMPLES = 10_000
"""Choice: the ends of a 95 % interval then move by about 0.002 standard deviations between seeds."""

BLOCK_CELLS = 2_000_000
"""Drawn rows held at once: 16 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the gate says, and why."""

    promote: bool
    reason: str
    difference: float
    """Mean score of the candidate minus that of the live retriever, over the queries that both have."""
    interval: tuple[float, float]
    """Paired bootstrap interval of the difference at CONFIDENCE."""
    num_queries: int


def decide(
    candidate_scores: Mapping[str, float], live_scores: Mapping[str, float] | None, *, metric: str, seed: int
) -> Decision:
    """Whether the candidate retriever replaces the live one.

    It does if nothing is live, or if the whole interval of the difference lies above zero. Choice: a tie, and a gain
    that chance could explain, keep what is live, for swapping costs an index and gains nothing.

    Args:
        candidate_scores: score of each dev query by its id.
        live_scores: the same of the live retriever; None if nothing is live.
        metric: name of the score, for the reason.
    """
    if live_scores is None:
        mean = float(np.mean(list(candidate_scores.values()))) if candidate_scores else 0.0
        return Decision(
            promote=True,
            reason="nothing is live",
            difference=mean,
            interval=(mean, mean),
            num_queries=len(candidate_scores),
        )
    shared = sorted(candidate_scores.keys() & live_scores.keys())
    if not shared:
        return Decision(
            promote=False,
            reason="no dev query was scored for both; evaluate both retrievers on the same suite",
            difference=0.0,
            interval=(0.0, 0.0),
            num_queries=0,
        )
    difference_Q = np.array([candidate_scores[query_id] - live_scores[query_id] for query_id in shared])
    low, high = bootstrap_interval(difference_Q, seed=seed)
    is_better = low > 0
    difference = float(difference_Q.mean())
    verdict = "is better" if is_better else "is not shown to be better"
    return Decision(
        promote=is_better,
        reason=f"the candidate {verdict}: {metric} differs by {difference:+.4f} "
        f"({CONFIDENCE:.0%} interval {low:+.4f} to {high:+.4f}, {len(shared)} queries)",
        difference=difference,
        interval=(low, high),
        num_queries=len(shared),
    )


def bootstrap_interval(value_Q: np.ndarray, *, seed: int) -> tuple[float, float]:
    """Ends of the percentile bootstrap interval of a mean, over queries drawn with replacement.

    Of differences between two retrievers on the same queries it is the paired bootstrap.
    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    rng = np.random.default_rng(seed)
    step = max(1, BLOCK_CELLS // len(value_Q))
    means = [
        value_Q[rng.integers(len(value_Q), size=(min(step, NUM_RESAMPLES - start), len(value_Q)))].mean(axis=1)
        for start in range(0, NUM_RESAMPLES, step)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
