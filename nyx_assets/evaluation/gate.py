"""The quality gate's rule: a retriever goes live only if it is shown to be better than the one that is live.

The dev questions decide. The test questions, which nothing is tuned on, can only veto: a loss that chance does not
explain keeps a retriever from going live, a gain there helps nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from nyx_assets.evaluation.paired import CONFIDENCE, Paired, difference_of
from nyx_assets.recipes import GateRecipe
from nyx_assets.retrievers import PRETRAINED, PROMOTED

DEV, TEST = "dev", "test"

Role = Literal["decides", "may veto", "for the record"]
Outcome = Literal["better", "worse", "not told apart"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The candidate beside one other retriever on the questions of one split."""

    split: str
    against: str
    role: Role
    outcome: Outcome
    candidate_score: float
    against_score: float
    paired: Paired

    def __str__(self) -> str:
        return (
            f"{self.split}: {self.paired.difference:+.4f} against {self.against} ({CONFIDENCE:.0%} interval "
            f"{self.paired.low:+.4f} to {self.paired.high:+.4f}, {self.paired.num_queries} queries)"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the gate says, and why."""

    promote: str | None
    """Name of the retriever that goes live; None to keep what is live."""
    reason: str


def compared(
    split: str,
    against: str,
    candidate_scores: Mapping[str, float],
    against_scores: Mapping[str, float],
    *,
    recipe: GateRecipe,
    seed: int,
) -> Compared:
    """The candidate beside another retriever, over the queries that both have a score of."""
    result = difference_of(candidate_scores, against_scores, seed=seed)
    shared = candidate_scores.keys() & against_scores.keys()
    needed = recipe.min_gain if against == PROMOTED.name and split == DEV else 0.0
    outcome: Outcome = "not told apart"
    if result.num_queries and result.low > needed:
        outcome = "better"
    elif result.num_queries and result.high < 0:
        outcome = "worse"
    return Compared(
        split=split,
        against=against,
        role=_role(split, against, recipe),
        outcome=outcome,
        candidate_score=_mean(candidate_scores, shared),
        against_score=_mean(against_scores, shared),
        paired=result,
    )


def _role(split: str, against: str, recipe: GateRecipe) -> Role:
    if against == PROMOTED.name and split == DEV:
        return "decides"
    return "may veto" if against in recipe.may_not_lose_to else "for the record"


def _mean(scores: Mapping[str, float], query_ids: frozenset[str] | set[str]) -> float:
    return sum(scores[query_id] for query_id in query_ids) / len(query_ids) if query_ids else 0.0


def decide(comparisons: Sequence[Compared], *, candidate: str, something_is_live: bool, metric: str) -> Decision:
    """Which retriever goes live, if any.

    With something live, the candidate has to be shown to be better than it on the dev questions, and to lose to none of
    the recipe's `may_not_lose_to` on either split. Choice: a tie, and a gain that chance could explain, keep what is
    live, for swapping costs an index and gains nothing. With nothing live, search needs something: the candidate,
    unless the checkpoint that it was trained from is shown to be better; then that one.
    """
    vetoes = [one for one in comparisons if one.role != "for the record" and one.outcome == "worse"]
    known_losses = [one for one in comparisons if one.role == "for the record" and one.outcome == "worse"]
    note = f"; for the record, {metric} on {'; '.join(map(str, known_losses))}" if known_losses else ""
    if not something_is_live:
        if any(one.against == PRETRAINED.name for one in vetoes):
            lost = next(one for one in vetoes if one.against == PRETRAINED.name)
            return Decision(
                promote=PRETRAINED.name,
                reason=f"nothing is live, and the candidate is worse than {PRETRAINED.name}, which goes live: "
                f"{metric} on {lost}",
            )
        worse = f", although the candidate is worse: {metric} on {'; '.join(map(str, vetoes))}" if vetoes else ""
        return Decision(promote=candidate, reason=f"nothing is live{worse}{note}")
    deciding = next((one for one in comparisons if one.role == "decides"), None)
    if deciding is None or deciding.paired.num_queries == 0:
        return Decision(
            promote=None,
            reason="no dev query was scored for both; land more pages, or raise dev_share, until there are dev questions",
        )
    if deciding.outcome != "better":
        return Decision(
            promote=None,
            reason=f"the candidate is not shown to be better than what is live: {metric} on {deciding}{note}",
        )
    if vetoes:
        return Decision(
            promote=None,
            reason=f"the candidate is better on {deciding}, but has lost {metric} on {'; '.join(map(str, vetoes))}",
        )
    return Decision(promote=candidate, reason=f"the candidate is better: {metric} on {deciding}{note}")
