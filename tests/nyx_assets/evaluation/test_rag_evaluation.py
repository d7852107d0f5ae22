"""Scores of the generator's answers by retriever."""

from typing import Any

import pytest

from nyx_assets.evaluation.rag_evaluation import graded, grades_of, rag_differences, rag_scores
from training_kernels.errors import DataError

QUERIES: dict[str, dict[str, Any]] = {
    "q1": {"answer": "Ada Quill", "options": ["Ada Quill", "Bo Marr", "Cy Lund", "Di Orr"], "right_option": 0},
    "q2": {"answer": "1861", "options": [], "right_option": None},
}


def answer(qa_id: str, text: str | None, *, retriever: str = "bm25", generator: str = "offline") -> dict[str, Any]:
    return {"qa_id": qa_id, "retriever": retriever, "answer": text, "generator": generator, "is_stand_in": True}


def test_each_metric_is_the_mean_over_the_queries_that_have_it() -> None:
    rows = rag_scores(
        grades_of(
            [
                answer("q1", "the ada quill"),
                answer("q2", "in 1861"),
                answer("q1", "Bo Marr", retriever="none"),
                answer("q2", None, retriever="none"),
            ],
            QUERIES,
        ),
        split="test",
        seed=1,
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


def test_any_of_several_golden_answers_is_right_and_the_best_counts() -> None:
    query = {"answer": "1861", "answers": ["1861", "the year of the flood"], "options": [], "right_option": None}
    assert graded(query, "Year of the flood!") == {"exact_match": 1.0, "token_f1": 1.0}
    assert graded(query, "in 1861") == {"exact_match": 0.0, "token_f1": pytest.approx(2 / 3)}
    assert graded(query, "flood")["token_f1"] == 0.5  # one of the three words that are no article


def test_a_query_answered_twice_or_unknown_is_named() -> None:
    with pytest.raises(DataError, match="query q1 was answered twice by offline with bm25"):
        grades_of([answer("q1", "x"), answer("q1", "y")], QUERIES)
    with pytest.raises(DataError, match="query q7, which is not in filtered_qa"):
        grades_of([answer("q7", "x")], QUERIES)


def test_each_generator_has_its_own_scores_and_differences_with_intervals_around_them() -> None:
    queries = {f"q{number}": QUERIES["q1"] for number in range(40)}
    right, wrong = "Ada Quill", "Bo Marr"
    answers = [
        answer(qa_id, right if number < share else wrong, retriever=retriever, generator=generator)
        for generator, shares in (("small", {"bm25": 10, "finetuned": 30}), ("large", {"bm25": 40, "finetuned": 40}))
        for retriever, share in shares.items()
        for number, qa_id in enumerate(queries)
    ]
    grades = grades_of(answers, queries)
    scores = {
        (row["generator"], row["retriever"]): row
        for row in rag_scores(grades, split="test", seed=1)
        if row["metric"] == "option_accuracy"
    }
    assert {key: row["value"] for key, row in scores.items()} == {
        ("small", "bm25"): 0.25, ("small", "finetuned"): 0.75, ("large", "bm25"): 1.0, ("large", "finetuned"): 1.0,
    }  # fmt: skip
    one = scores["small", "bm25"]
    # of 40 questions a share of 0.25 has a standard error of 0.068
    assert one["interval_low"] == pytest.approx(0.25 - 1.96 * 0.068, abs=0.02)
    assert one["interval_high"] == pytest.approx(0.25 + 1.96 * 0.068, abs=0.02)
    assert scores["large", "bm25"]["interval_low"] == scores["large", "bm25"]["interval_high"] == 1.0
    differences = {
        row["generator"]: row
        for row in rag_differences(grades, split="test", seed=1)
        if row["metric"] == "option_accuracy"
    }
    assert (differences["small"]["retriever"], differences["small"]["against"]) == ("finetuned", "bm25")
    assert differences["small"]["difference"] == 0.5
    assert 0.3 < differences["small"]["interval_low"] < 0.5 < differences["small"]["interval_high"] < 0.7
    assert differences["small"]["p_value"] < 0.001
    assert (differences["large"]["difference"], differences["large"]["p_value"]) == (0.0, 1.0)
