"""Whose fault a wrong answer is."""

import pytest

from nyx_assets.evaluation.answers import contexts_of
from nyx_assets.evaluation.blame import wrong_answers
from nyx_assets.evaluation.retrievers import Bm25Retriever
from nyx_assets.records import BLAME_SPLIT, WRONG_ANSWERS
from training_kernels.documents import Document

PAIRS = {
    name: {"qa_id": name, "answer": "Paris", "options": ["Rome", "Paris"], "right_option": 1}
    for name in ("missed", "low", "misread", "unanswerable", "right")
}


def answer(qa_id: str, retriever: str, said: str | None, rank: int | None, *window: str) -> dict:
    return {
        "qa_id": qa_id, "retriever": retriever, "answer": said, "golden_rank": rank, "window": window,
        "generator": "g", "is_stand_in": False,
    }  # fmt: skip


ANSWERS = [
    *(answer(name, "golden", "Rome" if name == "unanswerable" else "Paris", 1, "gold") for name in PAIRS),
    *(answer(name, "none", "Rome", None) for name in PAIRS),
    answer("missed", "dense", "Rome", None, "a", "b"),
    answer("low", "dense", None, 3, "a", "b"),
    answer("misread", "dense", "Rome", 2, "a", "gold"),
    answer("unanswerable", "dense", "Rome", 1, "gold", "b"),
    answer("right", "dense", "paris.", None, "a", "b"),
]


def test_each_wrong_answer_is_blamed_on_what_failed_first_and_stands_beside_the_oracles() -> None:
    wrong, _ = wrong_answers(ANSWERS, PAIRS, min_grade=0.5)
    assert [(row["qa_id"], row["blame"], row["oracle_is_right"]) for row in wrong] == [
        ("missed", "not_retrieved", True),
        ("low", "below_window", True),
        ("misread", "misread", True),
        ("unanswerable", "misread", False),
    ]
    assert {row["retriever"] for row in wrong} == {"dense"}
    assert list(wrong[0]) == WRONG_ANSWERS.names
    assert (wrong[1]["answer"], wrong[1]["oracle_answer"], wrong[1]["golden_answer"]) == (None, "Paris", "Paris")


def test_the_split_adds_up_and_names_examples() -> None:
    _, split = wrong_answers(ANSWERS, PAIRS, min_grade=0.5)
    assert list(split[0]) == BLAME_SPLIT.names
    found = {
        row["outcome"]: (row["num_answers"], row["share"], row["oracle_right_share"], row["examples"]) for row in split
    }
    assert found == {
        "right": (1, 0.2, 1.0, ["right"]),
        "not_retrieved": (1, 0.2, 1.0, ["missed"]),
        "below_window": (1, 0.2, 1.0, ["low"]),
        "misread": (2, 0.4, 0.5, ["misread", "unanswerable"]),
    }
    assert sum(row["share"] for row in split) == pytest.approx(1)


@pytest.mark.parametrize(("said", "is_wrong"), [("old Paris", False), ("the old town of Paris on a river", True)])
def test_without_options_the_recipes_threshold_on_token_f1_decides(said: str, is_wrong: bool) -> None:
    pairs = {"q": {"qa_id": "q", "answer": "Paris", "options": [], "right_option": None}}
    rows = [answer("q", "golden", "Paris", 1, "gold"), answer("q", "dense", said, 1, "gold")]
    assert bool(wrong_answers(rows, pairs, min_grade=0.5)[0]) == is_wrong


def test_the_golden_rank_is_that_of_the_first_chunk_of_the_golden_content_beyond_the_window_too() -> None:
    chunks = {
        "a": Document.of("red red red tower"),
        "copy": Document.of("red boat at sea"),
        "gold": Document.of("red boat at sea"),
        "other": Document.of("blue"),
    }
    pairs = [
        {"qa_id": "q1", "chunk_id": "gold", "question": Document.of("red tower").to_rows()},
        {"qa_id": "q2", "chunk_id": "other", "question": Document.of("red").to_rows()},
    ]
    found = contexts_of(pairs, chunks, [Bm25Retriever()], window=1)[-2:]
    assert [(one.window, one.golden_rank) for one in found] == [(("a",), 2), (("a",), None)]
