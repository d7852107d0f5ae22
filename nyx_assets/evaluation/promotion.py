"""The comparison that the gate rests on: the finetuned checkpoint against the one that is live, on the dev questions."""

from dataclasses import dataclass
from typing import Any

from nyx_assets.evaluation.gate import decide
from nyx_assets.evaluation.retrieval import rank_suite, score_queries
from nyx_assets.evaluation.retrievers import DenseRetriever
from nyx_assets.evaluation.stored import live_retriever, stored_retriever
from nyx_assets.evaluation.suites import Suite
from nyx_assets.recipes import EvaluationRecipe, PipelineRecipe
from nyx_assets.retrievers import FINETUNED, PROMOTED
from resources.artifacts import Artifact
from resources.embedder import Embedders
from resources.home import Home


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What was compared and what came out."""

    candidate: Artifact
    live: Artifact | None
    promotes: bool
    reason: str
    metric: str
    candidate_score: float | None
    live_score: float | None
    difference: float | None
    interval: tuple[float, float] | None
    num_queries: int


def compare_with_live(home: Home, embedders: Embedders, suite: Suite, recipe: PipelineRecipe) -> Comparison:
    """The decision about the finetuned checkpoint. It is not compared with itself: what is live already stays."""
    candidate = home.artifacts.require(FINETUNED.checkpoint or "")
    live = home.artifacts.current(PROMOTED.checkpoint or "")
    metric = f"ndcg@{recipe.evaluation.ndcg_at}"
    scores = _dev_scores(stored_retriever(FINETUNED, home, embedders), suite, metric, recipe.evaluation)
    candidate_score = sum(scores.values()) / len(scores) if scores else None
    if live is not None and live.commit.data_version == candidate.commit.data_version:
        return Comparison(
            candidate=candidate,
            live=live,
            promotes=False,
            reason="the finetuned checkpoint is the live one already",
            metric=metric,
            candidate_score=candidate_score,
            live_score=candidate_score,
            difference=0.0,
            interval=None,
            num_queries=len(scores),
        )
    live_scores = None
    if live is not None:
        live_scores = _dev_scores(live_retriever(home, embedders, live), suite, metric, recipe.evaluation)
    decision = decide(scores, live_scores, metric=metric, seed=recipe.seed)
    compared = bool(live_scores)
    return Comparison(
        candidate=candidate,
        live=live,
        promotes=decision.promote,
        reason=decision.reason,
        metric=metric,
        candidate_score=candidate_score,
        live_score=sum(live_scores.values()) / len(live_scores) if live_scores else None,
        difference=decision.difference if compared else None,
        interval=decision.interval if compared else None,
        num_queries=decision.num_queries,
    )


def _dev_scores(retriever: DenseRetriever, suite: Suite, metric: str, recipe: EvaluationRecipe) -> dict[str, float]:
    """The metric of each query at full width."""
    if not suite.queries:
        return {}
    by_dim = rank_suite(retriever, suite)
    scores = score_queries(suite.queries, by_dim[max(by_dim)], recipe=recipe)
    return {query_id: by_metric[metric] for query_id, by_metric in scores.items()}


def gate_row(comparison: Comparison) -> dict[str, Any]:
    """The row of `quality_gate`."""
    low, high = comparison.interval or (None, None)
    return {
        "candidate": comparison.candidate.commit.data_version,
        "live_before": comparison.live.commit.data_version if comparison.live else None,
        "promoted": comparison.promotes,
        "reason": comparison.reason,
        "metric": comparison.metric,
        "candidate_score": comparison.candidate_score,
        "live_score": comparison.live_score,
        "difference": comparison.difference,
        "interval_low": low,
        "interval_high": high,
        "num_queries": comparison.num_queries,
    }
