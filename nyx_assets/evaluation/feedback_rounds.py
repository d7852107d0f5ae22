"""What a feedback round gained on the dev questions, what it cost, and whether another one is worth it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from nyx_assets.evaluation.paired import Paired, difference_of
from nyx_assets.past_calls import SpentCalls
from nyx_assets.recipes import RoundsRecipe


def round_row(
    number: int,
    scores: Mapping[str, float],
    scores_before: Mapping[str, float],
    *,
    metric: str,
    recipe: RoundsRecipe,
    spent: SpentCalls,
    tried: Mapping[str, int],
    checkpoint: str,
    is_stand_in: bool,
    seed: int,
) -> dict[str, Any]:
    """The row of FEEDBACK_ROUNDS of a round; which round is chosen is not known yet.

    Choice: the gain itself decides, not its interval. Another round is tried where the best guess is that it pays, and
    a gain that was chance is found out by the round after it; what goes live is for the quality gate to say.

    Args:
        scores: metric of each dev question, with the checkpoint of this round.
        scores_before: the same with the checkpoint that this round retrieved with.
        tried: num_queries and num_preferences.
    """
    gain = difference_of(scores, scores_before, seed=seed)
    goes_on, reason = _verdict(number, gain, metric, recipe)
    return {
        "round": number,
        "checkpoint": checkpoint,
        **tried,
        "metric": metric,
        "dev_score": sum(scores.values()) / len(scores) if scores else None,
        "gain": gain.difference,
        "interval_low": gain.low,
        "interval_high": gain.high,
        "num_dev_queries": gain.num_queries,
        "calls": spent.calls,
        "cached_calls": spent.cached_calls,
        "input_tokens": spent.input_tokens,
        "output_tokens": spent.output_tokens,
        "cost_usd": spent.cost_usd,
        "goes_on": goes_on,
        "reason": reason,
        "is_chosen": None,
        "is_stand_in": is_stand_in,
    }


def num_tried(tries: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Questions that were tried, and those of them that a window answered; from rows of FEEDBACK_PREFERENCES."""
    roles_by_query: dict[str, set[str]] = defaultdict(set)
    for row in tries:
        roles_by_query[row["qa_id"]].add(row["role"])
    num_preferences = sum("positive" in roles for roles in roles_by_query.values())
    return {"num_queries": len(roles_by_query), "num_preferences": num_preferences}


def _verdict(number: int, gain: Paired, metric: str, recipe: RoundsRecipe) -> tuple[bool, str]:
    """Whether another round follows, and why."""
    gained = (
        f"round {number} gained {gain.difference:+.4f} {metric} on {gain.num_queries:,} dev questions "
        f"({gain.low:+.4f} to {gain.high:+.4f})"
    )
    if not gain.num_queries:
        return False, f"round {number} could not be scored: there is no dev question, so no gain can be seen"
    if gain.difference < recipe.min_gain:
        return False, f"{gained}, below the {recipe.min_gain:g} that another round has to be worth"
    if number >= recipe.number:
        return False, f"{gained}; it is the last round of the recipe"
    return True, gained
