"""Checks of preferences: silent on good tables, and naming each planted fault."""

from typing import Any

import pytest

from nyx_assets.feedback.checks import feedback_uses_training_pairs_only, no_negative_window_answered
from nyx_assets.records import FEEDBACK_PREFERENCES, FILTERED_QA
from resources.home import Home
from resources.tables import Provenance

ASSET = "round_2/feedback_preferences"


def write(home: Home, asset: str, schema: Any, *rows: dict[str, Any]) -> None:
    empty = dict.fromkeys(schema.names)
    with home.tables.write(asset, schema, partition="p", provenance=Provenance(code_version="1")) as table:
        table.append({**empty, **row} for row in rows)


def tried(rank: int, role: str, grade: float | None, qa_id: str = "q1") -> dict[str, Any]:
    return {"qa_id": qa_id, "window_rank": rank, "role": role, "grade": grade}


GOOD = [tried(0, "unused", None), tried(1, "negative", 0.4), tried(2, "positive", 0.5), tried(3, "unused", 1.0)]


@pytest.mark.parametrize(
    ("rows", "faults"),
    [
        (GOOD, []),
        ([*GOOD, tried(4, "negative", 0.5)], ["query q1: window 4 is a negative with grade 0.5"]),
        ([*GOOD, tried(4, "positive", 0.9)], ["query q1 has two positives"]),
        ([*GOOD, tried(1, "negative", 0.0, "q2")], ["query q2: window 1 is a negative with grade 0.0"]),
        ([*GOOD, tried(4, "negative", None)], ["query q1: window 4 is a negative without a grade"]),
    ],
    ids=["good", "answered as well", "two positives", "no positive", "refused"],
)
def test_a_wrong_role_is_found(home: Home, rows: list[dict[str, Any]], faults: list[str]) -> None:
    write(home, ASSET, FEEDBACK_PREFERENCES, *rows)
    assert no_negative_window_answered(home, "p", ASSET) == faults


def test_a_held_out_or_unknown_question_is_found(home: Home) -> None:
    write(home, "filtered_qa", FILTERED_QA, {"qa_id": "q1", "split": "train"}, {"qa_id": "q2", "split": "test"})
    write(home, ASSET, FEEDBACK_PREFERENCES, *GOOD)
    assert feedback_uses_training_pairs_only(home, "p", ASSET) == []
    write(
        home,
        ASSET,
        FEEDBACK_PREFERENCES,
        *GOOD,
        tried(1, "unused", 0, "q2"),
        tried(1, "unused", 0, "q3"),
    )
    assert feedback_uses_training_pairs_only(home, "p", ASSET) == [
        "query q2 is in split test",
        "query q3 is in split None",
    ]
