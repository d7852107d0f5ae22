"""Differences on the same queries: intervals and tests against what theory and full enumeration say."""

from itertools import product

import numpy as np
import pytest

from nyx_assets.evaluation.paired import difference_of, difference_rows, paired
from nyx_assets.records import RETRIEVAL_DIFFERENCES


def test_the_interval_is_that_of_the_normal_approximation_for_many_values() -> None:
    values = np.random.default_rng(8).normal(0.02, 0.3, 3_000)
    [found] = paired(values[:, None], seed=5)
    error = 1.96 * values.std() / np.sqrt(len(values))
    assert found.low == pytest.approx(values.mean() - error, abs=0.05 * error)
    assert found.high == pytest.approx(values.mean() + error, abs=0.05 * error)


def test_the_p_value_is_that_of_every_way_to_swap_the_two_sides() -> None:
    values = np.array([0.3, -0.1, 0.25, 0.4, 0.05, -0.02, 0.2, 0.33, -0.15, 0.1])
    means = [abs(np.mean(np.array(signs) * values)) for signs in product((-1, 1), repeat=len(values))]
    exact = np.mean(np.array(means) >= abs(values.mean()) - 1e-12)
    assert 0.01 < exact < 0.2
    assert paired(values[:, None], seed=3)[0].p_value == pytest.approx(exact, abs=0.008)


def test_no_difference_at_all_is_explained_by_chance_and_a_constant_one_is_not() -> None:
    none, constant = paired(np.stack([np.zeros(40), np.full(40, 0.25)], axis=1), seed=1)
    assert (none.difference, none.low, none.high, none.p_value) == (0, 0, 0, 1)
    assert (constant.difference, constant.low, constant.high) == (0.25, 0.25, 0.25)
    assert constant.p_value == pytest.approx(1 / 10_001)


def test_results_depend_on_nothing_but_values_and_seed_and_columns_not_on_each_other() -> None:
    values = np.random.default_rng(8).normal(0.1, 1, (50, 2))
    assert paired(values, seed=5) == paired(values, seed=5)
    assert paired(values, seed=5) != paired(values, seed=6)
    assert paired(values, seed=5)[1].low == pytest.approx(paired(values[:, 1:], seed=5)[0].low)


def test_queries_are_paired_by_id_and_those_of_one_side_left_out() -> None:
    one = {"c": 0.7, "new": 0.0, "b": 1.0, "a": 0.4}
    other = {"a": 0.1, "b": 0.9, "c": 0.5, "gone": 1.0}
    found = difference_of(one, other, seed=1)
    assert found.num_queries == 3
    assert found.difference == pytest.approx((0.3 + 0.1 + 0.2) / 3)
    assert difference_of(one, {"z": 1.0}, seed=1).num_queries == 0


def test_every_two_retrievers_are_compared_on_every_metric_the_later_against_the_earlier() -> None:
    scores = {
        name: {f"q{place}": {"mrr": value + place / 100, "map": value / 2} for place in range(20)}
        for name, value in (("bm25", 0.3), ("untrained", 0.1), ("finetuned", 0.5))
    }
    rows = difference_rows(scores, metrics=("mrr", "map"), suite="nyxqa", split="test", seed=1)
    assert list(rows[0]) == [name for name in RETRIEVAL_DIFFERENCES.names if name != "is_stand_in"]
    found = {(row["retriever"], row["against"], row["metric"]): row["difference"] for row in rows}
    assert found == {
        ("untrained", "bm25", "mrr"): pytest.approx(-0.2),
        ("untrained", "bm25", "map"): pytest.approx(-0.1),
        ("finetuned", "bm25", "mrr"): pytest.approx(0.2),
        ("finetuned", "bm25", "map"): pytest.approx(0.1),
        ("finetuned", "untrained", "mrr"): pytest.approx(0.4),
        ("finetuned", "untrained", "map"): pytest.approx(0.2),
    }
    assert all(row["value"] - row["against_value"] == pytest.approx(row["difference"]) for row in rows)
    assert difference_rows({}, metrics=("mrr",), suite="s", split="dev", seed=1) == []
