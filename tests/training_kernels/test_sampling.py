"""Batches are a function of the seed, lose no example, and never hold a positive twice."""

from dataclasses import replace

import numpy as np
import pytest

from training_kernels.errors import DataError
from training_kernels.examples import Example
from training_kernels.recipes import tiny
from training_kernels.sampling import epoch_batches, plan_batches


def example(number: int, positive: str, query: str = "") -> Example:
    return Example(example_id=f"e{number}", query=query or f"q{number}", positive=positive, negatives=(), source="made")


@pytest.fixture
def examples() -> list[Example]:
    """53 examples on 17 positives, some positives far more often than others; two examples share a query."""
    made = [example(number, f"d{(number * number) % 17}") for number in range(51)]
    return [*made, example(51, "d3", query="twice"), example(52, "d5", query="twice")]


def test_an_epoch_holds_every_example_once(examples):
    batches = list(epoch_batches(examples, np.random.default_rng(5), size=6))
    ids = [one.example_id for batch in batches for one in batch]
    alone = {one.example_id for one in examples} - set(ids)
    assert len(ids) == len(set(ids))
    assert len({one.positive for one in examples if one.example_id in alone}) <= 1
    assert max(map(len, batches)) == 6


def test_no_batch_holds_a_positive_or_a_query_twice(examples):
    for batch in epoch_batches(examples, np.random.default_rng(5), size=6):
        assert len({one.positive for one in batch}) == len(batch) > 1
        assert len({one.query for one in batch}) == len(batch)


def test_the_order_is_a_function_of_the_seed(examples):
    config = replace(tiny(), batch_size=6, epochs=2, max_steps=1000)
    assert plan_batches(examples, config) == plan_batches(examples, config)
    assert plan_batches(examples, config) != plan_batches(examples, replace(config, seed=config.seed + 1))


def test_two_epochs_differ_and_max_steps_cuts_the_plan(examples):
    config = replace(tiny(), batch_size=6, epochs=2, max_steps=1000)
    whole = plan_batches(examples, config)
    assert whole[0] != whole[len(whole) // 2]
    assert plan_batches(examples, replace(config, max_steps=4)) == whole[:4]


def test_one_positive_alone_cannot_train():
    with pytest.raises(DataError, match="fewer than two different positives"):
        plan_batches([example(number, "same") for number in range(9)], tiny())
