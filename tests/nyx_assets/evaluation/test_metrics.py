"""Metrics against sums by hand."""

import math
import random

import pytest

from nyx_assets.evaluation.metrics import (
    Judged,
    average_precision,
    hit_at,
    judge,
    ndcg_at,
    precision_at,
    recall_at,
    reciprocal_rank,
    settled,
)
from training_kernels.errors import DataError

RANKING = [("a", 9.0), ("b", 7.0), ("c", 6.0), ("d", 4.0), ("e", 1.0)]
# Golds b (grade 3), d (1) and one that was not found (2).
JUDGED = judge(RANKING, {"b": 3, "d": 1, "lost": 2, "c": 0})


def test_hits_are_graded_in_rank_order() -> None:
    assert Judged((0, 3, 0, 1, 0), (3, 1, 2)) == JUDGED


def test_metrics_equal_sums_by_hand() -> None:
    assert [recall_at(JUDGED, k) for k in (1, 2, 3, 4, 99)] == [0, 1 / 3, 1 / 3, 2 / 3, 2 / 3]
    assert [precision_at(JUDGED, k) for k in (1, 2, 3, 4, 10)] == [0, 1 / 2, 1 / 3, 2 / 4, 2 / 10]
    assert [hit_at(JUDGED, k) for k in (1, 2, 9)] == [0, 1, 1]
    assert reciprocal_rank(JUDGED) == 1 / 2
    assert average_precision(JUDGED) == pytest.approx((1 / 2 + 2 / 4 + 0) / 3)
    best = 3 + 2 / math.log2(3) + 1 / math.log2(4)
    assert ndcg_at(JUDGED, 5) == pytest.approx((3 / math.log2(3) + 1 / math.log2(5)) / best)
    assert ndcg_at(JUDGED, 2) == pytest.approx((3 / math.log2(3)) / (3 + 2 / math.log2(3)))


def test_a_perfect_ranking_scores_one_and_an_empty_one_nothing() -> None:
    grades = {"x": 2, "y": 1}
    perfect, nothing = judge([("x", 2.0), ("y", 1.0), ("z", 0.5)], grades), judge([], grades)
    for metric in (lambda j: recall_at(j, 2), lambda j: precision_at(j, 2), reciprocal_rank, average_precision):
        assert metric(perfect) == 1
        assert metric(nothing) == 0
    assert ndcg_at(perfect, 10) == 1
    assert ndcg_at(nothing, 10) == 0


def test_ties_count_against_the_gold() -> None:
    tied = [("gold", 5.0), ("b", 5.0), ("c", 5.0), ("d", 4.0)]
    assert reciprocal_rank(judge(tied, {"gold": 1})) == 1 / 3
    assert judge(tied, {"gold": 1, "c": 2}).grades == (0, 1, 2, 0)
    assert judge(tied[:1] + tied[3:], {"gold": 1}).grades == (1, 0)


def test_a_cut_ranking_loses_the_run_that_the_cut_may_have_split() -> None:
    assert settled([("a", 3.0), ("b", 2.0), ("c", 1.0), ("d", 1.0)]) == [("a", 3.0), ("b", 2.0)]
    assert settled([("a", 3.0), ("b", 2.0)]) == [("a", 3.0)]
    assert settled([("a", 1.0), ("b", 1.0)]) == []
    assert settled([]) == []


def test_average_precision_and_ndcg_grow_when_a_gold_moves_up() -> None:
    rng = random.Random(11)
    for _ in range(200):
        length = rng.randint(2, 12)
        place = rng.randrange(1, length)
        golds = {
            f"k{n}": rng.randint(1, 3) for n in rng.sample(range(length), rng.randint(1, length)) if n != place - 1
        }
        golds[f"k{place}"] = 2
        order = [f"k{n}" for n in range(length)]
        moved = order.copy()
        moved[place - 1], moved[place] = order[place], order[place - 1]
        before, after = (judge([(k, -float(n)) for n, k in enumerate(way)], golds) for way in (order, moved))
        assert average_precision(after) > average_precision(before)
        assert ndcg_at(after, length) > ndcg_at(before, length)


def test_what_no_metric_is_defined_for_is_refused() -> None:
    with pytest.raises(DataError, match="without any gold"):
        judge(RANKING, {"c": 0})
    with pytest.raises(DataError, match="stands twice"):
        judge([("a", 2.0), ("a", 1.0)], {"a": 1})
    with pytest.raises(DataError, match="must fall"):
        judge([("a", 1.0), ("b", 2.0)], {"a": 1})
    with pytest.raises(DataError, match="must fall"):
        judge([("a", math.nan), ("b", 2.0)], {"a": 1})
