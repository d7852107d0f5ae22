"""Checks of negatives: silent on good tables, and naming each planted fault."""

from pathlib import Path
from typing import Any

import pytest

from nyx_assets.mining.checks import no_negative_is_golden
from nyx_assets.records import FILTERED_QA, NEGATIVES
from resources.home import Home
from resources.tables import Provenance


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """q1, q2 and q4 in training and q3 held out."""
    home = Home.at(tmp_path)
    write(home, "filtered_qa", FILTERED_QA, "a", pair("q1", "c1", "d1", "train"), pair("q3", "c3", "d3", "test"))
    write(home, "filtered_qa", FILTERED_QA, "b", pair("q2", "c2", "d2", "train"), pair("q4", "c4", "d4", "train"))
    return home


def write(home: Home, asset: str, schema: Any, partition: str | None, *rows: dict[str, Any]) -> None:
    empty = dict.fromkeys(schema.names)
    with home.tables.write(asset, schema, partition=partition, provenance=Provenance(code_version="1")) as table:
        table.append({**empty, **row} for row in rows)


def pair(qa_id: str, chunk_id: str, doc_id: str, split: str) -> dict[str, Any]:
    return {"qa_id": qa_id, "chunk_id": chunk_id, "doc_id": doc_id, "split": split}


@pytest.mark.parametrize(
    ("qa_id", "chunk_id", "faults"),
    [
        ("q1", "c2", []),
        ("q1", "c1", ["pair q1 has its golden chunk c1 as a negative"]),
        ("q3", "c1", ["negative c1 belongs to q3, which is no training pair"]),
        ("q9", "c1", ["negative c1 belongs to q9, which is no training pair"]),
    ],
    ids=["good", "golden", "held out", "unknown"],
)
def test_a_negative_that_is_golden_or_of_no_training_pair_is_found(
    home: Home, qa_id: str, chunk_id: str, faults: list[str]
) -> None:
    write(home, "negatives", NEGATIVES, None, {"qa_id": "q2", "chunk_id": "c3"}, {"qa_id": qa_id, "chunk_id": chunk_id})
    assert no_negative_is_golden(home, None) == faults
