"""Sort drafts into pairs that survive and pairs that do not: the recipe's checks in its order, every step counted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from nyx_assets.nyxqa.asking import Tally
from nyx_assets.nyxqa.blind import answered_closed_book, answered_without_picture
from nyx_assets.nyxqa.funnel import FunnelStep
from nyx_assets.nyxqa.judging import judged_unfit
from nyx_assets.nyxqa.options import bad_options, options_not_solved
from nyx_assets.nyxqa.pairs import Check, Means, Objection, Pair
from nyx_assets.nyxqa.refining import answer_too_long
from nyx_assets.nyxqa.round_trip import not_found_again
from nyx_assets.nyxqa.rules import RULES
from nyx_assets.nyxqa.unsafe import judged_unsafe, unsafe_source
from nyx_assets.qa_recipes import QACheck

Row = Mapping[str, Any]

CHECKS: dict[str, Check] = {
    **RULES,
    "answer_too_long": answer_too_long,
    "not_found_again": not_found_again,
    "answered_closed_book": answered_closed_book,
    "answered_without_picture": answered_without_picture,
    "judged_unfit": judged_unfit,
    "unsafe_source": unsafe_source,
    "judged_unsafe": judged_unsafe,
    "bad_options": bad_options,
    "options_not_solved": options_not_solved,
}
"""By the name that a recipe gives them."""

READ = "read"
"""The step before all checks: drafts whose reply or pictures could not be read are refused."""


@dataclass(frozen=True, slots=True)
class Sorted:
    """What the checks made of some drafts: together exactly these, each once."""

    kept: list[dict[str, Any]]
    """Rows of `filtered_qa` without `crawl`, in order."""
    rejected: list[dict[str, Any]]
    """Rows of `rejected_qa` without `crawl`, in order."""
    steps: list[FunnelStep]


def filter_pairs(
    raw_rows: Iterable[Row], *, means: Means, split_by_doc: Mapping[str, str], checks: Iterable[QACheck]
) -> Sorted:
    """Sort the rows of `raw_qa` of a crawl partition.

    A check sees the pairs that all before it let through, so calls to a model are grouped by check, and replies that
    came before an interruption are in the cache.

    Args:
        split_by_doc: split of every page of the crawl.
    """
    rows = list(raw_rows)
    place_by_id = {row["qa_id"]: place for place, row in enumerate(rows)}
    rejected: dict[str, dict[str, Any]] = {}
    read = FunnelStep(check=READ, unit="pair", num_in=len(rows))
    pairs: list[Pair] = []
    for row in rows:
        pair = Pair.of(row, means.chunk_by_id[row["chunk_id"]])
        if row["problem"] is None:
            pairs.append(pair)
        else:
            rule, _, reason = row["problem"].partition(": ")
            _reject(pair, Objection(rule, reason, None), read, rejected)
    steps = [read]
    for check in checks:
        pairs, step = _run(check, pairs, means, rejected)
        steps.append(step)
    return Sorted(
        kept=[_kept_row(pair, split_by_doc) for pair in pairs],
        rejected=[rejected[qa_id] for qa_id in sorted(rejected, key=place_by_id.__getitem__)],
        steps=steps,
    )


def _run(
    check: QACheck, pairs: list[Pair], means: Means, rejected: dict[str, dict[str, Any]]
) -> tuple[list[Pair], FunnelStep]:
    """The pairs that a check lets through, and its step of the funnel; the others go to `rejected`."""
    step = FunnelStep(
        check=check.name, unit="pair", threshold=check.threshold, num_in=len(pairs), tally=(tally := Tally())
    )
    outcomes = CHECKS[check.name](pairs, check.threshold, replace(means, tally=tally))
    kept = []
    for pair, outcome in zip(pairs, outcomes, strict=True):
        if isinstance(outcome, Pair):
            step.num_refined += outcome.answer != pair.answer
            kept.append(outcome)
        elif check.on_failure == "mark":
            mark = outcome.rule if outcome.rule == check.name else f"{check.name}/{outcome.rule}"
            step.num_marked += 1
            kept.append(replace(pair, marks=(*pair.marks, mark)))
        else:
            _reject(pair, outcome, step, rejected)
    return kept, step


def _reject(pair: Pair, objection: Objection, step: FunnelStep, rejected: dict[str, dict[str, Any]]) -> None:
    step.reject(objection.rule, example=pair.qa_id)
    rejected[pair.qa_id] = {
        **_origin(pair),
        "check": step.check,
        "rule": objection.rule,
        "reason": objection.reason or objection.rule,
        "threshold": step.threshold,
        "measured": objection.measured,
    }


def _kept_row(pair: Pair, split_by_doc: Mapping[str, str]) -> dict[str, Any]:
    return {
        **_origin(pair),
        "doc_id": pair.chunk["doc_id"],
        "options": list(pair.options),
        "right_option": pair.right_option,
        "judge_score": pair.judge_score,
        "marks": list(pair.marks),
        "split": split_by_doc[pair.chunk["doc_id"]],
        "query_modality": pair.question.modality,
        "target_modality": pair.document.modality,
    }


def _origin(pair: Pair) -> dict[str, Any]:
    """What kept and rejected pairs have in common."""
    return {
        "answer": pair.answer,
        "original_answer": pair.row["answer"],
        **{
            name: pair.row[name]
            for name in ("qa_id", "chunk_id", "variant", "question_type", "question", "teacher", "is_stand_in")
        },
    }
