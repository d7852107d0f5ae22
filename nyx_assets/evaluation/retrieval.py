"""Measure a retriever on a suite: metrics of each query, and their means by the modality of the query."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nyx_assets.evaluation.metrics import (
    average_precision,
    hit_at,
    judge,
    ndcg_at,
    precision_at,
    recall_at,
    reciprocal_rank,
    settled,
)
from nyx_assets.evaluation.retrievers import Retriever
from nyx_assets.evaluation.suites import Suite, SuiteQuery
from nyx_assets.rag.rankings import Ranking
from nyx_assets.recipes import EvaluationRecipe

DEPTH = 100
"""Hits that count, for MRR and MAP as well. Choice: a gold below the hundredth place is worth at most 0.01 to MRR."""

EVERY_MODALITY = "all"

Scores = dict[str, dict[str, float]]
"""Value of each metric of each query: by query id, then by metric name."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A retriever on a suite."""

    rows: list[dict[str, Any]]
    """Of RETRIEVAL_SCORES, without `is_stand_in`, for every Matryoshka dim."""
    scores: Scores
    """At full width."""
    rankings: list[Ranking]
    """Of the suite's queries, at full width."""


def measure(retriever: Retriever, suite: Suite, *, split: str, recipe: EvaluationRecipe) -> Measured:
    """Every metric of a retriever on a suite that has queries."""
    by_dim = rank_suite(retriever, suite)
    scores_by_dim = {dim: score_queries(suite.queries, found, recipe=recipe) for dim, found in by_dim.items()}
    rows = [
        row
        for dim, scores in scores_by_dim.items()
        for row in score_rows(scores, suite.queries, retriever=retriever.name, suite=suite.name, split=split, dim=dim)
    ]
    widest = max(by_dim)
    return Measured(rows, scores_by_dim[widest], by_dim[widest])


def rank_suite(retriever: Retriever, suite: Suite) -> dict[int, list[Ranking]]:
    """A ranking for each query of the suite, by Matryoshka dim, ready to be scored.

    Candidates that a query excludes are taken out. At most DEPTH hits are left, and no run of equal scores that was
    cut off within them. Queries with candidates of their own rank those alone.
    """
    if any(query.among for query in suite.queries):
        return _rank_among(retriever, suite)
    # One more than counts, so that a tie at the last place is seen; and room for what is excluded.
    top_k = DEPTH + 1 + max((len(query.exclude) for query in suite.queries), default=0)
    rankings_by_dim = retriever.rank([query.document for query in suite.queries], suite.candidates, top_k=top_k)
    return {
        dim: [ready(ranking, query) for query, ranking in zip(suite.queries, rankings, strict=True)]
        for dim, rankings in rankings_by_dim.items()
    }


def _rank_among(retriever: Retriever, suite: Suite) -> dict[int, list[Ranking]]:
    """rank_suite, asking the retriever once for each set of candidates."""
    places_by_set: dict[frozenset[str], list[int]] = defaultdict(list)
    for place, query in enumerate(suite.queries):
        places_by_set[query.among].append(place)
    by_dim: dict[int, list[Ranking]] = {}
    for among, places in places_by_set.items():
        ids = sorted(among or suite.candidates)
        queries = tuple(replace(suite.queries[place], among=frozenset()) for place in places)
        own = Suite(suite.name, {one: suite.candidates[one] for one in ids}, queries)
        for dim, rankings in rank_suite(retriever, own).items():
            whole = by_dim.setdefault(dim, [[] for _ in suite.queries])
            for place, ranking in zip(places, rankings, strict=True):
                whole[place] = ranking
    return by_dim


def ready(ranking: Ranking, query: SuiteQuery) -> Ranking:
    """What of a ranking is scored: without what the query excludes, cut to DEPTH hits without a cut tie."""
    left = [hit for hit in ranking if hit[0] not in query.exclude]
    return settled(left[: DEPTH + 1]) if len(left) > DEPTH else left


def score_queries(queries: Sequence[SuiteQuery], rankings: Sequence[Ranking], *, recipe: EvaluationRecipe) -> Scores:
    """Every metric of every query."""
    scores: Scores = {}
    for query, ranking in zip(queries, rankings, strict=True):
        judged = judge(ranking, query.grade_by_id)
        scores[query.query_id] = {
            **{f"recall@{k}": recall_at(judged, k) for k in recipe.recall_at},
            **{f"hit@{k}": hit_at(judged, k) for k in recipe.recall_at},
            **{f"precision@{k}": precision_at(judged, k) for k in recipe.recall_at},
            "mrr": reciprocal_rank(judged),
            "map": average_precision(judged),
            f"ndcg@{recipe.ndcg_at}": ndcg_at(judged, recipe.ndcg_at),
        }
    return scores


def score_rows(
    scores: Scores, queries: Iterable[SuiteQuery], *, retriever: str, suite: str, split: str, dim: int
) -> list[dict[str, Any]]:
    """Rows of RETRIEVAL_SCORES, without `is_stand_in`: the mean of each metric over all queries, and over those of each modality."""
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for query in queries:
        for metric, value in scores[query.query_id].items():
            for modality in (EVERY_MODALITY, query.document.modality):
                values[modality, metric].append(value)
    return [
        {
            "retriever": retriever,
            "suite": suite,
            "split": split,
            "dim": dim,
            "modality": modality,
            "metric": metric,
            "value": sum(of_group) / len(of_group),
            "num_queries": len(of_group),
        }
        for (modality, metric), of_group in values.items()
    ]
