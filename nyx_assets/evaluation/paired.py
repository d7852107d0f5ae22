"""Differences between two retrievers on the same queries: how large, how sure, and whether chance explains them.

Shape letters: Q queries, M differences measured at once, R resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

CONFIDENCE = 0.95
NUM_RESAMPLES = 10_000
"""Choice: the ends of a 95 % interval then move by about 0.002 standard deviations between seeds, and the smallest
p-value that can be told is 0.0001."""

BLOCK_CELLS = 2_000_000
"""Drawn rows held at once: 16 MB."""
ROUNDING = 1e-12
"""A mean of flipped differences this near to the observed one is as extreme: they differ by the order of summation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """One difference of means over the same queries."""

    difference: float
    low: float
    """Ends of the paired bootstrap interval of the difference at CONFIDENCE."""
    high: float
    p_value: float
    """Of the two-sided randomisation test: the share of random swaps of the two sides with a difference as large."""
    num_queries: int


def paired(difference_QM: np.ndarray, *, seed: int) -> list[Paired]:
    """Interval and test of the mean of each column, all by the same draws of queries.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13; Smucker, Allan and Carterette 2007,
    A comparison of statistical significance tests for information retrieval evaluation, CIKM, section 3.
    """
    num_queries, num_columns = difference_QM.shape
    if num_queries == 0:
        return [Paired(difference=0.0, low=0.0, high=0.0, p_value=1.0, num_queries=0)] * num_columns
    rng = np.random.default_rng(seed)
    mean_M = difference_QM.mean(axis=0)
    step = max(1, BLOCK_CELLS // num_queries)
    drawn, num_extreme_M = [], np.zeros(num_columns)
    for start in range(0, NUM_RESAMPLES, step):
        num_rows = min(step, NUM_RESAMPLES - start)
        drawn_RQ = rng.integers(num_queries, size=(num_rows, num_queries))
        places = drawn_RQ + num_queries * np.arange(num_rows)[:, None]
        times_RQ = np.bincount(places.ravel(), minlength=num_rows * num_queries).reshape(num_rows, num_queries)
        drawn.append(times_RQ.astype(np.float64) @ difference_QM / num_queries)
        sign_RQ = rng.integers(2, size=(num_rows, num_queries), dtype=np.int8) * 2.0 - 1.0
        flipped_RM = np.abs(sign_RQ @ difference_QM) / num_queries
        num_extreme_M += (flipped_RM >= np.abs(mean_M) - ROUNDING).sum(axis=0)
    low_M, high_M = np.quantile(np.concatenate(drawn), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return [
        Paired(
            difference=float(mean_M[column]),
            low=float(low_M[column]),
            high=float(high_M[column]),
            p_value=float((1 + num_extreme_M[column]) / (1 + NUM_RESAMPLES)),
            num_queries=num_queries,
        )
        for column in range(num_columns)
    ]


def mean_interval(values: Sequence[float], *, seed: int) -> tuple[float, float]:
    """Ends of the bootstrap interval of the mean at CONFIDENCE; the values' own for equal ones. Source: as `paired`."""
    one = paired(np.array(values, dtype=np.float64).reshape(len(values), 1), seed=seed)[0]
    return one.low, one.high


def difference_of(one: Mapping[str, float], other: Mapping[str, float], *, seed: int) -> Paired:
    """The mean of one minus that of the other, over the queries that both have, paired by id."""
    shared = sorted(one.keys() & other.keys())
    column = np.array([[one[query_id] - other[query_id]] for query_id in shared]).reshape(len(shared), 1)
    return paired(column, seed=seed)[0]


def difference_rows(
    scores_by_retriever: Mapping[str, Mapping[str, Mapping[str, float]]],
    *,
    metrics: Sequence[str],
    suite: str,
    split: str,
    seed: int,
) -> list[dict[str, Any]]:
    """Rows of RETRIEVAL_DIFFERENCES, without `is_stand_in`: every two retrievers on every metric.

    Args:
        scores_by_retriever: value of each metric of each query, by retriever, then query id; all of the same queries.
    """
    pairs = list(combinations(scores_by_retriever, 2))
    query_ids = sorted(next(iter(scores_by_retriever.values()), {}))
    if not pairs or not query_ids:
        return []
    value_QM = {
        name: np.array([[scores[query_id][metric] for metric in metrics] for query_id in query_ids])
        for name, scores in scores_by_retriever.items()
    }
    # the later one minus the earlier: retrievers come as the graph makes them, so progress is positive
    difference_QM = np.concatenate([value_QM[later] - value_QM[earlier] for earlier, later in pairs], axis=1)
    found = iter(paired(difference_QM, seed=seed))
    return [
        {
            "suite": suite,
            "split": split,
            "metric": metric,
            "retriever": later,
            "against": earlier,
            "value": float(value_QM[later][:, column].mean()),
            "against_value": float(value_QM[earlier][:, column].mean()),
            "difference": one.difference,
            "interval_low": one.low,
            "interval_high": one.high,
            "p_value": one.p_value,
            "num_queries": one.num_queries,
        }
        for earlier, later in pairs
        for column, metric in enumerate(metrics)
        for one in [next(found)]
    ]
