"""What the gate rests on: the finetuned checkpoint beside the live one, what it was trained from, and BM25."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nyx_assets.evaluation.gate import DEV, Compared, Decision, compared, decide
from nyx_assets.evaluation.retrieval import rank_suite, score_queries
from nyx_assets.evaluation.retrievers import Bm25Retriever, Retriever
from nyx_assets.evaluation.stored import live_retriever, stored_retriever
from nyx_assets.evaluation.suites import Suite
from nyx_assets.recipes import PipelineRecipe
from nyx_assets.retrievers import FINETUNED, PRETRAINED, PROMOTED, UNTRAINED
from resources.artifacts import Artifact
from resources.embedder import Embedders
from resources.home import Home
from training_kernels.errors import IncompleteArtifact

BY_GATE, BY_PERSON = "gate", "person"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """What was compared and what came out."""

    candidate: Artifact
    live: Artifact | None
    """None if nothing is live, or what was live is gone."""
    decision: Decision
    metric: str
    candidate_score: float | None
    """On the dev questions; None without any."""
    comparisons: tuple[Compared, ...]


def live_checkpoint(home: Home) -> tuple[Artifact | None, str]:
    """The promoted checkpoint, and why there is none although there was one.

    A folder that somebody deleted cannot be compared with or searched by; the gate then decides as if nothing were
    live, instead of failing for ever.
    """
    try:
        return home.artifacts.current(str(PROMOTED.checkpoint)), ""
    except IncompleteArtifact as error:
        return None, f"the live checkpoint is gone ({error}); the gate decides as if nothing were live. "


def run_gate(home: Home, embedders: Embedders, suites: Mapping[str, Suite], recipe: PipelineRecipe) -> GateResult:
    """The decision about the finetuned checkpoint, with every comparison behind it.

    Args:
        suites: by split, "dev" and "test".

    Raises:
        IncompleteArtifact: the finetuned or pretrained checkpoint has not been made.
    """
    candidate = home.artifacts.require(str(FINETUNED.checkpoint))
    live, gone = live_checkpoint(home)
    metric = f"ndcg@{recipe.evaluation.ndcg_at}"
    is_live_already = live is not None and live.commit.data_version == candidate.commit.data_version
    rivals: list[Retriever] = [
        *([] if live is None or is_live_already else [live_retriever(home, embedders, live)]),
        stored_retriever(PRETRAINED, home, embedders),
        stored_retriever(UNTRAINED, home, embedders),
        Bm25Retriever(),
    ]
    asking = stored_retriever(FINETUNED, home, embedders)
    comparisons: list[Compared] = []
    candidate_score = None
    for split, suite in suites.items():
        if not suite.queries:
            continue
        own = metric_by_query(asking, suite, metric, recipe)
        if split == DEV:
            candidate_score = sum(own.values()) / len(own)
        for rival in rivals:
            scores = metric_by_query(rival, suite, metric, recipe)
            comparisons.append(compared(split, rival.name, own, scores, recipe=recipe.gate, seed=recipe.seed))
    if is_live_already:
        decision = Decision(promote=None, reason="the finetuned checkpoint is the live one already")
    else:
        decision = decide(comparisons, candidate=FINETUNED.name, something_is_live=live is not None, metric=metric)
    return GateResult(
        candidate=candidate,
        live=live,
        decision=Decision(promote=decision.promote, reason=gone + decision.reason),
        metric=metric,
        candidate_score=candidate_score,
        comparisons=tuple(comparisons),
    )


def winner_of(home: Home, result: GateResult) -> Artifact:
    """The checkpoint that is live after the decision."""
    if result.decision.promote == PRETRAINED.name:
        return home.artifacts.require(str(PRETRAINED.checkpoint))
    if result.decision.promote == FINETUNED.name:
        return result.candidate
    assert result.live is not None  # with nothing live, the gate promotes
    return result.live


def metric_by_query(retriever: Retriever, suite: Suite, metric: str, recipe: PipelineRecipe) -> dict[str, float]:
    """The metric of each query at full width."""
    by_dim = rank_suite(retriever, suite)
    scores = score_queries(suite.queries, by_dim[max(by_dim)], recipe=recipe.evaluation)
    return {query_id: by_metric[metric] for query_id, by_metric in scores.items()}


def gate_row(result: GateResult) -> dict[str, Any]:
    """The gate's row of `quality_gate`: the comparison that decides, on the dev questions."""
    deciding = next((one for one in result.comparisons if one.role == "decides"), None)
    return {
        "candidate": result.candidate.commit.data_version,
        "live_before": result.live.commit.data_version if result.live else None,
        "promoted": result.decision.promote is not None,
        "promoted_retriever": result.decision.promote,
        "decided_by": BY_GATE,
        "decided_at": None,
        "reason": result.decision.reason,
        "metric": result.metric,
        "candidate_score": result.candidate_score,
        "live_score": deciding.against_score if deciding else None,
        "difference": deciding.paired.difference if deciding else None,
        "interval_low": deciding.paired.low if deciding else None,
        "interval_high": deciding.paired.high if deciding else None,
        "p_value": deciding.paired.p_value if deciding else None,
        "num_queries": deciding.paired.num_queries if deciding else 0,
    }


def comparison_rows(result: GateResult) -> list[dict[str, Any]]:
    """Rows of `gate_comparisons`."""
    return [
        {
            "candidate": result.candidate.commit.data_version,
            "split": one.split,
            "against": one.against,
            "role": one.role,
            "outcome": one.outcome,
            "metric": result.metric,
            "candidate_score": one.candidate_score,
            "against_score": one.against_score,
            "difference": one.paired.difference,
            "interval_low": one.paired.low,
            "interval_high": one.paired.high,
            "p_value": one.paired.p_value,
            "num_queries": one.paired.num_queries,
        }
        for one in result.comparisons
    ]


def decisions_by_persons(home: Home) -> list[dict[str, Any]]:
    """Rows of `quality_gate` that record overrides; the gate keeps them when it decides again."""
    if home.tables.commit("quality_gate", None) is None:
        return []
    return [row for row in home.tables.read("quality_gate").to_pylist() if row.get("decided_by") == BY_PERSON]
