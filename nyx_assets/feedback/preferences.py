"""Preferences: which retrieved documents let the generator answer, and which did not."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from nyx_assets.recipes import FeedbackRecipe
from training_kernels.errors import DataError

Role = Literal["positive", "negative", "unused"]

NO_DOCUMENT = 0
"""Window rank of the try without any document; its window is empty."""


def preferences(tries: Iterable[Mapping[str, Any]], *, recipe: FeedbackRecipe) -> list[dict[str, Any]]:
    """The rows of FEEDBACK_PREFERENCES: every try with its role, by query and window rank.

    The positive of a query is the first window that answered (grade >= min_grade); its negatives are the windows that
    failed, in rank order, at most max_negatives. Windows that answered as well, later failures, and all windows of a
    query that none answered are unused. So are those of a query that the generator answers without any document:
    there is nothing that a document could have helped with. A try that the generator refused has no grade and is unused.

    Args:
        tries: rows of FEEDBACK_PREFERENCES without `role`; window_rank 0 is the try without any document.

    Raises:
        DataError: a window of a query was tried twice, or a grade is outside 0 to 1.

    Source: Nyx paper, section 3.3. Choice: leaving out what needs no document (the paper is silent), and failed
    windows only as negatives (the published code takes the next ones whatever their grade).
    """
    tries_by_query: dict[str, dict[int, Mapping[str, Any]]] = {}
    for row in tries:
        by_rank = tries_by_query.setdefault(row["qa_id"], {})
        if row["window_rank"] in by_rank:
            raise DataError(
                f"window {row['window_rank']} of query {row['qa_id']} was tried twice; keep one row for each"
            )
        if row["grade"] is not None and not 0 <= row["grade"] <= 1:
            raise DataError(f"query {row['qa_id']}, window {row['window_rank']}: a grade is 0 to 1, got {row['grade']}")
        by_rank[row["window_rank"]] = row
    return [
        {**by_rank[rank], "role": role}
        for by_rank in tries_by_query.values()
        for rank, role in sorted(_roles(by_rank, recipe).items())
    ]


def _roles(by_rank: Mapping[int, Mapping[str, Any]], recipe: FeedbackRecipe) -> dict[int, Role]:
    """The role of each window of one query, by window rank."""
    roles: dict[int, Role] = dict.fromkeys(by_rank, "unused")
    graded = sorted(rank for rank, row in by_rank.items() if row["grade"] is not None)
    answered = [rank for rank in graded if by_rank[rank]["grade"] >= recipe.min_grade]
    if not answered or NO_DOCUMENT in answered:
        return roles
    roles[answered[0]] = "positive"
    failed = [rank for rank in graded if rank not in answered and rank != NO_DOCUMENT]
    for rank in failed[: recipe.max_negatives]:
        roles[rank] = "negative"
    return roles
