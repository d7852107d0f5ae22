"""Scores of the generator's answers by retriever."""

from typing import Any

import pytest

from nyx_assets.evaluation.rag_evaluation import graded, rag_scores
from training_kernels.errors import DataError

QUERIES: dict[str, dict[str, Any]] = {
    "q1": {"answer": "Ada Quill", "options": ["Ada Quill", "Bo Marr", "Cy Lund", "Di Orr"], "right_option": 0},
    "q2": {"answer": "1861", "options": [], "right_option": None},
}


def answer(qa_id: str, text: str | None, *, retriever: str = "bm25") -> dict[str, Any]:
    return {"qa_id": qa_id, "retriever": retriever, "answer": text, "generator": "offline", "is_stand_in": True}


def test_each_metric_is_the_mean_over_the_queries_that_have_it() -> None:
    rows = rag_scores(
        [
            answer("q1", "the ada quill"),
            answer("q2", "in 1861"),
            answer("q1", "Bo Marr", retriever="none"),
            answer("q2", None, retriever="none"),
        ],
        QUERIES,
        split="test",
    )
    assert {(row["retriever"], row["metric"]): (pytest.approx(row["value"]), row["num_queries"]) for row in rows} == {
        ("bm25", "exact_match"): (0.5, 2),
        ("bm25", "token_f1"): ((1 + 2 / 3) / 2, 2),
        ("bm25", "option_accuracy"): (1.0, 1),
        ("none", "exact_match"): (0.0, 2),
        ("none", "token_f1"): (0.0, 2),
        ("none", "option_accuracy"): (0.0, 1),
    }
    assert {(row["split"], row["generator"], row["is_stand_in"]) for row in rows} == {("test", "offline", True)}


def test_a_refused_call_counts_as_wrong_on_every_metric() -> None:
    assert graded(QUERIES["q1"], None) == {"exact_match": 0.0, "token_f1": 0.0, "option_accuracy": 0.0}


def test_a_query_answered_twice_or_unknown_is_named() -> None:
    with pytest.raises(DataError, match="query q1 was answered twice by offline with bm25"):
        rag_scores([answer("q1", "x"), answer("q1", "y")], QUERIES, split="test")
    with pytest.raises(DataError, match="query q7, which is not in filtered_qa"):
        rag_scores([answer("q7", "x")], QUERIES, split="test")
