"""Rankings and golds as trec_eval and its kin read them, so that anybody can score our runs with their own tools.

<home>/artifacts/trec/<suite>.<split>.qrels               query, 0, candidate, grade
<home>/artifacts/trec/<suite>.<split>.<retriever>.run     query, Q0, candidate, rank, score, retriever
"""

import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nyx_assets.evaluation.suites import Suite
from nyx_assets.rag.rankings import Ranking
from resources.home import Home
from training_kernels.errors import DataError

UNFIT = re.compile(r"[^\w.+-]+")


@dataclass(frozen=True, slots=True)
class Runs:
    """A folder that takes the files of an evaluation."""

    folder: Path

    def qrels(self, suite: Suite, split: str) -> None:
        """The golds of a suite; nothing for one without queries."""
        if suite.queries:
            grades = {query.query_id: query.grade_by_id for query in suite.queries}
            write_qrels(self.folder / f"{_file_name(suite.name)}.{split}.qrels", grades)

    def run(self, suite: Suite, split: str, retriever: str, rankings: Sequence[Ranking]) -> None:
        """The rankings of a suite's queries, in their order."""
        found = {query.query_id: ranking for query, ranking in zip(suite.queries, rankings, strict=True)}
        name = _file_name(retriever)
        write_trec_run(self.folder / f"{_file_name(suite.name)}.{split}.{name}.run", found, run_name=name)


def _file_name(name: str) -> str:
    """A suite's or retriever's name without what a file name or a column cannot hold, such as a model's folder."""
    return UNFIT.sub("_", name)


@contextmanager
def published_runs(home: Home) -> Iterator[Runs]:
    """A fresh folder that takes the place of the last evaluation's when all of it is written."""
    place = home.trec_folder
    draft = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
    draft.mkdir(parents=True)
    try:
        yield Runs(draft)
        shutil.rmtree(place, ignore_errors=True)
        draft.rename(place)
        shared = place.relative_to(home.root).as_posix()
        home.mirror.remove(shared)
        home.mirror.send(shared)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_trec_run(path: Path, ranking_by_query: Mapping[str, Ranking], *, run_name: str) -> None:
    """Write rankings as trec_eval reads them: query, Q0, candidate, rank, score and name, a space apart.

    Raises DataError for an id or name with a space, which the format cannot hold.
    """
    _write(
        path,
        (
            [query_id, "Q0", candidate_id, str(rank), repr(score), run_name]
            for query_id, ranking in ranking_by_query.items()
            for rank, (candidate_id, score) in enumerate(ranking, start=1)
        ),
    )


def write_qrels(path: Path, grade_by_query: Mapping[str, Mapping[str, int]]) -> None:
    """Write golds as trec_eval reads them: query, 0, candidate and grade. Raises DataError as write_trec_run."""
    _write(
        path,
        (
            [query_id, "0", candidate_id, str(grade)]
            for query_id, grades in grade_by_query.items()
            for candidate_id, grade in grades.items()
        ),
    )


def _write(path: Path, rows: Iterator[list[str]]) -> None:
    lines = []
    for fields in rows:
        if any(len(field.split()) != 1 for field in fields):
            raise DataError(f"a TREC file cannot hold an empty id or one with a space, got {fields}; rename it")
        lines.append(" ".join(fields))
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
