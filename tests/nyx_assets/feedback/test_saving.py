"""What early stop saves is foreseen from stored tries, by the functions that stop the run itself."""

from dataclasses import replace
from typing import Any

import pytest

from nyx_assets.feedback.preferences import preferences
from nyx_assets.feedback.saving import foreseen_calls, saved_text
from nyx_assets.feedback.stopping import next_wave
from nyx_assets.planning import Range
from nyx_assets.recipes import FEEDBACK_RECIPES, FeedbackRecipe
from nyx_assets.records import FEEDBACK_PREFERENCES
from resources.home import Home
from resources.tables import Provenance

RECIPE = replace(FEEDBACK_RECIPES["guarded"], top_k=9, min_grade=0.5, max_negatives=2)
ALL = replace(RECIPE, early_stop=False)


def grade(number: int, rank: int) -> float:
    """Every fifth query needs no document; the others are answered from one window and from no other."""
    return float(rank == 0 and number % 5 == 0) or float(rank == 1 + number % 9)


def tried(number: int, recipe: FeedbackRecipe) -> list[dict[str, Any]]:
    grades: dict[int, float | None] = {}
    while wave := next_wave(grades, 9, recipe):
        grades |= {rank: grade(number, rank) for rank in wave}
    empty = dict.fromkeys(FEEDBACK_PREFERENCES.names)
    tries = [empty | {"qa_id": f"q{number}", "window_rank": rank, "grade": one} for rank, one in grades.items()]
    return preferences(tries, num_windows=9, recipe=recipe)


def keep(home: Home, partition: str, numbers: range, recipe: FeedbackRecipe) -> int:
    rows = [row for number in numbers for row in tried(number, recipe)]
    with home.tables.write(
        "feedback_preferences", FEEDBACK_PREFERENCES, partition=partition, provenance=Provenance(code_version="1")
    ) as table:
        table.append(rows)
    return len(rows)


def test_without_early_stop_every_call_is_foreseen_exactly(home: Home) -> None:
    foreseen = foreseen_calls(home, ALL)
    assert foreseen.asked == Range.exactly(10)
    assert foreseen.saved == Range.exactly(0)


def test_where_nothing_was_tried_the_range_is_all_that_is_possible(home: Home) -> None:
    foreseen = foreseen_calls(home, RECIPE)
    assert (foreseen.asked.low, foreseen.asked.high) == (1, 10)
    assert foreseen.num_sampled == 0


@pytest.mark.parametrize("followed", [RECIPE, ALL], ids=["stopped", "asked all"])
def test_the_share_of_a_sample_holds_for_other_queries_within_the_range(home: Home, followed: FeedbackRecipe) -> None:
    keep(home, "first", range(300), followed)
    foreseen = foreseen_calls(home, RECIPE)
    assert foreseen.num_sampled == 300
    asked = keep(home, "second", range(1000, 1400), RECIPE)
    assert foreseen.asked.low * 400 <= asked <= foreseen.asked.high * 400
    assert foreseen.asked.likely * 400 == pytest.approx(asked, rel=0.02)
    assert foreseen.saved.likely * 400 == pytest.approx(400 * 10 - asked, rel=0.02)
    assert foreseen.asked.low + foreseen.saved.high == pytest.approx(10)


def test_a_sample_that_stopped_sooner_widens_the_range(home: Home) -> None:
    keep(home, "first", range(300), replace(RECIPE, max_negatives=0))
    foreseen = foreseen_calls(home, RECIPE)
    asked = sum(len(tried(number, RECIPE)) for number in range(300)) / 300
    assert foreseen.asked.low <= asked <= foreseen.asked.high
    assert foreseen.asked.high - foreseen.asked.low > 3


def test_a_sample_of_fewer_windows_widens_the_range(home: Home) -> None:
    keep(home, "first", range(300), RECIPE)
    more = foreseen_calls(home, replace(RECIPE, top_k=18))
    # half of the queries are settled within nine windows whatever comes after; of the others nothing is known
    assert more.asked.low < more.asked.likely < more.asked.high <= 19
    assert more.share.low < foreseen_calls(home, RECIPE).share.likely


def test_actual_and_foreseen_are_said_together(home: Home) -> None:
    keep(home, "first", range(300), RECIPE)
    said = saved_text(foreseen_calls(home, RECIPE), num_queries=10, asked=60, left=40)
    assert said.startswith("60 asked of 100, 40% saved; foreseen ")
    assert said.endswith("by 300 queries tried before")
    said = saved_text(foreseen_calls(home, ALL), num_queries=10, asked=100, left=0)
    assert said == "100 asked of 100, 0% saved; foreseen 100 asked, 0% saved, since every window is asked"
