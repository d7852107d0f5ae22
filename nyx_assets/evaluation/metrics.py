"""Metrics of a ranking as pure functions, honest about ties.

A ranking is first judged: the grade of each hit in rank order. Grades are the whole numbers of qrels, 0 for a candidate
that is no gold. Among hits of equal score golds stand last, so a model that gives every candidate one score finds
nothing by luck.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from nyx_assets.rag.rankings import Ranking
from training_kernels.errors import DataError


@dataclass(frozen=True, slots=True)
class Judged:
    """A query's ranking as metrics see it."""

    grades: tuple[int, ...]
    """Of each hit, in rank order; hits beyond the last are of grade 0."""
    gold_grades: tuple[int, ...]
    """Of every gold of the query, found or not; never empty."""


def judge(ranking: Ranking, grade_by_id: Mapping[str, int]) -> Judged:
    """The grades of a ranking. Raises DataError for a query without gold, a hit that stands twice, or scores that rise."""
    gold_grades = tuple(grade for grade in grade_by_id.values() if grade > 0)
    if not gold_grades:
        raise DataError("a query without any gold cannot be scored; leave it out of the suite")
    if len({candidate_id for candidate_id, _ in ranking}) < len(ranking):
        raise DataError("a candidate stands twice in one ranking; a retriever returns each candidate once")
    # Negated, so that NaN counts as wrong.
    if not all(above >= below for (_, above), (_, below) in pairwise(ranking)):
        raise DataError("the scores of a ranking must fall from hit to hit, and be numbers")
    graded = [(-score, max(0, grade_by_id.get(candidate_id, 0))) for candidate_id, score in ranking]
    return Judged(tuple(grade for _, grade in sorted(graded)), gold_grades)


def settled(ranking: Ranking) -> Ranking:
    """A ranking that was cut off, without the run of equal scores at its end.

    How many more candidates have that score is not known, so no place within the run is certain. Ask for one hit more
    than the deepest place that matters, and a ranking without ties loses nothing.
    """
    return [hit for hit in ranking if hit[1] > ranking[-1][1]]


def recall_at(judged: Judged, k: int) -> float:
    """Share of the golds among the first k hits."""
    return sum(grade > 0 for grade in judged.grades[:k]) / len(judged.gold_grades)


def hit_at(judged: Judged, k: int) -> float:
    """1 if any gold is among the first k hits, else 0."""
    return float(any(judged.grades[:k]))


def precision_at(judged: Judged, k: int) -> float:
    """Share of golds in the first k places; a place that was not filled is a miss."""
    return sum(grade > 0 for grade in judged.grades[:k]) / k


def reciprocal_rank(judged: Judged) -> float:
    """1 / rank of the first gold, 0 if none was found."""
    return next((1 / rank for rank, grade in enumerate(judged.grades, start=1) if grade > 0), 0.0)


def average_precision(judged: Judged) -> float:
    """Mean over all golds of the precision at each gold's rank, 0 for one that was not found."""
    ranks = [rank for rank, grade in enumerate(judged.grades, start=1) if grade > 0]
    return sum(found / rank for found, rank in enumerate(ranks, start=1)) / len(judged.gold_grades)


def ndcg_at(judged: Judged, k: int) -> float:
    """Discounted gain of the first k hits over that of the best order possible, with gain = grade.

    Source: Järvelin and Kekäläinen 2002, Cumulated gain-based evaluation of IR techniques; gain and discount as in trec_eval.
    """
    return _discounted_gain(judged.grades[:k]) / _discounted_gain(sorted(judged.gold_grades, reverse=True)[:k])


def _discounted_gain(grades: Sequence[int]) -> float:
    return sum(grade / math.log2(rank + 1) for rank, grade in enumerate(grades, start=1))
