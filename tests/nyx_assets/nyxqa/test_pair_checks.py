"""Checks of question-answer pairs: silent on good tables, and naming each planted fault."""

from typing import Any

import pytest

from nyx_assets.nyxqa.checks import (
    every_draft_is_kept_or_rejected,
    every_pair_names_an_existing_chunk,
    the_right_option_is_the_answer,
)
from nyx_assets.records import CHUNKED_CORPUS, FILTERED_QA, RAW_QA, REJECTED_QA
from resources.home import Home
from resources.tables import Provenance


def write(home: Home, asset: str, schema: Any, *rows: dict[str, Any]) -> None:
    empty = dict.fromkeys(schema.names)
    with home.tables.write(asset, schema, partition="p", provenance=Provenance(code_version="1")) as table:
        table.append({**empty, **row} for row in rows)


@pytest.mark.parametrize(
    ("raw", "kept", "rejected", "faults"),
    [
        ("abc", "ac", "b", []),
        ("", "", "", []),
        ("abc", "a", "b", ["pair c: 1 drafts, 0 times kept or rejected"]),
        ("ab", "ab", "b", ["pair b: 1 drafts, 2 times kept or rejected"]),
        ("a", "ab", "", ["pair b: 0 drafts, 1 times kept or rejected"]),
        ("aab", "a", "ab", ["pair a: 2 drafts, 2 times kept or rejected"]),
    ],
    ids=["good", "empty", "lost", "both", "invented", "drafted twice"],
)
def test_a_draft_that_was_lost_doubled_or_invented_is_found(
    home: Home, raw: str, kept: str, rejected: str, faults: list[str]
) -> None:
    write(home, "raw_qa", RAW_QA, *({"qa_id": one} for one in raw))
    write(home, "filtered_qa", FILTERED_QA, *({"qa_id": one} for one in kept))
    write(home, "rejected_qa", REJECTED_QA, *({"qa_id": one} for one in rejected))
    assert every_draft_is_kept_or_rejected(home, "p") == faults


def test_a_pair_of_a_chunk_that_is_not_there_is_found(home: Home) -> None:
    write(home, "chunked_corpus", CHUNKED_CORPUS, {"chunk_id": "c1"}, {"chunk_id": "c2"})
    write(home, "filtered_qa", FILTERED_QA, {"qa_id": "q1", "chunk_id": "c2"}, {"qa_id": "q2", "chunk_id": "c9"})
    assert every_pair_names_an_existing_chunk(home, "p") == ["pair q2 names chunk c9"]


@pytest.mark.parametrize(
    ("options", "right_option", "is_good"),
    [
        (["north", "south", "east"], 1, True),
        (["north", "south", "east"], 0, False),
        (["north", "south", "south"], 1, False),
        (["north", "south"], 2, False),
        (["north", "south"], -1, False),  # Python would take the last one
    ],
)
def test_options_that_are_equal_or_point_elsewhere_are_found(
    home: Home, options: list[str], right_option: int, is_good: bool
) -> None:
    row = {"qa_id": "q1", "answer": "south", "options": options, "right_option": right_option}
    write(home, "filtered_qa", FILTERED_QA, row)
    faults = the_right_option_is_the_answer(home, "p")
    assert (faults == []) == is_good
    assert is_good or faults[0].startswith("pair q1: answer 'south', options")
