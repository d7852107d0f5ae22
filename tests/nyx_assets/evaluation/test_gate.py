"""The quality gate's rule: dev decides, test can only veto, and every word of the reason says why."""

from dataclasses import replace

import numpy as np
import pytest

from nyx_assets.evaluation.gate import Compared, compared, decide
from nyx_assets.recipes import GateRecipe, tiny
from training_kernels.errors import ConfigError

RECIPE = tiny().gate


def scores(mean: float, *, num: int = 80, seed: int = 0) -> dict[str, float]:
    noise = np.random.default_rng(seed).normal(0, 0.1, num)
    return {f"q{n}": mean + value for n, value in enumerate(noise)}


def one(split: str, against: str, gain: float, recipe: GateRecipe = RECIPE) -> Compared:
    """The candidate `gain` above another retriever, give or take a little."""
    other = scores(0.3)
    own = {query: value + gain + 0.01 * (n % 3 - 1) for n, (query, value) in enumerate(other.items())}
    return compared(split, against, own, other, recipe=recipe, seed=1)


def gate(*comparisons: Compared, something_is_live: bool = True):
    return decide(comparisons, candidate="finetuned", something_is_live=something_is_live, metric="ndcg@10")


def test_a_better_one_replaces_the_live_one() -> None:
    decision = gate(one("dev", "promoted", 0.05), one("test", "promoted", 0.0))
    assert decision.promote == "finetuned"
    assert "is better: ndcg@10 on dev: +0.0499 against promoted (95% interval +0.04" in decision.reason


@pytest.mark.parametrize("gain", [-0.05, 0.0])
def test_a_worse_or_equal_one_does_not(gain: float) -> None:
    decision = gate(one("dev", "promoted", gain), one("test", "promoted", 0.2))
    assert decision.promote is None
    assert "not shown to be better than what is live" in decision.reason


def test_a_gain_that_chance_could_explain_does_not() -> None:
    lucky = compared("dev", "promoted", scores(0.305, seed=4), scores(0.3, seed=3), recipe=RECIPE, seed=1)
    assert lucky.paired.low < 0 < lucky.paired.high
    assert gate(lucky).promote is None


def test_a_gain_below_the_recipes_least_does_not() -> None:
    choosy = replace(RECIPE, min_gain=0.08)
    assert gate(one("dev", "promoted", 0.05, choosy)).promote is None
    assert gate(one("dev", "promoted", 0.12, choosy)).promote == "finetuned"


@pytest.mark.parametrize("against", ["promoted", "pretrained", "untrained"])
def test_a_loss_on_test_that_chance_does_not_explain_vetoes_and_a_gain_there_helps_nothing(against: str) -> None:
    vetoed = gate(one("dev", "promoted", 0.05), one("test", against, -0.05))
    assert vetoed.promote is None
    assert f"has lost ndcg@10 on test: -0.0501 against {against}" in vetoed.reason
    assert gate(one("dev", "promoted", 0.0), one("test", against, 0.5)).promote is None


def test_a_loss_to_words_is_told_and_stops_nothing() -> None:
    decision = gate(one("dev", "promoted", 0.05), one("dev", "bm25", -0.3))
    assert decision.promote == "finetuned"
    assert "for the record, ndcg@10 on dev: -0.3001 against bm25" in decision.reason


def test_the_first_one_goes_live_unless_what_it_was_trained_from_is_better() -> None:
    first = gate(one("dev", "pretrained", 0.0), one("dev", "untrained", -0.2), something_is_live=False)
    assert first.promote == "finetuned"
    assert first.reason.startswith("nothing is live, although the candidate is worse: ndcg@10 on dev: -0.2")
    worse = gate(one("dev", "pretrained", -0.1), something_is_live=False)
    assert worse.promote == "pretrained"
    assert "is worse than pretrained, which goes live" in worse.reason


def test_nothing_to_compare_keeps_what_is_live() -> None:
    apart = compared("dev", "promoted", {"a": 1.0}, {"b": 0.0}, recipe=RECIPE, seed=1)
    for decision in (gate(), gate(apart)):
        assert decision.promote is None
        assert "no dev query was scored for both" in decision.reason


def test_an_impossible_rule_is_refused() -> None:
    with pytest.raises(ConfigError, match="promoted, pretrained, untrained, bm25"):
        replace(RECIPE, may_not_lose_to=("elsewhere",))
