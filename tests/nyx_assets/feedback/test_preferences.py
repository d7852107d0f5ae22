"""Roles of the windows that were tried."""

from dataclasses import replace
from typing import Any

import pytest

from nyx_assets.feedback.preferences import preferences
from nyx_assets.recipes import nyx_paper
from training_kernels.errors import DataError

RECIPE = replace(nyx_paper().feedback, min_grade=0.5, max_negatives=2)


def tries(*grades: float | None, qa_id: str = "q1", alone: float | None = None) -> list[dict[str, Any]]:
    """A try without document, then one window for each grade."""
    rows = [{"qa_id": qa_id, "window_rank": 0, "window": [], "grade": alone}]
    return rows + [
        {"qa_id": qa_id, "window_rank": rank, "window": [f"k{rank}"], "grade": grade}
        for rank, grade in enumerate(grades, start=1)
    ]


def roles(rows: list[dict[str, Any]]) -> str:
    """First letters of the roles, in the order of window ranks, the try without document first."""
    return "".join(row["role"][0] for row in preferences(rows, recipe=RECIPE))


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


def test_a_query_that_needs_no_document_is_not_used() -> None:
    assert roles(tries(0.2, 0.9, alone=0.5)) == "uuu"
    assert roles(tries(0.2, 0.9, alone=0.4)) == "unp"


def test_a_query_that_was_not_tried_without_document_is_used_all_the_same() -> None:
    assert roles(tries(0.2, 0.9)[1:]) == "np"


def test_rows_come_back_whole_by_query_and_rank_whatever_their_order() -> None:
    rows = tries(0.0, 1.0, qa_id="q2") + tries(1.0, 0.0, qa_id="q1")
    made = preferences(rows[::-1], recipe=RECIPE)
    assert [(row["qa_id"], row["window_rank"], row["role"]) for row in made] == [
        ("q1", 0, "unused"),
        ("q1", 1, "positive"),
        ("q1", 2, "negative"),
        ("q2", 0, "unused"),
        ("q2", 1, "negative"),
        ("q2", 2, "positive"),
    ]
    assert all({name: value for name, value in row.items() if name != "role"} in rows for row in made)


def test_a_window_tried_twice_or_graded_outside_the_scale_is_named() -> None:
    with pytest.raises(DataError, match="window 2 of query q1 was tried twice"):
        preferences(tries(0.1, 0.2) + tries(0.1, 0.2)[2:], recipe=RECIPE)
    with pytest.raises(DataError, match=r"query q1, window 1: a grade is 0 to 1, got 1\.5"):
        preferences(tries(1.5), recipe=RECIPE)
