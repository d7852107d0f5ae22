"""HotpotQA, 2WikiMultiHopQA and MuSiQue: questions over several passages, pooled over all questions.

Ranking the ten or twenty passages of one question alone is easy; here every question searches the passages of all.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nyx_assets.evaluation.published.seam import (
    Pool,
    TakePicture,
    field,
    json_file,
    json_lines,
    one_of,
    passage,
    suite_from,
)
from nyx_assets.evaluation.suites import Suite, SuiteQuery
from training_kernels.documents import Document

Question = tuple[str, str, list[tuple[str, str, bool]], tuple[str, ...]]
"""Id, question, its passages (title, text, and whether it is gold), and its golden answers."""


class TitledContext:
    """HotpotQA's format, which 2WikiMultiHopQA took over.

    A JSON list of {"_id", "question", "answer", "supporting_facts": [[title, sentence]], "context": [[title, [sentence]]]}.
    """

    def __init__(self, name: str, file_names: tuple[str, ...]) -> None:
        self.name = name
        self.files = " or ".join(file_names)
        self._file_names = file_names

    def read(self, folder: Path, part: str, take_picture: TakePicture) -> Suite:
        path, rows = json_file(folder, self._file_names)
        return _pooled(self.name, (_titled(row, f"{path}, row {place}") for place, row in enumerate(rows)))


def _titled(row: Any, where: str) -> Question:
    golds = {title for title, _ in field(row, "supporting_facts", list, where)}
    passages = [
        (title, "".join(sentences).strip(), title in golds) for title, sentences in field(row, "context", list, where)
    ]
    answer = field(row, "answer", str, where)
    return field(row, "_id", str, where), field(row, "question", str, where), passages, (answer,)


class MuSiQue:
    """JSON lines of {"id", "question", "answer", "paragraphs": [{"title", "paragraph_text", "is_supporting"}]}, and
    optionally "answer_aliases"."""

    name = "musique"
    _file_names = ("musique_ans_v1.0_dev.jsonl", "musique_full_v1.0_dev.jsonl")
    files = " or ".join(_file_names)

    def read(self, folder: Path, part: str, take_picture: TakePicture) -> Suite:
        path = one_of(folder, self._file_names)
        return _pooled(self.name, (_musique(row, f"{path}, line {number}") for number, row in json_lines(path)))


def _musique(row: Any, where: str) -> Question:
    passages = [
        (
            field(one, "title", str, where),
            field(one, "paragraph_text", str, where),
            field(one, "is_supporting", bool, where),
        )
        for one in field(row, "paragraphs", list, where)
    ]
    # the published score is the best over the answer and its aliases
    answers = (field(row, "answer", str, where), *row.get("answer_aliases", []))
    return field(row, "id", str, where), field(row, "question", str, where), passages, answers


class PlainQuestions:
    """JSON lines of {"id", "question", "passages": [{"id", "title", "text"}], "gold_ids"}, and optionally "answers": one form
    for any of them."""

    name = "qa_lines"
    files = "PART.jsonl, asked for as qa_lines:PART"

    def read(self, folder: Path, part: str, take_picture: TakePicture) -> Suite:
        path = one_of(folder, [f"{part}.jsonl"])
        return _pooled(part, (_plain(row, f"{path}, line {number}") for number, row in json_lines(path)))


def _plain(row: Any, where: str) -> Question:
    golds = set(field(row, "gold_ids", list, where))
    passages = [
        (one.get("title", ""), field(one, "text", str, where), field(one, "id", str, where) in golds)
        for one in field(row, "passages", list, where)
    ]
    answers = tuple(row.get("answers", []))
    return field(row, "id", str, where), field(row, "question", str, where), passages, answers


def _pooled(name: str, questions: Iterator[Question]) -> Suite:
    pool, queries, left_out = Pool(), [], []
    for query_id, question, passages, answers in questions:
        ids = [(pool.add(passage(title, text)), is_gold) for title, text, is_gold in passages if text.strip()]
        golds = [candidate_id for candidate_id, is_gold in ids if is_gold]
        if golds:
            queries.append(SuiteQuery(query_id, Document.of(question), dict.fromkeys(golds, 1), answers=answers))
        else:
            left_out.append((query_id, "none of its passages is marked as gold"))
    return suite_from(name, pool, queries, left_out)
