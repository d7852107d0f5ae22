"""What retrieval is for: how good the generator's answers are with what each retriever found."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from nyx_assets.rag.grading import exact_match, option_accuracy, token_f1
from training_kernels.errors import DataError

NO_DOCUMENT = "none"
GOLDEN = "golden"
"""Retriever names of the two bounds: nothing shown, and the golden chunk shown."""


def graded(query: Mapping[str, Any], answer: str | None) -> dict[str, float]:
    """Grades of one answer by metric name, each 0 to 1; option_accuracy only where the query has options.

    None is a call that the generator refused: it has not answered, and counts as wrong.

    Args:
        query: a row of filtered_qa.
    """
    golden = [query["answer"]]
    grades = {
        "exact_match": 0.0 if answer is None else exact_match(answer, golden),
        "token_f1": 0.0 if answer is None else token_f1(answer, golden),
    }
    if query["options"]:
        grades["option_accuracy"] = (
            0.0 if answer is None else option_accuracy(answer, query["options"], query["right_option"])
        )
    return grades


def rag_scores(
    answers: Iterable[Mapping[str, Any]], query_by_id: Mapping[str, Mapping[str, Any]], *, split: str
) -> list[dict[str, Any]]:
    """Rows of RAG_SCORES: the mean of each metric by retriever and generator.

    Args:
        answers: qa_id, retriever, answer (None if refused), generator, is_stand_in.
        query_by_id: rows of filtered_qa by qa_id.

    Raises:
        DataError: two answers of one retriever and generator to one query, or an answer to a query that is not there.
    """
    grades: dict[tuple[str, str, bool, str], list[float]] = defaultdict(list)
    seen: set[tuple[str, str, str]] = set()
    for row in answers:
        key = (row["retriever"], row["generator"], row["qa_id"])
        if key in seen:
            raise DataError(f"query {key[2]} was answered twice by {key[1]} with {key[0]}; keep one answer")
        if row["qa_id"] not in query_by_id:
            raise DataError(f"an answer names query {row['qa_id']}, which is not in filtered_qa; answer again")
        seen.add(key)
        for metric, grade in graded(query_by_id[row["qa_id"]], row["answer"]).items():
            grades[row["retriever"], row["generator"], row["is_stand_in"], metric].append(grade)
    return [
        {
            "retriever": retriever,
            "split": split,
            "metric": metric,
            "value": sum(values) / len(values),
            "num_queries": len(values),
            "generator": generator,
            "is_stand_in": is_stand_in,
        }
        for (retriever, generator, is_stand_in, metric), values in grades.items()
    ]
