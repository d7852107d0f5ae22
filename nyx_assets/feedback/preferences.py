"""Preferences: which retrieved documents let the generator answer, and which did not."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from nyx_assets.feedback.stopping import NO_DOCUMENT, Grades, has_answered
from nyx_assets.recipes import FeedbackRecipe
from training_kernels.errors import DataError

Role = Literal["positive", "negative", "unused"]


def preferences(
    tries: Iterable[Mapping[str, Any]], *, num_windows: int, recipe: FeedbackRecipe
) -> list[dict[str, Any]]:
    """The rows of FEEDBACK_PREFERENCES of one query: every try with its role, by window rank.

    The positive is the first window that answered (grade >= min_grade), or by recipe the first with the best grade of
    those; the negatives are the windows that failed, in rank order, at most max_negatives. Windows that answered as
    well, later failures, and all windows of a query that none answered are unused. So are, by recipe, those of a query
    that the generator answers without any document: there is nothing that a document could have helped with. A try that
    the generator refused has no grade and is unused.

    Args:
        tries: rows of FEEDBACK_PREFERENCES without role, answers_alone and num_not_asked; window_rank 0 is the try
            without any document.
        num_windows: windows of the query, asked or not.

    Raises:
        DataError: a window was tried twice, tries are of several queries, or a grade is outside 0 to 1.

    Source: Nyx paper, section 3.3; best grade: the published code. Choice: leaving out what needs no document (the paper
    is silent), and failed windows only as negatives (the published code takes the next ones whatever their grade).
    """
    by_rank: dict[int, Mapping[str, Any]] = {}
    for row in tries:
        if row["window_rank"] in by_rank:
            raise DataError(
                f"window {row['window_rank']} of query {row['qa_id']} was tried twice; keep one row for each"
            )
        if row["grade"] is not None and not 0 <= row["grade"] <= 1:
            raise DataError(f"query {row['qa_id']}, window {row['window_rank']}: a grade is 0 to 1, got {row['grade']}")
        by_rank[row["window_rank"]] = row
    if len(queries := {row["qa_id"] for row in by_rank.values()}) > 1:
        raise DataError(f"preferences are told apart within one query, got tries of {sorted(queries)}")
    grades = {rank: row["grade"] for rank, row in by_rank.items()}
    alone = grades.get(NO_DOCUMENT)
    of_query = {
        "answers_alone": None if alone is None else has_answered(alone, recipe),
        "num_not_asked": num_windows - sum(rank != NO_DOCUMENT for rank in by_rank),
    }
    roles = _roles(grades, recipe)
    return [{**by_rank[rank], "role": roles[rank], **of_query} for rank in sorted(by_rank)]


def _roles(grades: Grades, recipe: FeedbackRecipe) -> dict[int, Role]:
    """The role of each try of one query, by window rank."""
    roles: dict[int, Role] = dict.fromkeys(grades, "unused")
    if recipe.leaves_out_closed_book and has_answered(grades.get(NO_DOCUMENT), recipe):
        return roles
    graded = {rank: grade for rank, grade in sorted(grades.items()) if grade is not None and rank != NO_DOCUMENT}
    answered = [rank for rank, grade in graded.items() if has_answered(grade, recipe)]
    if not answered:
        return roles
    # max keeps the first of equal grades
    roles[max(answered, key=graded.__getitem__) if recipe.positive == "best" else answered[0]] = "positive"
    failed = [rank for rank in graded if rank not in answered]
    for rank in failed[: recipe.max_negatives]:
        roles[rank] = "negative"
    return roles
