"""What retrieval is for: how good the generator's answers are with what each retriever found."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from nyx_assets.evaluation.paired import difference_rows, mean_interval
from nyx_assets.rag.grading import exact_match, option_accuracy, token_f1
from training_kernels.errors import DataError

NO_DOCUMENT = "none"
GOLDEN = "golden"
"""Retriever names of the two bounds: nothing shown, and the golden chunk shown."""


def graded(query: Mapping[str, Any], answer: str | None) -> dict[str, float]:
    """Grades of one answer by metric name, each 0 to 1; option_accuracy only where the query has options.

    None is a call that the generator refused: it has not answered, and counts as wrong.

    Args:
        query: a row of filtered_qa, or of question_rows.
    """
    golden = query.get("answers") or [query["answer"]]
    grades = {
        "exact_match": 0.0 if answer is None else exact_match(answer, golden),
        "token_f1": 0.0 if answer is None else token_f1(answer, golden),
    }
    if query["options"]:
        grades["option_accuracy"] = (
            0.0 if answer is None else option_accuracy(answer, query["options"], query["right_option"])
        )
    return grades


Answerer = tuple[str, bool]
"""A generator's model, and whether it is the stand-in."""
Grades = dict[Answerer, dict[str, dict[str, dict[str, float]]]]
"""By generator, then retriever, then query, then metric."""


def grades_of(answers: Iterable[Mapping[str, Any]], query_by_id: Mapping[str, Mapping[str, Any]]) -> Grades:
    """Every answer graded.

    Args:
        answers: qa_id, retriever, answer (None if refused), generator, is_stand_in.
        query_by_id: rows of filtered_qa by qa_id.

    Raises:
        DataError: two answers of one retriever and generator to one query, or an answer to a query that is not there.
    """
    grades: Grades = {}
    for row in answers:
        qa_id = row["qa_id"]
        if qa_id not in query_by_id:
            raise DataError(f"an answer names query {qa_id}, which is not in filtered_qa; answer again")
        of_generator = grades.setdefault((row["generator"], row["is_stand_in"]), {})
        of_retriever = of_generator.setdefault(row["retriever"], {})
        if qa_id in of_retriever:
            raise DataError(
                f"query {qa_id} was answered twice by {row['generator']} with {row['retriever']}; keep one answer"
            )
        of_retriever[qa_id] = graded(query_by_id[qa_id], row["answer"])
    return grades


def rag_scores(grades: Grades, *, split: str, seed: int) -> list[dict[str, Any]]:
    """Rows of RAG_SCORES: the mean of each metric over the queries that have it, with its interval, by retriever and
    generator."""
    rows = []
    for (generator, is_stand_in), by_retriever in grades.items():
        for retriever, by_query in by_retriever.items():
            for metric, values in _values_by_metric(by_query).items():
                low, high = mean_interval(list(values.values()), seed=seed)
                rows.append(
                    {
                        "retriever": retriever,
                        "split": split,
                        "metric": metric,
                        "value": sum(values.values()) / len(values),
                        "interval_low": low,
                        "interval_high": high,
                        "num_queries": len(values),
                        "generator": generator,
                        "is_stand_in": is_stand_in,
                    }
                )
    return rows


def rag_differences(grades: Grades, *, split: str, seed: int) -> list[dict[str, Any]]:
    """Rows of RAG_DIFFERENCES: every two retrievers, and the two bounds, by the same generator on the same questions."""
    rows = []
    for (generator, is_stand_in), by_retriever in grades.items():
        values = {retriever: _values_by_metric(by_query) for retriever, by_query in by_retriever.items()}
        for metric in dict.fromkeys(metric for by_metric in values.values() for metric in by_metric):
            scores = {
                retriever: {query: {metric: value} for query, value in by_metric[metric].items()}
                for retriever, by_metric in values.items()
                if metric in by_metric
            }
            found = difference_rows(scores, metrics=[metric], suite="", split=split, seed=seed)
            rows += [
                {name: value for name, value in row.items() if name != "suite"}
                | {"generator": generator, "is_stand_in": is_stand_in}
                for row in found
            ]
    return rows


def _values_by_metric(by_query: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    values: dict[str, dict[str, float]] = defaultdict(dict)
    for query, by_metric in by_query.items():
        for metric, value in by_metric.items():
            values[metric][query] = value
    return values
