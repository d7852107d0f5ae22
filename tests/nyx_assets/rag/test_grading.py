"""Grades against values worked out by hand."""

import pytest

from nyx_assets.rag.grading import (
    answer_tokens,
    chosen_option,
    exact_match,
    normalise_answer,
    option_accuracy,
    token_f1,
)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Eiffel Tower!", "eiffel tower"),
        ("an apple, a day", "apple day"),
        ("theatre", "theatre"),  # an article inside a word stays
        ("U.S.A.", "usa"),
        ("1,907", "1907"),
        ("“冰糖”。", "冰糖"),
        ("¿Qué?", "qué"),
        ("the", ""),
    ],
)
def test_normalisation_is_the_published_one(text, normal):
    assert normalise_answer(text) == normal


def test_chinese_characters_are_tokens_of_their_own():
    assert answer_tokens("冰糖 20g 左右") == ["冰", "糖", "20g", "左", "右"]


def test_exact_match_needs_one_golden_answer():
    assert exact_match("the Marta Olsen.", ["Ole", "marta olsen"]) == 1.0
    assert exact_match("Marta", ["Ole", "marta olsen"]) == 0.0
    assert exact_match("Marta", []) == 0.0


@pytest.mark.parametrize(
    ("answer", "golden", "f1"),
    [
        ("Marta Olsen", ["Marta Olsen"], 1.0),
        ("engineer Marta Olsen of Bergen", ["Marta Olsen"], 2 * (2 / 5) * 1 / (2 / 5 + 1)),
        ("Marta", ["Marta Olsen Dahl"], 2 * 1 * (1 / 3) / (1 + 1 / 3)),
        ("red red red", ["red blue"], 2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2)),  # a repeat counts once per golden one
        ("x", ["y", "x z", "q x z w"], 2 / 3),  # the best of several
        ("冰糖水", ["冰糖"], 2 * (2 / 3) * 1 / (2 / 3 + 1)),
        ("nothing", ["at all"], 0.0),
        ("", ["x"], 0.0),
        ("the", ["a"], 1.0),  # both empty after normalisation
    ],
)
def test_token_f1_by_hand(answer, golden, f1):
    assert token_f1(answer, golden) == pytest.approx(f1)


OPTIONS = ["Bergen", "the Oslo fjord", "1907", "B"]


@pytest.mark.parametrize(
    ("answer", "place"),
    [
        ("Bergen", 0),
        ("oslo fjord.", 1),
        ("A", 0),
        ("(C)", 2),
        ("C.", 2),
        ("B", 3),  # the text of an option goes before the letter of another
        ("B. the Oslo fjord", 1),
        ("C) 1907", 2),
        ("C) Bergen", None),  # letter and text contradict each other
        ("E", None),
        ("Trondheim", None),
        ("", None),
    ],
)
def test_an_option_is_named_by_its_text_or_its_letter(answer, place):
    assert chosen_option(answer, OPTIONS) == place


def test_accuracy_is_one_for_the_right_option_only():
    assert option_accuracy("bergen", OPTIONS, 0) == 1.0
    assert option_accuracy("bergen", OPTIONS, 1) == 0.0
    assert option_accuracy("unknown", OPTIONS, 0) == 0.0
