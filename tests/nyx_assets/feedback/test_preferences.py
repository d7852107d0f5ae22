"""Roles of the windows that were tried."""

from dataclasses import replace
from typing import Any

import pytest

from nyx_assets.feedback.preferences import preferences
from nyx_assets.recipes import FEEDBACK_RECIPES, FeedbackRecipe
from training_kernels.errors import DataError

RECIPE = replace(FEEDBACK_RECIPES["guarded"], min_grade=0.5, max_negatives=2)
BEST = replace(RECIPE, positive="best")


def tries(*grades: float | None, qa_id: str = "q1", alone: float | None = None) -> list[dict[str, Any]]:
    """A try without document, then one window for each grade."""
    rows = [{"qa_id": qa_id, "window_rank": 0, "window": [], "grade": alone}]
    return rows + [
        {"qa_id": qa_id, "window_rank": rank, "window": [f"k{rank}"], "grade": grade}
        for rank, grade in enumerate(grades, start=1)
    ]


def roles(rows: list[dict[str, Any]], recipe: FeedbackRecipe = RECIPE) -> str:
    """First letters of the roles, in the order of window ranks, the try without document first."""
    return "".join(row["role"][0] for row in preferences(rows, num_windows=9, recipe=recipe))


@pytest.mark.parametrize(
    ("grades", "expected"),
    [
        ((0.2, 0.6, 0.9, 0.0, 0.4), "unpunu"),  # the first that passes, not the best; two negatives at most
        ((0.5, 0.4999), "upn"),  # the threshold itself passes
        ((1.0, 1.0, 0.0), "upun"),  # one that answered as well is no negative
        ((0.4, 0.3), "uuu"),  # nothing answered
        ((None, 0.9, None, 0.1), "uupun"),  # refused tries say nothing
        ((0.9,), "up"),
    ],
)
def test_the_first_window_that_answers_is_the_positive_and_failures_the_negatives(
    grades: tuple[float | None, ...], expected: str
) -> None:
    assert roles(tries(*grades)) == expected


@pytest.mark.parametrize(
    ("grades", "expected"),
    [
        ((0.2, 0.6, 0.9, 0.0, 0.4), "unupnu"),  # the best, not the first that passes, which is no negative either
        ((0.7, 0.9, 0.9, 0.1), "uupun"),  # the first of equal ones
        ((0.4, 0.3), "uuu"),  # the best of failures is none
    ],
)
def test_by_recipe_the_first_window_with_the_best_grade_is_the_positive(
    grades: tuple[float, ...], expected: str
) -> None:
    assert roles(tries(*grades), BEST) == expected


def test_a_query_that_needs_no_document_is_not_used() -> None:
    assert roles(tries(0.2, 0.9, alone=0.5)) == "uuu"
    assert roles(tries(0.2, 0.9, alone=0.4)) == "unp"


def test_a_query_that_needs_no_document_is_marked_and_by_recipe_used_all_the_same() -> None:
    kept = replace(RECIPE, leaves_out_closed_book=False)
    assert roles(tries(0.2, 0.9, alone=0.5), kept) == "unp"
    for recipe in (RECIPE, kept):
        for alone, marked in ((0.5, True), (0.4, False), (None, None)):
            rows = preferences(tries(0.2, alone=alone), num_windows=9, recipe=recipe)
            assert [row["answers_alone"] for row in rows] == [marked, marked]


def test_windows_that_were_not_asked_are_counted() -> None:
    rows = preferences(tries(0.2, 0.9), num_windows=9, recipe=RECIPE)
    assert [row["num_not_asked"] for row in rows] == [7, 7, 7]


def test_a_query_that_was_not_tried_without_document_is_used_all_the_same() -> None:
    assert roles(tries(0.2, 0.9)[1:]) == "np"


def test_rows_come_back_whole_by_rank_whatever_their_order() -> None:
    rows = tries(0.0, 1.0)
    made = preferences(rows[::-1], num_windows=2, recipe=RECIPE)
    assert [(row["window_rank"], row["role"]) for row in made] == [(0, "unused"), (1, "negative"), (2, "positive")]
    added = {"role", "answers_alone", "num_not_asked"}
    assert [{name: value for name, value in row.items() if name not in added} for row in made] == rows


def test_a_window_tried_twice_or_graded_outside_the_scale_is_named() -> None:
    with pytest.raises(DataError, match="window 2 of query q1 was tried twice"):
        roles(tries(0.1, 0.2) + tries(0.1, 0.2)[2:])
    with pytest.raises(DataError, match=r"query q1, window 1: a grade is 0 to 1, got 1\.5"):
        roles(tries(1.5))
    with pytest.raises(DataError, match=r"within one query, got tries of \['q1', 'q2'\]"):
        roles(tries(0.1)[:1] + tries(0.1, qa_id="q2")[1:])
