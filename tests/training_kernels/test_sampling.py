"""Batches are a function of the seed, lose no example without a reason, and never hold an answer twice."""

import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from training_kernels import sampling
from training_kernels.config import SamplingConfig
from training_kernels.documents import Document
from training_kernels.errors import DataError
from training_kernels.examples import Example, ExampleSet
from training_kernels.recipes import tiny
from training_kernels.sampling import ALONE, CAPPED, DRAWN_OUT, DROP_REASONS, FEW, BatchPlan, Dropped, plan_batches

DOCUMENT = Document.of("x")


def example(number: int, positive: str, query: str = "", source: str = "made") -> Example:
    return Example(example_id=f"e{number}", query=query or f"q{number}", positive=positive, negatives=(), source=source)


def training_of(examples: list[Example], **clusters: str) -> ExampleSet:
    names = {name for one in examples for name in (one.query, one.positive)}
    return ExampleSet(dict.fromkeys(names, DOCUMENT), tuple(examples), clusters)


def planned(training: ExampleSet, *, size: int = 6, epochs: int = 1, seed: int = 42, **changes) -> BatchPlan:
    config = replace(
        tiny(), batch_size=size, epochs=epochs, max_steps=10**6, seed=seed, sampling=SamplingConfig(**changes)
    )
    return plan_batches(training, config)


def ids(plan: BatchPlan) -> list[list[str]]:
    return [[one.example_id for one in batch] for batch in plan]


@pytest.fixture
def training() -> ExampleSet:
    """53 examples of two sources on 17 positives, some far more often than others; two examples share a query, and two
    positives are near copies."""
    made = [example(number, f"d{(number * number) % 17}", source="ab"[number % 3 == 0]) for number in range(51)]
    return training_of([*made, example(51, "d3", "twice", "a"), example(52, "d5", "twice", "a")], d4="k", d9="k")


@pytest.mark.parametrize("batches", ["mixed", "one_source"])
def test_an_epoch_holds_every_example_once_or_says_why_not(training, batches):
    plan = planned(training, batches=batches, least_share=0.5)
    held = [name for batch in ids(plan) for name in batch]
    dropped = [one.example_id for one in plan.dropped]
    assert sorted(held + dropped) == sorted(one.example_id for one in training.examples)
    assert ALONE in {one.rule for one in plan.dropped} <= {ALONE, FEW}
    assert max(map(len, plan)) == 6


@pytest.mark.parametrize("batches", ["mixed", "one_source"])
def test_no_batch_holds_a_query_a_positive_or_a_near_copy_twice(training, batches):
    for seed in range(20):
        for batch in planned(training, seed=seed, batches=batches):
            assert len(batch) > 1
            assert len({one.query for one in batch}) == len(batch)
            assert len({training.cluster_by_document.get(one.positive, one.positive) for one in batch}) == len(batch)


def test_a_batch_of_one_source_holds_one_source_and_the_sources_take_turns(training):
    plan = planned(training, size=3, batches="one_source")
    sources = [{one.source for one in batch} for batch in plan]
    assert all(len(one) == 1 for one in sources)
    assert sum(here != there for here, there in pairwise(sources)) > 2
    assert any(len({one.source for one in batch}) == 2 for batch in planned(training, size=3))


def test_the_order_is_a_function_of_the_seed(training):
    assert ids(planned(training, epochs=2)) == ids(planned(training, epochs=2))
    assert ids(planned(training, epochs=2)) != ids(planned(training, epochs=2, seed=43))


def test_two_epochs_differ_and_max_steps_cuts_the_plan(training):
    whole = ids(planned(training, epochs=2))
    assert whole[0] != whole[len(whole) // 2]
    config = replace(tiny(), batch_size=6, epochs=2, max_steps=4)
    assert ids(plan_batches(training, config)) == whole[:4]


def test_any_step_is_at_hand_without_those_before_it(training):
    plan = planned(training, epochs=2)
    assert len(plan) == len(list(plan))
    assert [one.example_id for one in plan[len(plan) - 2]] == ids(plan)[-2]


def test_a_weight_takes_a_share_of_a_source_or_each_example_more_than_once(training):
    plan = planned(training, weight_by_source=(("a", 0.25), ("b", 2.0)))
    held = Counter(one.example_id for batch in plan for one in batch)
    by_source = {source: [one.example_id for one in training.examples if one.source == source] for source in "ab"}
    assert sum(held[name] for name in by_source["a"]) == round(len(by_source["a"]) / 4)
    gone = {one.example_id for one in plan.dropped if one.rule == DRAWN_OUT}
    assert gone | {name for name in by_source["a"] if held[name]} == set(by_source["a"])
    not_placed = Counter(one.example_id for one in plan.dropped if one.rule in (ALONE, FEW))
    assert all(held[name] + not_placed[name] == 2 for name in by_source["b"])


def test_a_cap_bounds_a_source_and_another_epoch_draws_others(training):
    plan = planned(training, epochs=2, cap_by_source=(("a", 5),))
    capped = [{one.example_id for one in plan.dropped if one.rule == CAPPED and one.epoch == epoch} for epoch in (0, 1)]
    num_a = sum(one.source == "a" for one in training.examples)
    assert [len(one) for one in capped] == [num_a - 5] * 2
    assert capped[0] != capped[1]
    (told,) = (drop for drop in plan.drops() if drop["rule"] == CAPPED)
    assert told == {"source": "a", "rule": CAPPED, "times": 2 * (num_a - 5), "reason": DROP_REASONS[CAPPED]}


def test_an_example_that_nothing_is_left_to_stand_with_is_dropped_with_the_reason():
    same = [example(number, "d") for number in range(4)]
    plan = planned(training_of([*same, example(9, "other")]))
    assert [len(batch) for batch in plan] == [2]
    assert len(plan.dropped) == 3
    assert {one.rule for one in plan.dropped} == {ALONE}
    assert isinstance(plan.dropped[0], Dropped)


@pytest.fixture(scope="module")
def labelled() -> ExampleSet:
    """600 documents, and 200 queries of three sources each that have no more than 2, 20 and 60 labels."""
    examples = [example(number, f"d{number}", source="pages") for number in range(600)]
    for labels in (2, 20, 60):
        examples += [
            example(1000 * labels + number, f"{labels}-{number % labels}", source=f"{labels} labels")
            for number in range(200)
        ]
    return training_of(examples)


def test_labels_that_recur_make_no_steps_of_a_few_queries(labelled):
    plan = planned(labelled, size=64, batches="one_source")
    sizes = {source: [len(batch) for batch in plan if batch[0].source == source] for source in SOURCES}
    assert sizes == {"pages": [64] * 9 + [24], "60 labels": [60] * 3 + [20], "20 labels": [20] * 10, "2 labels": [2]}
    mixed = planned(labelled, size=64)
    assert min(map(len, mixed)) >= 16
    assert len(mixed) <= 20


SOURCES = ("pages", "60 labels", "20 labels", "2 labels")


@pytest.mark.parametrize("batches", ["mixed", "one_source"])
def test_what_stands_in_no_batch_is_counted_by_source_with_the_reason(labelled, batches):
    plan = planned(labelled, size=64, batches=batches)
    held = Counter(one.source for batch in plan for one in batch)
    told = Counter()
    for drop in plan.drops():
        assert drop["reason"] == DROP_REASONS[drop["rule"]]
        told[drop["source"]] += drop["times"]
    assert held + told == Counter(one.source for one in labelled.examples)
    assert told["2 labels"] > 100


def test_a_source_too_small_for_a_batch_has_one_all_the_same():
    examples = [example(number, f"d{number}", source="large") for number in range(60)]
    few = [example(number, f"d{number}", source="small") for number in (70, 71, 72)]
    plan = planned(training_of([*examples, *few]), size=64, batches="one_source")
    assert sorted(map(len, plan)) == [3, 60]
    assert not plan.dropped


def test_data_of_fewer_labels_than_a_batch_is_all_trained_on():
    plan = planned(training_of([example(number, f"label {number % 3}") for number in range(30)]), size=64)
    assert [len(batch) for batch in plan] == [3] * 10


def test_a_share_of_zero_makes_every_batch_and_a_share_of_one_only_the_largest(labelled):
    everything = planned(labelled, size=64, batches="one_source", least_share=0.0)
    assert {one.rule for one in everything.dropped} <= {ALONE}
    assert sum(len(batch) == 2 for batch in everything) == 100
    full = planned(labelled, size=64, batches="one_source", least_share=1.0)
    assert sorted(map(len, full)) == [2, 20, 60] + [64] * 9


def test_no_example_or_one_positive_alone_cannot_train_nor_can_two_near_copies():
    with pytest.raises(DataError, match="0 examples with fewer than two different positives"):
        planned(ExampleSet({}, ()))
    with pytest.raises(DataError, match="fewer than two different positives"):
        planned(training_of([example(number, "same") for number in range(9)]))
    with pytest.raises(DataError, match="fewer than two different positives"):
        planned(training_of([example(1, "one"), example(2, "two")], one="k", two="k"))


def test_a_source_that_no_example_has_is_named(training):
    with pytest.raises(DataError, match=r"sources \['c'\], which no example has; there are \['a', 'b'\]"):
        planned(training, weight_by_source=(("c", 1.0),))


def test_caps_that_leave_no_batch_are_an_error(training):
    with pytest.raises(DataError, match="leave no batch of 53 examples"):
        planned(training, cap_by_source=(("a", 0), ("b", 1)))


def lines_run(training: ExampleSet) -> int:
    """Lines of the sampler that planning an epoch executes."""
    counted = 0

    def trace(frame, event, _):
        nonlocal counted
        if frame.f_code.co_filename != sampling.__file__:
            return None
        counted += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        planned(training, size=64)
    finally:
        sys.settrace(before)
    return counted


@pytest.mark.parametrize(
    "positive_of",
    [
        lambda number, total: "hot" if number % 10 else f"d{number}",
        lambda number, total: f"d{number % 64}",
        lambda number, total: f"d{total // (number + 1)}",
    ],
    ids=["one positive of nine in ten", "as many positives as a batch holds", "a few positives over and over"],
)
def test_the_work_of_planning_grows_with_the_examples_and_not_their_square(positive_of):
    def made(total: int) -> ExampleSet:
        return training_of([example(number, positive_of(number, total)) for number in range(total)])

    few, many = lines_run(made(25_000)), lines_run(made(100_000))
    assert many < 60 * 100_000
    assert many < 4.8 * few
