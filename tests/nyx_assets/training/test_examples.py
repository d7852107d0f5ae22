"""Training examples name the right documents: golden chunk or helpful window as positive, by rank, each query once."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from nyx_assets.records import (
    CHUNKED_CORPUS,
    FEEDBACK_PREFERENCES,
    FILTERED_QA,
    NEAR_DUPLICATES,
    NEGATIVES,
    PUBLIC_EXAMPLES,
)
from nyx_assets.training.examples import answer_key, feedback_examples, joint_examples, nyxqa_examples
from resources.home import Home
from resources.tables import Provenance
from training_kernels.documents import Document
from training_kernels.errors import DataError
from training_kernels.examples import Example

ORIGIN = Provenance(code_version="1")


def write(home: Home, asset: str, schema: pa.Schema, partition: str | None, rows: list[dict[str, Any]]) -> None:
    empty = dict.fromkeys(schema.names)
    with home.tables.write(asset, schema, partition=partition, provenance=ORIGIN) as table:
        table.append({**empty, **row} for row in rows)


def chunk(name: str) -> dict[str, Any]:
    return {"chunk_id": name, "segments": Document.of(f"text of {name}").to_rows()}


def pair(qa_id: str, chunk_id: str, split: str = "train") -> dict[str, Any]:
    return {
        "qa_id": qa_id,
        "answer": {"q1": "The  Great Wall!", "q2": "Yes"}.get(qa_id),
        "chunk_id": chunk_id,
        "question": Document.of(f"what is {qa_id}?").to_rows(),
        "split": split,
    }


def tried(qa_id: str, rank: int, role: str, *window: str) -> dict[str, Any]:
    return {"qa_id": qa_id, "window_rank": rank, "window": list(window), "role": role}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """q1 is in both crawls, as its page is; c1 and c3 are near copies."""
    home = Home.at(tmp_path)
    write(home, "chunked_corpus", CHUNKED_CORPUS, "a", [chunk(name) for name in ("c1", "c2", "c3")])
    write(home, "chunked_corpus", CHUNKED_CORPUS, "b", [chunk(name) for name in ("c4", "c1", "c9")])
    copies = [{"kind": "chunk", "id": one, "cluster": "c1"} for one in ("c1", "c3", "c8")]
    copies.append({"kind": "page", "id": "c2", "cluster": "c0"})
    write(home, "near_duplicates", NEAR_DUPLICATES, None, copies)
    write(home, "filtered_qa", FILTERED_QA, "a", [pair("q2", "c2"), pair("q1", "c1"), pair("q3", "c3", "test")])
    write(home, "filtered_qa", FILTERED_QA, "b", [pair("q1", "c1"), pair("q4", "c4", "dev")])
    return home


def test_a_training_pair_becomes_one_example_with_its_negatives_by_rank(home: Home) -> None:
    negatives = [("q1", 3, "c4"), ("q1", 1, "c3"), ("q1", 2, "c2"), ("q3", 1, "c1")]
    rows = [{"qa_id": qa_id, "rank": rank, "chunk_id": chunk_id} for qa_id, rank, chunk_id in negatives]
    write(home, "negatives", NEGATIVES, None, rows)
    training = nyxqa_examples(home, negatives_per_query=2)
    assert training.examples == (
        Example(
            example_id="q1", query="q1", positive="c1", negatives=("c3", "c2"), source="nyxqa", answer="great wall"
        ),
        Example(example_id="q2", query="q2", positive="c2", negatives=(), source="nyxqa"),
    )
    assert {name: document.text for name, document in training.documents.items()} == {
        "q1": "what is q1?", "q2": "what is q2?", "c1": "text of c1", "c2": "text of c2", "c3": "text of c3",
    }  # fmt: skip


def test_near_copies_of_a_named_chunk_are_named_with_their_cluster_and_pages_are_not_chunks(home: Home) -> None:
    rows = [{"qa_id": "q1", "rank": 1, "chunk_id": "c3"}]
    write(home, "negatives", NEGATIVES, None, rows)
    assert nyxqa_examples(home, negatives_per_query=2).cluster_by_document == {"c1": "c1", "c3": "c1"}


@pytest.mark.parametrize(
    ("answer", "key"),
    [
        ("The Great Wall.", "great wall"),
        ("great  wall", "great wall"),
        ("Yes.", ""),
        ("12", ""),
        ("1998", "1998"),
        (None, ""),
    ],
)
def test_equal_answers_have_equal_keys_and_an_answer_that_tells_nothing_has_none(answer: str | None, key: str) -> None:
    assert answer_key(answer) == key


def test_a_window_that_answered_is_the_positive_and_those_that_failed_are_negatives(home: Home) -> None:
    rows = [
        tried("q2", 3, "negative", "c9", "c1"),
        tried("q2", 0, "unused"),
        tried("q2", 2, "positive", "c4", "c2"),
        tried("q2", 1, "negative", "c3"),
        tried("q2", 4, "unused", "c1"),
        tried("q1", 1, "negative", "c3"),
    ]
    write(home, "feedback_preferences", FEEDBACK_PREFERENCES, "a", rows)
    training = feedback_examples(home)
    assert training.examples == (
        Example(example_id="q2", query="q2", positive="c4", negatives=("c3", "c9"), source="feedback"),
    )
    assert sorted(training.documents) == ["c3", "c4", "c9", "q2"]
    assert training.cluster_by_document == {"c3": "c1"}


def test_a_query_of_two_crawls_has_the_preferences_of_one_of_them(home: Home) -> None:
    """What one crawl's tries found to answer must not stand as a negative because another's did not ask as far."""
    first = [tried("q2", 1, "negative", "c3"), tried("q2", 2, "positive", "c4")]
    second = [tried("q2", 1, "negative", "c4"), tried("q2", 2, "positive", "c9"), tried("q1", 1, "positive", "c1")]
    write(home, "feedback_preferences", FEEDBACK_PREFERENCES, "a", first)
    write(home, "feedback_preferences", FEEDBACK_PREFERENCES, "b", second)
    assert [(one.query, one.positive, one.negatives) for one in feedback_examples(home).examples] == [
        ("q1", "c1", ()),
        ("q2", "c4", ("c3",)),
    ]


def test_joined_rounds_take_the_last_positive_and_no_negative_that_answered_in_any(home: Home) -> None:
    first = [tried("q1", 1, "positive", "c1"), tried("q2", 1, "negative", "c3"), tried("q2", 2, "positive", "c4")]
    second = [
        tried("q2", 1, "positive", "c9"),
        tried("q2", 2, "negative", "c2"),
        tried("q2", 3, "negative", "c4", "c1"),  # c4 alone answered in the first round
    ]
    rounds = ["feedback_preferences", "round_2/feedback_preferences"]
    for table, rows in zip(rounds, (first, second), strict=True):
        write(home, table, FEEDBACK_PREFERENCES, "a", rows)

    def of(*tables: str) -> list[tuple[str, str, tuple[str, ...]]]:
        return [(one.query, one.positive, one.negatives) for one in feedback_examples(home, tables).examples]

    assert of(*rounds) == [("q1", "c1", ()), ("q2", "c9", ("c2", "c3"))]
    assert of(rounds[1]) == [("q2", "c9", ("c2", "c4"))]


def test_joint_training_has_the_examples_of_the_first_training_and_the_preferences(home: Home) -> None:
    write(home, "negatives", NEGATIVES, None, [{"qa_id": "q2", "rank": 1, "chunk_id": "c9"}])
    write(home, "public_examples", PUBLIC_EXAMPLES, None, [])
    write(home, "feedback_preferences", FEEDBACK_PREFERENCES, "a", [tried("q2", 1, "positive", "c4")])
    training = joint_examples(home, negatives_per_query=1)
    assert [(one.example_id, one.query, one.positive, one.negatives, one.source) for one in training.examples] == [
        ("q1", "q1", "c1", (), "nyxqa"),
        ("q2", "q2", "c2", ("c9",), "nyxqa"),
        ("q2#feedback", "q2", "c4", (), "feedback"),
    ]
    assert sorted(training.documents) == ["c1", "c2", "c4", "c9", "q1", "q2"]


def test_without_training_pairs_the_error_says_where_to_look(home: Home) -> None:
    write(home, "negatives", NEGATIVES, None, [])
    for partition in ("a", "b"):
        write(home, "filtered_qa", FILTERED_QA, partition, [pair("q3", "c3", "test")])
    with pytest.raises(DataError, match="no pair of filtered_qa is in the train split.*rejected_qa"):
        nyxqa_examples(home, negatives_per_query=2)


def test_without_any_positive_the_error_names_what_to_change(home: Home) -> None:
    rows = [tried("q2", 1, "unused", "c3"), tried("q2", 2, "unused", "c4")]
    write(home, "feedback_preferences", FEEDBACK_PREFERENCES, "a", rows)
    with pytest.raises(DataError, match="none of 2 windows let the generator answer.*min_grade"):
        feedback_examples(home)
