"""Replies as models really write them."""

import json

import pytest

from nyx_assets.nyxqa.replies import Score, WrittenPair, answer_in, pairs_in, score_in, wrong_options_in
from training_kernels.errors import ReplyFormatError

FIRST = {"type": "fact", "question": "Who [really] built {it}?", "answer": "Marta's team"}
SECOND = {"type": "number", "question": "When?", "answer": 1907}
WHOLE = json.dumps({"pairs": [FIRST, SECOND]}, indent=1)
READ = [
    WrittenPair("Who [really] built {it}?", "Marta's team", "fact"),
    WrittenPair("When?", "1907", "number"),
]


@pytest.mark.parametrize(
    "text",
    [
        WHOLE,
        f"Sure! Here {{are}} the pairs [as asked]:\n```json\n{WHOLE}\n```\nAnything else?",
        json.dumps([FIRST, SECOND]),
        repr({"pairs": [FIRST, SECOND]}),  # single quotes, and double ones around the apostrophe
        f"```python\n{[FIRST, SECOND]!r}\n```",
        WHOLE.replace("Marta's team", "Marta's team").replace('"answer"', '\n"answer"'),
    ],
)
def test_json_is_found_whatever_stands_around_it(text):
    assert pairs_in(text) == (READ, True)


def test_of_a_reply_that_was_cut_off_the_whole_pairs_are_kept():
    assert pairs_in(WHOLE[: WHOLE.index("1907")]) == (READ[:1], False)


def test_an_empty_list_of_pairs_is_a_whole_reply():
    assert pairs_in('{"pairs": []}') == ([], True)


def test_a_line_break_inside_a_string_is_survived():
    assert pairs_in('{"pairs": [{"question": "a\nb", "answer": "c"}]}') == ([WrittenPair("a\nb", "c", "")], True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I cannot do that.",
        "{",
        "[[[[[",
        "{'question'",
        '{"answers": 3}',
        "[1, 2]",
        "[" * 50_000,
        "x" * 300_000,
        "__import__('os')",
    ],
)
def test_what_holds_no_pair_is_a_format_error_that_quotes_it(text):
    with pytest.raises(ReplyFormatError):
        pairs_in(text)


def test_a_pair_that_lacks_fields_has_empty_ones():
    assert pairs_in('[{"question": null}]') == ([WrittenPair("", "", "")], True)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ('So: {"reason": "guessable", "score": 3}', Score(3, "guessable")),
        ('{"reason": "fine", "score": "8/10"}', Score(8, "fine")),
        ('{"score": "7.5"}', Score(7.5, "the judge gave no reason")),
        ("{'reason': 'it is', 'score': 10}", Score(10, "it is")),
    ],
)
def test_a_score_is_read_as_judges_write_it(text, score):
    assert score_in(text, lowest=1, highest=10) == score


@pytest.mark.parametrize(
    "text", ["8", '{"score": "high"}', '{"score": 11}', '{"score": 0}', '{"score": true}', '{"verdict": 7}']
)
def test_what_is_no_score_in_range_is_refused(text):
    with pytest.raises(ReplyFormatError, match="from 1 to 10"):
        score_in(text, lowest=1, highest=10)


def test_a_refined_answer_may_be_empty_but_not_missing():
    assert answer_in('```json\n{"answer": 1907}\n```') == "1907"
    assert answer_in('{"answer": ""}') == ""
    for text in ["Marta", '{"answer": null}', '{"answer": ["a"]}', '{"reply": "x"}']:
        with pytest.raises(ReplyFormatError):
            answer_in(text)


def test_wrong_options_are_read_from_an_object_or_a_bare_list():
    assert wrong_options_in('{"wrong_options": ["a", 2, "c"]}') == ["a", "2", "c"]
    assert wrong_options_in("Here: ['a', 'b']") == ["a", "b"]
    assert wrong_options_in('{"wrong_options": []}') == []
    for text in ["a, b, c", '{"wrong_options": "a"}', '[{"a": 1}]']:
        with pytest.raises(ReplyFormatError):
            wrong_options_in(text)
