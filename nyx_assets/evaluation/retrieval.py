"""Measure a retriever on a suite: metrics of each query, and their means by the modality of the query."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
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
from training_kernels.errors import DataError

DEPTH = 100
"""Hits that count, for MRR and MAP as well. Choice: a gold below the hundredth place is worth at most 0.01 to MRR."""

EVERY_MODALITY = "all"

Scores = dict[str, dict[str, float]]
"""Value of each metric of each query: by query id, then by metric name."""


def evaluate_retriever(
    retriever: Retriever, suite: Suite, *, split: str, recipe: EvaluationRecipe
) -> list[dict[str, Any]]:
    """Rows of RETRIEVAL_SCORES, without `is_stand_in`, for every Matryoshka dim of the retriever."""
    return [
        row
        for dim, rankings in rank_suite(retriever, suite).items()
        for row in score_rows(
            score_queries(suite.queries, rankings, recipe=recipe),
            suite.queries,
            retriever=retriever.name,
            suite=suite.name,
            split=split,
            dim=dim,
        )
    ]


def rank_suite(retriever: Retriever, suite: Suite) -> dict[int, list[Ranking]]:
    """A ranking for each query of the suite, by Matryoshka dim, ready to be scored.

    Candidates that a query excludes are taken out. At most DEPTH hits are left, and no run of equal scores that was
    cut off within them.
    """
    # One more than counts, so that a tie at the last place is seen; and room for what is excluded.
    top_k = DEPTH + 1 + max((len(query.exclude) for query in suite.queries), default=0)
    rankings_by_dim = retriever.rank([query.document for query in suite.queries], suite.candidates, top_k=top_k)
    return {
        dim: [_ready(ranking, query) for query, ranking in zip(suite.queries, rankings, strict=True)]
        for dim, rankings in rankings_by_dim.items()
    }


def _ready(ranking: Ranking, query: SuiteQuery) -> Ranking:
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


def write_trec_run(path: Path, ranking_by_query: Mapping[str, Ranking], *, run_name: str) -> None:
    """Write rankings as trec_eval reads them: query, Q0, candidate, rank, score and name, a space apart.

    Raises DataError for an id or name with a space, which the format cannot hold.
    """
    lines = []
    for query_id, ranking in ranking_by_query.items():
        for rank, (candidate_id, score) in enumerate(ranking, start=1):
            fields = [query_id, "Q0", candidate_id, str(rank), repr(score), run_name]
            if any(len(field.split()) != 1 for field in fields):
                raise DataError(f"a TREC run cannot hold an empty id or one with a space, got {fields}; rename it")
            lines.append(" ".join(fields))
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
