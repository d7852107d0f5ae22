"""Read what a model wrote, as JSON or as nearly JSON as models write it; nothing is evaluated."""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from training_kernels.errors import ReplyFormatError

NUMBER = re.compile(r"\d+(?:\.\d+)?")

LONGEST_REPLY_CHARACTERS = 200_000
"""Longer replies are not searched for JSON: 50 times what a teacher is allowed to write."""


@dataclass(frozen=True, slots=True)
class WrittenPair:
    """A pair as the teacher wrote it; a field that it left out is empty."""

    question: str
    answer: str
    question_type: str


def pairs_in(text: str) -> tuple[list[WrittenPair], bool]:
    """The pairs of a reply, and whether the reply was whole; of one that was cut off, the pairs before the cut.

    Code fences and sentences around the JSON do not matter, nor does a bare list of pairs. Raises ReplyFormatError if
    there is no pair and no empty list of pairs.
    """
    for value in _values_in(text):
        listed = value.get("pairs") if isinstance(value, dict) else value or None  # a bare [] may be anything
        if isinstance(listed, list) and all(_is_pair(item) for item in listed):
            return [_pair(item) for item in listed], True
        if _is_pair(value):
            break  # a lone pair: the list around it did not parse
    salvaged = [_pair(value) for value in _values_in(text) if _is_pair(value)]
    if not salvaged:
        raise ReplyFormatError(f"no JSON with pairs in the reply {text[:200]!r}; allowed: {{'pairs': [...]}}")
    return salvaged, False


@dataclass(frozen=True, slots=True)
class Score:
    """What a judge gave a pair."""

    value: float
    reason: str


def score_in(text: str, *, lowest: float, highest: float) -> Score:
    """The score of a reply, also where it is written as "8/10" or as text. Raises ReplyFormatError if there is none in range."""
    for value in _values_in(text):
        if isinstance(value, dict) and "score" in value:
            written = str(value["score"]).partition("/")[0].strip()
            if NUMBER.fullmatch(written) and lowest <= float(written) <= highest:
                return Score(float(written), _text(value.get("reason")) or "the judge gave no reason")
    raise ReplyFormatError(f"no score in the reply {text[:200]!r}; allowed: a number from {lowest:g} to {highest:g}")


def answer_in(text: str) -> str:
    """The field `answer` of a reply, which may be empty. Raises ReplyFormatError if there is none."""
    for value in _values_in(text):
        if isinstance(value, dict) and isinstance(value.get("answer"), str | int | float):
            return _text(value["answer"])
    raise ReplyFormatError(f"no answer in the reply {text[:200]!r}; allowed: {{'answer': '…'}}")


def wrong_options_in(text: str) -> list[str]:
    """The wrong options of a reply, in order. Raises ReplyFormatError if there is no list of them."""
    for value in _values_in(text):
        listed = value.get("wrong_options") if isinstance(value, dict) else value or None  # a bare [] may be anything
        if isinstance(listed, list) and not any(isinstance(item, dict | list) for item in listed):
            return [_text(item) for item in listed]
    raise ReplyFormatError(f"no options in the reply {text[:200]!r}; allowed: {{'wrong_options': ['…', …]}}")


def _is_pair(value: Any) -> bool:
    return isinstance(value, dict) and "question" in value


def _pair(value: dict[str, Any]) -> WrittenPair:
    return WrittenPair(_text(value.get("question")), _text(value.get("answer")), _text(value.get("type")))


def _text(value: Any) -> str:
    """A field as text: models write numbers where the answer is one."""
    return "" if value is None or isinstance(value, dict | list) else str(value).strip()


def _values_in(text: str) -> Iterator[Any]:
    """JSON objects and lists in a text, outermost first; where none parses at a bracket, the next bracket is tried.

    Last comes the text from its first to its last bracket, if it is a Python literal: JSON in single quotes.
    """
    if len(text) > LONGEST_REPLY_CHARACTERS:
        raise ReplyFormatError(f"a reply of {len(text)} characters; at most {LONGEST_REPLY_CHARACTERS} are read")
    decoder = json.JSONDecoder(strict=False)  # models write line breaks inside strings
    place = 0
    while (place := _next_bracket(text, place)) >= 0:
        try:
            value, place = decoder.raw_decode(text, place)
        except json.JSONDecodeError:
            place += 1
        except RecursionError:
            return  # a thousand brackets deep is no reply, and trying each of them takes a minute
        else:
            yield value
    yield from _python_literals_in(text)


def _next_bracket(text: str, start: int) -> int:
    return min((place for bracket in "{[" if (place := text.find(bracket, start)) >= 0), default=-1)


def _python_literals_in(text: str) -> Iterator[Any]:
    """The text from its first to its last bracket, read as a Python literal: a dict or list in single quotes."""
    start, stop = _next_bracket(text, 0), max(text.rfind("}"), text.rfind("]"))
    if start < 0 or stop < start:
        return
    try:
        yield ast.literal_eval(text[start : stop + 1])
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return
