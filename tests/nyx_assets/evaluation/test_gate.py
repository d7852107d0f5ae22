"""The quality gate: only what is shown to be better goes live."""

import numpy as np
import pytest

from nyx_assets.evaluation.gate import bootstrap_interval, decide


def scores(mean: float, *, num: int = 80, seed: int = 0) -> dict[str, float]:
    noise = np.random.default_rng(seed).normal(0, 0.1, num)
    return {f"q{n}": mean + value for n, value in enumerate(noise)}


def test_the_first_retriever_goes_live() -> None:
    decision = decide(scores(0.2), None, metric="ndcg@10", seed=1)
    assert decision.promote
    assert decision.reason == "nothing is live"


def test_a_better_one_replaces_the_live_one() -> None:
    live = scores(0.30)
    better = {query: value + 0.04 + 0.01 * (n % 3) for n, (query, value) in enumerate(live.items())}
    decision = decide(better, live, metric="ndcg@10", seed=1)
    assert decision.promote
    assert decision.difference == pytest.approx(sum(0.04 + 0.01 * (n % 3) for n in range(80)) / 80)
    assert 0 < decision.interval[0] < decision.difference < decision.interval[1]
    assert decision.num_queries == 80
    assert "is better: ndcg@10 differs by +0.0499" in decision.reason


@pytest.mark.parametrize("gain", [-0.05, 0.0])
def test_a_worse_or_equal_one_does_not(gain: float) -> None:
    live = scores(0.3)
    decision = decide({query: value + gain for query, value in live.items()}, live, metric="ndcg@10", seed=1)
    assert not decision.promote
    assert "is not shown to be better" in decision.reason


def test_a_gain_that_chance_could_explain_does_not() -> None:
    live, lucky = scores(0.300, seed=3), scores(0.305, seed=4)
    decision = decide(lucky, live, metric="mrr", seed=1)
    assert not decision.promote
    assert decision.interval[0] < 0 < decision.interval[1]


def test_queries_are_paired_by_id_and_those_of_one_side_left_out() -> None:
    live = {"a": 0.1, "b": 0.9, "c": 0.5, "gone": 1.0}
    candidate = {"c": 0.7, "new": 0.0, "b": 1.0, "a": 0.4}
    decision = decide(candidate, live, metric="mrr", seed=1)
    assert decision.num_queries == 3
    assert decision.difference == pytest.approx((0.3 + 0.1 + 0.2) / 3)
    assert decision.promote


def test_nothing_in_common_keeps_what_is_live() -> None:
    decision = decide({"a": 1.0}, {"b": 0.0}, metric="mrr", seed=1)
    assert not decision.promote
    assert "same suite" in decision.reason


def test_the_interval_is_that_of_the_normal_approximation_for_many_values() -> None:
    values = np.random.default_rng(8).normal(0.02, 0.3, 3_000)
    low, high = bootstrap_interval(values, seed=5)
    error = 1.96 * values.std() / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - error, abs=0.05 * error)
    assert high == pytest.approx(values.mean() + error, abs=0.05 * error)


def test_the_interval_depends_on_nothing_but_values_and_seed() -> None:
    values = np.random.default_rng(8).normal(0, 1, 50)
    assert bootstrap_interval(values, seed=5) == bootstrap_interval(values, seed=5)
    assert bootstrap_interval(values, seed=5) != bootstrap_interval(values, seed=6)
