"""A generator's answers to the questions of a suite, with what a retriever found: EM, F1 and accuracy, and whose fault
the wrong ones are.

Source of the normalisation and of the best over several golden answers: Rajpurkar et al. 2016, arXiv:1606.05250, which
HotpotQA, 2WikiMultiHopQA and MuSiQue take over; accuracy over options: the published code of Nyx.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nyx_assets.evaluation.answers import Context, answered_with
from nyx_assets.evaluation.blame import wrong_answers
from nyx_assets.evaluation.rag_evaluation import GOLDEN, NO_DOCUMENT, grades_of, rag_differences, rag_scores
from nyx_assets.evaluation.suites import Suite, SuiteQuery
from nyx_assets.rag.drawing import draw_by_hash
from nyx_assets.rag.rankings import Ranking
from nyx_assets.recipes import PipelineRecipe
from resources.vlm import VLM
from training_kernels.errors import ConfigError

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteAnswers:
    """What came of the answers."""

    scores: list[Row]
    """Of RAG_SCORES: nothing shown, the golds shown, and what the retriever found, by generator."""
    differences: list[Row]
    """Of RAG_DIFFERENCES."""
    blame: list[Row]
    """Of BLAME_SPLIT."""


def question_rows(suite: Suite) -> dict[str, Row]:
    """The questions that have answers, as rows of filtered_qa have them, by id. Raises ConfigError if none has."""
    rows = {
        query.query_id: {
            "qa_id": query.query_id,
            "question": query.document.to_rows(),
            "answer": query.answers[0],
            "answers": list(query.answers),
            "options": list(query.options),
            "right_option": query.right_option,
        }
        for query in suite.queries
        if query.answers
    }
    if not rows:
        raise ConfigError(
            f"suite {suite.name} brings no answers to hold a generator's against; measure it without --answers, or give "
            'its queries "answers"'
        )
    return rows


def drawn_questions(suite: Suite, *, limit: int, seed: int) -> dict[str, Row]:
    """At most `limit` of question_rows, drawn by hash."""
    rows = question_rows(suite)
    return {one: rows[one] for one in draw_by_hash(rows, limit=limit, seed=seed)}


def suite_answers(
    suite: Suite,
    questions: Mapping[str, Row],
    rankings: Sequence[Ranking],
    retriever: str,
    vlms: Sequence[VLM],
    recipe: PipelineRecipe,
    *,
    split: str,
) -> SuiteAnswers:
    """Ask every generator each question three times: with nothing, with the golds, and with the retriever's window.

    Args:
        questions: of drawn_questions.
        rankings: the retriever's, of the suite's queries in their order.
    """
    contexts = [
        context
        for query, ranking in zip(suite.queries, rankings, strict=True)
        if query.query_id in questions
        for context in _contexts(query, ranking, questions[query.query_id], retriever, recipe.evaluation.rag_window)
    ]
    answers = [answer for vlm in vlms for answer in answered_with(vlm, contexts, suite.candidates, recipe)]
    grades = grades_of(answers, questions)
    _, blame = wrong_answers(answers, questions, min_grade=recipe.feedback.min_grade)
    return SuiteAnswers(
        scores=rag_scores(grades, split=split, seed=recipe.seed),
        differences=rag_differences(grades, split=split, seed=recipe.seed),
        blame=blame,
    )


def _contexts(query: SuiteQuery, ranking: Ranking, question: Row, retriever: str, window: int) -> list[Context]:
    """Choice: a wrong answer is blamed by the rank of the last gold, since questions over several passages need all of
    them; if one is not ranked, it was not retrieved."""
    ids = [candidate_id for candidate_id, _ in ranking]
    places = [place for place, one in enumerate(ids, start=1) if one in query.grade_by_id]
    golden_rank = places[-1] if len(places) == len(query.grade_by_id) else None
    return [
        Context(pair=question, retriever=NO_DOCUMENT, window=()),
        Context(pair=question, retriever=GOLDEN, window=tuple(sorted(query.grade_by_id)), golden_rank=1),
        Context(pair=question, retriever=retriever, window=tuple(ids[:window]), golden_rank=golden_rank),
    ]


def answers_text(made: SuiteAnswers) -> str:
    """A line for each generator and what it was shown; the retriever's difference from nothing shown; the blame."""
    lines = [f"{'generator':<24} {'shown':<14} {'metric':<16} {'queries':>7}  value (95 % interval)"]
    lines += [
        f"{row['generator']:<24} {row['retriever']:<14} {row['metric']:<16} {row['num_queries']:>7}  {row['value']:.4f} "
        f"({row['interval_low']:.4f} to {row['interval_high']:.4f}){' stand-in, no VLM' if row['is_stand_in'] else ''}"
        for row in made.scores
    ]
    lines += [
        f"{row['generator']}: {row['metric']} {row['difference']:+.4f} ({row['interval_low']:+.4f} to "
        f"{row['interval_high']:+.4f}) with {row['retriever']} against {row['against']}, p {row['p_value']:.4f}"
        for row in made.differences
        if GOLDEN not in (row["retriever"], row["against"])
    ]
    lines += [
        f"{row['generator']}: {row['outcome'].replace('_', ' ')} {row['num_answers']:,} ({row['share']:.0%})"
        for row in made.blame
    ]
    return "\n".join(lines)
