"""Early stop: the same roles by fewer calls, in waves none of which asks in vain."""

import itertools
from dataclasses import replace
from typing import Any

import pytest

from nyx_assets.feedback.preferences import preferences
from nyx_assets.feedback.stopping import next_wave
from nyx_assets.recipes import FEEDBACK_RECIPES, FeedbackRecipe

GUARDED = replace(FEEDBACK_RECIPES["guarded"], min_grade=0.5, max_negatives=2)
RECIPES = [
    replace(GUARDED, positive=positive, leaves_out_closed_book=leaves_out, max_negatives=negatives)
    for positive in ("first_answered", "best")
    for leaves_out in (True, False)
    for negatives in (0, 2)
]
GRADES = (None, 0.0, 0.5, 0.8, 1.0)
EVERY_QUERY = list(itertools.product((0.0, 1.0, None), *[GRADES] * 4))
"""Grades without a document and of four windows, every combination."""


def asked(grades: tuple[float | None, ...], recipe: FeedbackRecipe) -> dict[int, float | None]:
    known: dict[int, float | None] = {}
    while wave := next_wave(known, len(grades) - 1, recipe):
        known |= {rank: grades[rank] for rank in wave}
    return known


def roles(known: dict[int, float | None], recipe: FeedbackRecipe) -> dict[int, str]:
    rows: list[dict[str, Any]] = [{"qa_id": "q", "window_rank": rank, "grade": grade} for rank, grade in known.items()]
    made = preferences(rows, num_windows=4, recipe=recipe)
    return {row["window_rank"]: row["role"] for row in made if row["role"] != "unused"}


@pytest.mark.parametrize("recipe", RECIPES)
def test_stopping_early_changes_no_role_of_any_query(recipe: FeedbackRecipe) -> None:
    for grades in EVERY_QUERY:
        everything = dict(enumerate(grades))
        known = asked(grades, recipe)
        if any(role == "positive" for role in roles(everything, recipe).values()):
            assert roles(known, recipe) == roles(everything, recipe), grades
        assert asked(grades, replace(recipe, early_stop=False)) == everything


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_wave_asks_no_window_that_asking_one_by_one_would_spare(recipe: FeedbackRecipe) -> None:
    for grades in EVERY_QUERY:
        one_by_one: dict[int, float | None] = {}
        while wave := next_wave(one_by_one, 4, recipe):
            one_by_one[wave[0]] = grades[wave[0]]
        assert asked(grades, recipe) == one_by_one, grades


def test_what_needs_no_document_costs_one_call() -> None:
    assert asked((0.5, 0.0, 0.0, 0.9), GUARDED) == {0: 0.5}


def test_windows_after_the_positive_are_asked_only_to_become_negatives() -> None:
    assert list(asked((0.0, 0.9, 0.1, 0.2, 0.3, 0.4), GUARDED)) == [0, 1, 2, 3]
    assert list(asked((0.0, 0.1, 0.2, 0.9, 0.3, 0.4), GUARDED)) == [0, 1, 2, 3]
    assert list(asked((0.0, 0.1, 0.2, 0.3, 0.4, 0.9), GUARDED)) == [0, 1, 2, 3, 4, 5]
    assert list(asked((0.0, 0.9, 0.1, 0.2), replace(GUARDED, max_negatives=0))) == [0, 1]


def test_the_best_is_settled_by_a_grade_that_nothing_beats_only() -> None:
    best = replace(GUARDED, positive="best", max_negatives=1)
    assert list(asked((0.0, 0.1, 0.8, 1.0, 0.9), best)) == [0, 1, 2, 3]
    assert list(asked((0.0, 0.1, 0.8, 0.7, 0.9), best)) == [0, 1, 2, 3, 4]
