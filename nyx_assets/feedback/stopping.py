"""Which windows of a query are to be asked next, and when none is left that a role depends on.

Stopping loses nothing: the roles of the windows that were asked are those that they would have if all were, and all
others would be unused. A wave holds only windows that have to be asked whatever the wave answers, so asking them at once
costs no call that asking them one by one would save.
"""

from collections.abc import Mapping, Sequence

from nyx_assets.recipes import FeedbackRecipe

NO_DOCUMENT = 0
"""Window rank of the try without any document; its window is empty."""

BEST_GRADE = 1.0

Grades = Mapping[int, float | None]
"""By window rank; None where the generator refused."""


def next_wave(grades: Grades, num_windows: int, recipe: FeedbackRecipe) -> Sequence[int]:
    """Window ranks to ask next, in order; empty when the query is through.

    Args:
        grades: of what was asked so far.
        num_windows: windows of the query, ranks 1 to num_windows; rank 0 is the try without any document.
    """
    left = [rank for rank in range(num_windows + 1) if rank not in grades]
    if not recipe.early_stop:
        return left
    if NO_DOCUMENT in left:
        return [NO_DOCUMENT]
    if recipe.leaves_out_closed_book and has_answered(grades[NO_DOCUMENT], recipe):
        return []
    return left[: _num_open_roles(grades, recipe)]


def has_answered(grade: float | None, recipe: FeedbackRecipe) -> bool:
    """Whether a try answered; one that was refused has not."""
    return grade is not None and grade >= recipe.min_grade


def _num_open_roles(grades: Grades, recipe: FeedbackRecipe) -> int:
    """How many roles are still to be given. One window takes at most one, so as many windows are needed at least."""
    of_windows = [grade for rank, grade in grades.items() if rank != NO_DOCUMENT and grade is not None]
    settles = BEST_GRADE if recipe.positive == "best" else recipe.min_grade
    has_positive = any(grade >= settles for grade in of_windows)
    num_failed = sum(not has_answered(grade, recipe) for grade in of_windows)
    return (not has_positive) + max(0, recipe.max_negatives - num_failed)
