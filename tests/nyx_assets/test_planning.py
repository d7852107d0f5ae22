"""Ranges add and multiply, lines sum what is planned, totals leave out what is free, and caps in the way are named."""

import math
from dataclasses import replace

import pytest

from nyx_assets.planning import NOTHING, Plan, PlannedCalls, Range, RoleTerms, lines_of, plan_json, plan_text
from resources.vlm_bookings import Elsewhere
from resources.vlm_budget import Caps, Spending

NO_CAPS = Caps(max_calls=math.inf, max_tokens=math.inf, max_usd=math.inf, since=0.0)
NOTHING_SPENT = Spending()


def terms(*, is_free=False) -> RoleTerms:
    return RoleTerms(
        model="m",
        is_free=is_free,
        max_in_flight=4,
        usd_per_input_token=0.001,
        usd_per_output_token=0.01,
        seconds_a_call=Range(1, 2, 9),
    )


def calls(asset: str, role: str, number: Range, *, basis="counted", kept=0, partition="p") -> PlannedCalls:
    return PlannedCalls(
        asset=asset,
        partition=partition,
        role=role,
        calls=number,
        kept=kept,
        input_tokens=number * 100,
        output_tokens=number * Range(1, 2, 5),
        basis=basis,
    )


def plan(*planned: PlannedCalls, caps=NO_CAPS, spent=NOTHING_SPENT, free=()) -> Plan:
    by_role = {role: terms(is_free=role in free) for role in ("teacher", "generator", "judge")}
    return Plan(lines=lines_of(planned, by_role), spent=spent, interrupted=0, caps=caps, work=())


def test_ranges_add_and_multiply_end_by_end():
    assert Range(1, 2, 4) + Range(10, 20, 40) == Range(11, 22, 44)
    assert Range(1, 2, 4) * Range(3, 5, 7) == Range(3, 10, 28)
    assert Range(1, 2, 4) * 3 == Range(3, 6, 12)
    assert Range(1, 5, 9).less(4) == Range(0, 1, 5)
    assert Range(1, 5, 9).at_most(6) == Range(1, 5, 6)
    assert Range(2, 6, 12).over(Range(1, 2, 3)) == Range(2, 3, 4)


def test_a_line_adds_up_its_partitions_and_takes_the_least_certain_basis():
    (line,) = plan(
        calls("raw_qa", "teacher", Range.exactly(30), kept=7, partition="a"),
        calls("raw_qa", "teacher", Range(10, 20, 40), basis="sampled", partition="b"),
    ).lines
    assert (line.calls, line.kept, line.partitions, line.basis) == (Range(40, 50, 70), 7, 2, "sampled")
    assert line.input_tokens == Range(4000, 5000, 7000)
    assert line.output_tokens == Range(30 + 10, 60 + 40, 150 + 200)
    assert line.usd.likely == pytest.approx(5000 * 0.001 + 100 * 0.01)
    assert line.hours.high == pytest.approx(70 * 9 / 4 / 3600)


def test_lines_stand_in_the_order_in_which_assets_are_made():
    ahead = plan(
        calls("rag_scores", "generator", Range.exactly(1)),
        calls("filtered_qa", "judge", Range.exactly(1)),
        calls("raw_qa", "teacher", Range.exactly(1)),
    )
    assert [line.asset for line in ahead.lines] == ["raw_qa", "filtered_qa", "rag_scores"]


def test_what_is_free_is_shown_and_not_added_to_what_is_paid():
    ahead = plan(
        calls("raw_qa", "teacher", Range.exactly(5)),
        calls("rag_scores", "generator", Range.exactly(900)),
        free=("generator",),
    )
    assert ahead.total("calls") == Range.exactly(5)
    assert "900 calls" in plan_text(ahead)
    assert plan_json(ahead)["total"]["calls"] == {"low": 5, "likely": 5, "high": 5}


@pytest.mark.parametrize(
    ("caps", "named"),
    [
        ({"max_calls": 104}, ["NYX_MAX_CALLS=104"]),
        ({"max_calls": 105}, []),
        ({"max_tokens": 1000 + 5 * 102 - 1}, ["NYX_MAX_TOKENS=1509"]),
        ({"max_usd": 2.0 + 5 * 0.12 - 0.01}, ["NYX_MAX_USD=2.59"]),
    ],
)
def test_a_cap_that_what_was_spent_and_what_is_likely_would_pass_is_named(caps, named):
    unlimited = {"max_calls": math.inf, "max_tokens": math.inf, "max_usd": math.inf}
    ahead = plan(
        calls("raw_qa", "teacher", Range.exactly(5)),
        caps=Caps(**(unlimited | caps), since=0.0),
        spent=Spending(calls=100, tokens=1000, usd=2.0),
    )
    assert ahead.caps_in_the_way == named
    assert all(name in plan_text(ahead) for name in named)


def test_what_early_stop_saves_is_said_with_its_share_and_adds_up():
    of_partition = replace(calls("feedback_preferences", "generator", Range(20, 30, 60)), saved=Range(40, 70, 80))
    ahead = plan(of_partition, of_partition)
    (line,) = ahead.lines
    assert line.saved == Range(80, 140, 160)
    assert "140 (80 to 160) saved by early stop (70%)" in plan_text(ahead)
    assert plan_json(ahead)["lines"][0]["saved"] == {"low": 80, "likely": 140, "high": 160}
    assert "early stop" not in plan_text(plan(calls("raw_qa", "teacher", Range.exactly(1))))


def test_nothing_ahead_says_so():
    ahead = plan()
    assert ahead.total("usd") == NOTHING
    assert "Nothing is to be asked" in plan_text(ahead)


def test_what_other_hosts_spent_and_booked_is_said_with_who_they_are():
    alone = plan(spent=Spending(calls=2, tokens=30, usd=0.5))
    assert "Spent so far: 2 calls, 30 tokens, 0.5000 USD" in plan_text(alone)
    elsewhere = Elsewhere(spent=Spending(calls=1), booked=Spending(calls=9), hosts=("host-b",))
    ahead = replace(alone, elsewhere=elsewhere)
    assert (
        "Spent so far by all hosts of the home: 2 calls, 30 tokens, 0.5000 USD; by others than this one: 1 calls, 0 tokens, "
        "0.0000 USD; booked by host-b beside: 9 calls" in plan_text(ahead)
    )
    said = plan_json(ahead)
    assert (said["spent"]["calls"], said["spent_elsewhere"]["calls"], said["booked_elsewhere"]["calls"]) == (2, 1, 9)
