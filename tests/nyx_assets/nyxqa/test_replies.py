"""Replies as models really write them."""

import json

import pytest

from nyx_assets.nyxqa.replies import Verdict, WrittenPair, pairs_in, verdict_in
from training_kernels.errors import ReplyFormatError

FIRST = {"question": "Who [really] built {it}?", "answer": "Marta's team", "distractors": ["a", "b", "c"]}
SECOND = {"question": "When?", "answer": 1907, "distractors": [1, 2, 3]}
WHOLE = json.dumps({"pairs": [FIRST, SECOND]}, indent=1)
READ = [
    WrittenPair("Who [really] built {it}?", "Marta's team", ("a", "b", "c")),
    WrittenPair("When?", "1907", ("1", "2", "3")),
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
    assert pairs_in('{"pairs": [{"question": "a\nb", "answer": "c"}]}') == ([WrittenPair("a\nb", "c", ())], True)


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
    assert pairs_in('[{"question": null}]') == ([WrittenPair("", "", ())], True)


def test_a_verdict_is_read_and_anything_else_refused():
    assert verdict_in('So: {"verdict": "reject", "reason": "guessable"}') == Verdict(False, "guessable")
    assert verdict_in('{"verdict": "keep"}').is_kept
    for text in ["keep", '{"verdict": "maybe"}', '{"verdict": true}', '[{"verdict": "keep"}]']:
        with pytest.raises(ReplyFormatError):
            verdict_in(text)
