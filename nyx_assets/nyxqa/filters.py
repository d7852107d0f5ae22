"""Sort drafts into pairs that survive and pairs that do not, each with the rule that refused it and the reason."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from nyx_assets.nyxqa.judging import judge_requests, objection_of
from nyx_assets.nyxqa.options import options_for
from nyx_assets.rag.grading import normalise_answer
from nyx_assets.recipes import QARecipe
from nyx_assets.records import document_key
from resources.vlm import Reply, Request
from training_kernels.documents import Document, Segment
from training_kernels.errors import VLMError

Row = Mapping[str, Any]
Rule = Callable[[Document, str, QARecipe], str | None]

SOURCE_NOUN = r"(?:text|passage|document|article|excerpt|paragraph|page|chapter|section|context|author)s?"
NAMES_ITS_SOURCE = re.compile(
    rf"\b(?:this|these|(?:the )?(?:above|following|given|provided)) {SOURCE_NOUN}\b"
    rf"|\b(?:in|from|by|to|of|does|do|did) the (?:text|passage|document|excerpt|author)\b"
    r"|\b(?:image|picture|figure|photo|table) (?:above|below)\b"
    r"|\bseg[uú]n (?:el|este) (?:texto|documento|art[ií]culo|pasaje)\b|\ben est[ea] (?:texto|documento|p[aá]gina)\b"
    r"|(?:本文|上文|文中|原文|该文档|这篇文章|根据文章)",
    re.IGNORECASE,
)
CJK_RUN = re.compile("[\u3400-\u9fff\u3040-\u30ff\uac00-\ud7af]+")
CJK_CHARACTERS_A_WORD = 2
"""Choice: a Chinese word has two characters on average."""


def num_words(text: str) -> int:
    """Words of a text; a run of CJK characters counts as one word for every two characters, rounded up."""
    cjk = sum(-(-len(run) // CJK_CHARACTERS_A_WORD) for run in CJK_RUN.findall(text))
    return cjk + len([word for word in CJK_RUN.sub(" ", text).split() if any(map(str.isalnum, word))])


def empty(question: Document, answer: str, recipe: QARecipe) -> str | None:
    if not question.text.strip():
        return "the question has no words"
    return None if normalise_answer(answer) else f"the answer {answer!r} has no words"


def names_its_source(question: Document, answer: str, recipe: QARecipe) -> str | None:
    """A retrieval question must stand alone; 'in this passage' gives the document away."""
    match = NAMES_ITS_SOURCE.search(question.text)
    return f"the question speaks of {match.group()!r}" if match else None


def leaks_its_answer(question: Document, answer: str, recipe: QARecipe) -> str | None:
    """A question that contains its answer, as words of its own, tests string matching, not retrieval."""
    needle = normalise_answer(answer)
    left = "" if CJK_RUN.match(needle) else r"(?<!\w)"  # CJK words have no boundaries
    right = "" if CJK_RUN.match(needle[-1:]) else r"(?!\w)"
    found = re.search(f"{left}{re.escape(needle)}{right}", normalise_answer(question.text))
    return f"the question contains its answer {answer!r}" if found else None


def answer_too_long(question: Document, answer: str, recipe: QARecipe) -> str | None:
    words = num_words(answer)
    return (
        f"the answer has {words} words, at most {recipe.max_answer_words} allowed"
        if words > recipe.max_answer_words
        else None
    )


def question_too_short(question: Document, answer: str, recipe: QARecipe) -> str | None:
    words = num_words(question.text)
    return (
        f"the question has {words} words, at least {recipe.min_question_words} needed"
        if words < recipe.min_question_words
        else None
    )


RULES: tuple[Rule, ...] = (empty, names_its_source, leaks_its_answer, answer_too_long, question_too_short)
"""In this order; the first that objects gives its name to the rejection."""


def filter_pairs(
    raw_rows: Iterable[Row],
    *,
    chunk_by_id: Mapping[str, Row],
    split_by_doc: Mapping[str, str],
    recipe: QARecipe,
    seed: int,
    ask_judge: Callable[[Iterable[Request]], Iterator[Reply | VLMError]],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of `filtered_qa` and of `rejected_qa`, without `crawl`: together exactly the raw rows, each once, in order.

    Args:
        chunk_by_id: rows of `chunked_corpus`.
        split_by_doc: split of every page of the crawl.
        ask_judge: usually `complete_all` with the judge bound; asked only about pairs that every rule let through.
    """
    rows = list(raw_rows)
    objection_by_id: dict[str, tuple[str, str]] = {}
    options_by_id: dict[str, tuple[list[str], int]] = {}
    asked_before: dict[tuple[str, str], str] = {}
    for row in rows:
        objection = _objection(row, recipe, asked_before, chunk_by_id[row["chunk_id"]]["doc_id"])
        if objection is None:
            options = options_for(
                row["answer"], row["distractors"], qa_id=row["qa_id"], num_options=recipe.num_options, seed=seed
            )
            if isinstance(options, str):
                objection = ("bad_options", options)
            else:
                options_by_id[row["qa_id"]] = options
        if objection is not None:
            objection_by_id[row["qa_id"]] = objection
    to_judge = [row for row in rows if row["qa_id"] in options_by_id]
    requests = judge_requests(to_judge, chunk_by_id=chunk_by_id, seed=seed)
    for row, reply in zip(to_judge, ask_judge(requests), strict=True):
        if (objection := objection_of(reply)) is not None:
            objection_by_id[row["qa_id"]] = objection
    kept = [
        _kept_row(row, chunk_by_id[row["chunk_id"]], split_by_doc, *options_by_id[row["qa_id"]])
        for row in rows
        if row["qa_id"] not in objection_by_id
    ]
    rejected = [_rejected_row(row, *objection_by_id[row["qa_id"]]) for row in rows if row["qa_id"] in objection_by_id]
    return kept, rejected


def _objection(
    row: Row, recipe: QARecipe, asked_before: dict[tuple[str, str], str], doc_id: str
) -> tuple[str, str] | None:
    """Rule and reason of the first objection to a draft; remembers in `asked_before` the questions that had none."""
    if row["problem"] is not None:
        rule, _, reason = row["problem"].partition(": ")
        return rule, reason or rule
    question = Document.from_rows(row["question"])
    for rule in RULES:
        if (reason := rule(question, row["answer"], recipe)) is not None:
            return rule.__name__, reason
    # Per page, so that a page in two crawls has the same pairs kept whatever else its partition holds.
    key = (doc_id, question_key(question))
    if key in asked_before:
        return "repeated_pair", f"the same question of this page as {asked_before[key]}"
    asked_before[key] = row["qa_id"]
    return None


def question_key(question: Document) -> str:
    """Equal for questions that differ only in case, punctuation, articles or spaces; pictures count."""
    return document_key(
        Document(
            tuple(
                segment if segment.text is None else Segment(text=normalise_answer(segment.text))
                for segment in question.segments
            )
        )
    )


def _kept_row(
    row: Row, chunk: Row, split_by_doc: Mapping[str, str], options: list[str], right_option: int
) -> dict[str, Any]:
    return {
        "qa_id": row["qa_id"],
        "chunk_id": row["chunk_id"],
        "doc_id": chunk["doc_id"],
        "question": row["question"],
        "answer": row["answer"],
        "options": options,
        "right_option": right_option,
        "split": split_by_doc[chunk["doc_id"]],
        "query_modality": Document.from_rows(row["question"]).modality,
        "target_modality": Document.from_rows(chunk["segments"]).modality,
        "teacher": row["teacher"],
        "is_stand_in": row["is_stand_in"],
    }


def _rejected_row(row: Row, rule: str, reason: str) -> dict[str, Any]:
    return {
        "qa_id": row["qa_id"],
        "chunk_id": row["chunk_id"],
        "question": row["question"],
        "answer": row["answer"],
        "rule": rule,
        "reason": reason,
    }
