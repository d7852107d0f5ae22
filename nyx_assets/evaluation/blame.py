"""Whose fault a wrong answer is: the retriever's, the window's, or the generator's."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nyx_assets.evaluation.rag_evaluation import GOLDEN, NO_DOCUMENT, graded

Row = Mapping[str, Any]

RIGHT = "right"
NOT_RETRIEVED, BELOW_WINDOW, MISREAD = "not_retrieved", "below_window", "misread"
OUTCOMES = (RIGHT, NOT_RETRIEVED, BELOW_WINDOW, MISREAD)
NUM_EXAMPLES = 5


def is_right(grades: Mapping[str, float], *, min_grade: float) -> bool:
    """Whether an answer counts: the right option where there are options, else token F1 at or above the threshold."""
    if "option_accuracy" in grades:
        return grades["option_accuracy"] == 1
    return grades["token_f1"] >= min_grade


def blame_of(golden_rank: int | None, num_shown: int) -> str:
    """What a wrong answer is to be blamed on; golden_rank is counted from 1."""
    if golden_rank is None:
        return NOT_RETRIEVED
    return BELOW_WINDOW if golden_rank > num_shown else MISREAD


def wrong_answers(
    answers: Sequence[Row], pair_by_id: Mapping[str, Row], *, min_grade: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of WRONG_ANSWERS, one for each wrong answer of a retriever, and rows of BLAME_SPLIT over all of them.

    The run with the golden chunk alone is the oracle: an answer that is wrong there too is no retriever's fault.

    Args:
        answers: rows of answered_with, of retrievers and of the two bounds.
    """
    oracle = {
        (row["qa_id"], row["generator"]): (
            row["answer"],
            is_right(graded(pair_by_id[row["qa_id"]], row["answer"]), min_grade=min_grade),
        )
        for row in answers
        if row["retriever"] == GOLDEN
    }
    wrong, groups = [], defaultdict(list)
    for row in answers:
        if row["retriever"] in (GOLDEN, NO_DOCUMENT):
            continue
        pair = pair_by_id[row["qa_id"]]
        oracle_answer, oracle_is_right = oracle[row["qa_id"], row["generator"]]
        outcome = RIGHT
        if not is_right(graded(pair, row["answer"]), min_grade=min_grade):
            outcome = blame_of(row["golden_rank"], len(row["window"]))
            wrong.append(
                {
                    "qa_id": row["qa_id"],
                    "retriever": row["retriever"],
                    "blame": outcome,
                    "golden_rank": row["golden_rank"],
                    "window": list(row["window"]),
                    "answer": row["answer"],
                    "golden_answer": pair["answer"],
                    "oracle_answer": oracle_answer,
                    "oracle_is_right": oracle_is_right,
                    "generator": row["generator"],
                    "is_stand_in": row["is_stand_in"],
                }
            )
        groups[row["retriever"], row["generator"], row["is_stand_in"]].append((outcome, row["qa_id"], oracle_is_right))
    return wrong, [
        _split_row(retriever, generator, is_stand_in, outcome, members)
        for (retriever, generator, is_stand_in), members in groups.items()
        for outcome in OUTCOMES
    ]


def _split_row(
    retriever: str, generator: str, is_stand_in: bool, outcome: str, members: Iterable[tuple[str, str, bool]]
) -> dict[str, Any]:
    every = list(members)
    of_outcome = [(qa_id, oracle_is_right) for one, qa_id, oracle_is_right in every if one == outcome]
    return {
        "retriever": retriever,
        "outcome": outcome,
        "num_answers": len(of_outcome),
        "share": len(of_outcome) / len(every),
        "oracle_right_share": sum(right for _, right in of_outcome) / len(of_outcome) if of_outcome else None,
        "examples": [qa_id for qa_id, _ in of_outcome[:NUM_EXAMPLES]],
        "generator": generator,
        "is_stand_in": is_stand_in,
    }
