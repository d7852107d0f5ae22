"""The learning benchmark trains by the real trainer, on scenes it is not asked for, and finds more than before."""

import functools
import operator
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.learning import DIMS, TARGETS, WITHOUT_TEXT, learned, one_seed
from benchmarks.scenes import TASKS, ScenePictures, held_out_pairs, scenes_of_one_thing, scenes_of_things, training_set
from training_kernels.recipes import tiny
from training_kernels.sampling import plan_batches


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return one_seed(0, num_steps=30, folder=tmp_path_factory.mktemp("learning"), pool=64)


@pytest.mark.long
def test_a_short_run_finds_more_than_the_untrained_control(result):
    run, trained, untrained = result
    assert run.num_steps == 30
    assert run.processor_seconds > 0
    for task in TASKS:
        assert trained[task][128] > untrained[task][128], task
    assert sum(trained[task][128] for task in TASKS) >= 2 * sum(untrained[task][128] for task in TASKS)


@pytest.mark.long
def test_the_rows_hold_every_seed_and_the_targets(result):
    rows = {row.name.removeprefix("learning, "): row for row in learned([result, result], pool=64)}
    assert {name: row.target for name, row in rows.items() if row.target} == TARGETS
    mixed = rows["mixed"]
    assert mixed.by_seed == (mixed.ours, mixed.ours)
    assert mixed.ratio == mixed.ours / max(result[2]["mixed"][128], 1 / 64)
    assert tuple(mixed.by_dim) == DIMS
    assert len(mixed.seconds) == len(mixed.processor_seconds) == 2
    assert rows[WITHOUT_TEXT].target is None


def test_no_scene_that_is_asked_for_is_trained_on_and_no_drawing_comes_twice():
    scenes = scenes_of_one_thing()
    assert len(scenes) == len(set(scenes)) == 1536
    training = training_set(scenes, range(256, 1536), tasks=TASKS, num_examples=2_000, seed=0)
    trained = [image for document in training.documents.values() for image in document.images]
    assert len(trained) == len(set(trained)) == 2_000 * (1 + 1 + 2)
    assert {int(image.split("-")[0]) for image in trained} == set(range(256, 1536))
    asked = [
        image
        for task in TASKS
        for document in functools.reduce(operator.iadd, held_out_pairs(scenes, range(256), task=task, seed=0), [])
        for image in document.images
    ]
    assert {int(image.split("-")[0]) for image in asked} == set(range(256))


def test_no_batch_holds_two_answers_to_one_query():
    scenes = scenes_of_one_thing()
    training = training_set(scenes, range(400), tasks=TASKS, num_examples=1_000, seed=0)
    plan = plan_batches(training, replace(tiny(), batch_size=64, max_steps=10_000, epochs=1))
    for batch in plan:
        things = [training.cluster_by_document[example.positive] for example in batch]
        assert len(things) == len(set(things))


def test_two_drawings_of_a_scene_differ_less_than_two_scenes():
    scenes = scenes_of_things(3, num_scenes=40, seed=0)
    assert len(set(scenes)) == 40
    pictures = ScenePictures(scenes)
    first, again = (
        [np.asarray(pictures.open(f"{scene}-{drawing}"), dtype=float) for scene in range(40)] for drawing in (0, 1)
    )
    distance = [[np.abs(one - other).mean() for other in again] for one in first]
    assert not np.array_equal(first[0], again[0])
    assert np.mean(np.argmin(distance, axis=1) == np.arange(40)) > 0.9
