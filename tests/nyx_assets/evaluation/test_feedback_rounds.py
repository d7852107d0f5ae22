"""A round goes on where the gain on the dev questions is worth it, and the first of the best rounds is chosen."""

import re

import pytest

from nyx_assets.evaluation.feedback_rounds import num_tried, round_row
from nyx_assets.past_calls import SpentCalls
from nyx_assets.recipes import RoundsRecipe
from nyx_assets.training.choosing import best_round
from training_kernels.errors import ConfigError

SPENT = SpentCalls(calls=7, cached_calls=3, input_tokens=70, output_tokens=14, cost_usd=0.5)


def row(number: int, after: dict[str, float], before: dict[str, float], min_gain: float = 0.25) -> dict:
    return round_row(
        number, after, before, metric="ndcg@10", recipe=RoundsRecipe(number=3, min_gain=min_gain, preferences="joined"),
        spent=SPENT, tried={"num_queries": 9, "num_preferences": 4}, checkpoint="v", is_stand_in=False, seed=1,
    )  # fmt: skip


BEFORE = {"a": 0.0, "b": 0.5, "only before": 1.0}


@pytest.mark.parametrize(
    ("number", "after", "goes_on", "reason"),
    [
        (1, {"a": 0.0, "b": 1.0}, True, r"round 1 gained \+0.2500 ndcg@10 on 2 dev questions"),
        (2, {"a": 0.0, "b": 0.9}, False, r"round 2 gained \+0.2000 .*below the 0.25"),
        (2, {"a": 0.0, "b": 0.0}, False, "-0.2500 .*below the 0.25"),
        (3, {"a": 1.0, "b": 1.0}, False, "it is the last round"),
        (1, {}, False, "no dev question"),
    ],
    ids=["worth it", "too little", "a loss", "the last", "no dev question"],
)
def test_a_further_round_follows_a_gain_that_is_worth_it(
    number: int, after: dict[str, float], goes_on: bool, reason: str
) -> None:
    made = row(number, after, BEFORE)
    assert made["goes_on"] is goes_on
    assert re.search(reason, made["reason"])
    assert (made["calls"], made["cached_calls"], made["cost_usd"]) == (7, 3, 0.5)


def test_the_gain_is_paired_and_the_score_is_the_mean() -> None:
    made = row(1, {"a": 0.5, "b": 1.0}, BEFORE)
    assert (made["dev_score"], made["gain"], made["num_dev_queries"]) == (0.75, 0.5, 2)
    assert made["interval_low"] == made["interval_high"] == 0.5


def test_the_first_of_the_best_rounds_is_chosen_and_the_last_where_none_was_scored() -> None:
    scores = [0.3, 0.5, 0.5, 0.4]
    assert best_round([{"round": place, "dev_score": score} for place, score in enumerate(scores, 1)]) == 2
    assert best_round([{"round": 1, "dev_score": None}, {"round": 2, "dev_score": None}]) == 2


def test_a_question_counts_once_however_often_it_was_tried() -> None:
    roles = [("q1", "unused"), ("q1", "positive"), ("q2", "negative"), ("q3", "positive"), ("q3", "negative")]
    tries = [{"qa_id": qa_id, "role": role} for qa_id, role in roles]
    assert num_tried(tries) == {"num_queries": 3, "num_preferences": 2}


@pytest.mark.parametrize("wrong", [{"number": 0}, {"min_gain": 1.0}, {"min_gain": -1.5}])
def test_rounds_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError, match="1 round or more"):
        RoundsRecipe(**{"number": 2, "min_gain": 0.0, "preferences": "joined", **wrong})
