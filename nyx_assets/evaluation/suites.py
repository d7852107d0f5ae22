"""Suites: queries, candidates and which candidate answers which query, read from a folder or made from filtered QA.

    corpus.jsonl   {"id", "segments": [{"type": "text", "text"} | {"type": "image", "path"}]}
    queries.jsonl  the same, and optionally "exclude": candidate ids that are taken out of its ranking; "answers": golden
                   answers, any of which is right; "options" and "right_option": choices, and the 0-based place of the right one
    qrels.tsv      query id, candidate id, score, tab-separated, with or without a header line; as BEIR

Paths of pictures are relative to the folder and stay inside it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nyx_assets.rag.drawing import draw_by_hash
from nyx_assets.records import document_key
from resources.images import ImageStore, PictureLimits
from training_kernels.documents import Document, Segment
from training_kernels.errors import DataError

CORPUS, QUERIES, QRELS = "corpus.jsonl", "queries.jsonl", "qrels.tsv"


@dataclass(frozen=True, slots=True)
class SuiteQuery:
    """A query with its golds."""

    query_id: str
    document: Document
    grade_by_id: Mapping[str, int]
    """Grade above zero of each gold."""
    exclude: frozenset[str] = frozenset()
    """Candidates that are taken out of its ranking, such as the query's own source."""
    among: frozenset[str] = frozenset()
    """If any, the only candidates that it ranks."""
    answers: tuple[str, ...] = ()
    """Golden answers, any of which is right; none if the suite brings no answers."""
    options: tuple[str, ...] = ()
    right_option: int | None = None


@dataclass(frozen=True, slots=True)
class Suite:
    """One benchmark."""

    name: str
    candidates: Mapping[str, Document]
    queries: tuple[SuiteQuery, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    """Id of each query that cannot be scored, and why."""


def read_suite(folder: Path, store: ImageStore, *, limits: PictureLimits) -> Suite:
    """The suite in a folder, named after it; its pictures are taken into the store.

    Raises DataError with the file and line of the first thing that is wrong.
    """
    folder = Path(folder)
    pictures = _Pictures(folder, store, limits)
    candidates = {
        row.row_id: pictures.document(row) for row in _unique_rows(folder / CORPUS, _json_rows(folder / CORPUS))
    }
    query_rows = list(_unique_rows(folder / QUERIES, _json_rows(folder / QUERIES)))
    grades = _read_qrels(folder / QRELS, {row.row_id for row in query_rows}, candidates)
    queries = []
    for row in query_rows:
        exclude = _excluded(row)
        golds = grades.get(row.row_id, {})
        if not golds:
            raise row.error(
                f"query {row.row_id!r} has no gold: no line of {QRELS} gives it a score above 0; add one or remove it"
            )
        if both := sorted(exclude & golds.keys()):
            raise row.error(f"query {row.row_id!r} excludes its own gold {both[0]!r}; it could never be found")
        answers, options, right_option = _answers(row)
        queries.append(
            SuiteQuery(
                row.row_id,
                pictures.document(row),
                golds,
                exclude,
                answers=answers,
                options=options,
                right_option=right_option,
            )
        )
    return Suite(folder.resolve().name, candidates, tuple(queries))


def suite_of_qa(
    name: str,
    queries: Iterable[Mapping[str, Any]],
    candidates: Mapping[str, Document],
    *,
    near_copies: Mapping[str, str] = MappingProxyType({}),
) -> Suite:
    """The suite that filtered QA makes: the question alone is the query, the golden chunk the gold.

    Choice: a chunk of exactly the same content as the golden chunk is a gold as well, for nothing could tell them apart.
    A near copy of it is taken out of the ranking: whether it still answers is not known, so finding it is neither
    right nor wrong.

    Args:
        queries: rows of filtered_qa (qa_id, chunk_id, question), or of altered_queries.
        candidates: every chunk by id.
        near_copies: cluster of each chunk that has a copy or near copy (near_copies.chunk_cluster_of).

    Raises:
        DataError: a golden chunk is not among the candidates.
    """
    ids_by_content: dict[str, list[str]] = {}
    for chunk_id, chunk in candidates.items():
        ids_by_content.setdefault(document_key(chunk), []).append(chunk_id)
    ids_by_cluster: dict[str, set[str]] = {}
    for chunk_id in near_copies.keys() & candidates.keys():
        ids_by_cluster.setdefault(near_copies[chunk_id], set()).add(chunk_id)
    made = []
    for query in queries:
        if query["chunk_id"] not in candidates:
            raise _missing_golden(query)
        golds = ids_by_content[document_key(candidates[query["chunk_id"]])]
        like_golden = ids_by_cluster.get(near_copies.get(query["chunk_id"], ""), set())
        question = Document.from_rows(query["question"])
        made.append(
            SuiteQuery(query["qa_id"], question, dict.fromkeys(golds, 1), frozenset(like_golden.difference(golds)))
        )
    return Suite(name, candidates, tuple(made))


def with_options(pair: Mapping[str, Any]) -> dict[str, Any]:
    """A row of filtered_qa whose question is followed by its options, as Nyx retrieves for its published numbers."""
    lines = [" ".join(option.split()) for option in pair["options"]]
    return {**pair, "question": [*pair["question"], Segment(text="\n".join(lines)).to_row()]}


def draw_by_modality(
    pairs: Iterable[Mapping[str, Any]], chunk_by_id: Mapping[str, Document], *, limit: int, seed: int
) -> list[Mapping[str, Any]]:
    """At most `limit` pairs each whose golden chunk shows no, one and several pictures, drawn by hash, in order of id.

    Raises DataError if a golden chunk is missing.

    Source: the published code groups held-out pairs so and takes 200 of each. Ours are split by page cluster before,
    so that a page that comes moves no other one to another split; the groups are made here.
    """
    groups: dict[int, dict[str, Mapping[str, Any]]] = {}
    for pair in pairs:
        if pair["chunk_id"] not in chunk_by_id:
            raise _missing_golden(pair)
        num_pictures = len(chunk_by_id[pair["chunk_id"]].images)
        groups.setdefault(min(num_pictures, 2), {})[pair["qa_id"]] = pair
    drawn = {qa_id: group[qa_id] for group in groups.values() for qa_id in draw_by_hash(group, limit=limit, seed=seed)}
    return [pair for _, pair in sorted(drawn.items())]


def _missing_golden(query: Mapping[str, Any]) -> DataError:
    return DataError(
        f"query {query['qa_id']}: its golden chunk {query['chunk_id']} is not in chunked_corpus; make its QA again"
    )


def write_suite(
    folder: Path,
    *,
    corpus: Iterable[Mapping[str, Any]],
    queries: Iterable[Mapping[str, Any]],
    golds: Iterable[tuple[str, str, int]],
) -> None:
    """Write the three files of a suite folder from rows as the module describes them; pictures are put there by the caller."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in ((CORPUS, corpus), (QUERIES, queries)):
        with (folder / name).open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with (folder / QRELS).open("w", encoding="utf-8") as file:
        file.write("query-id\tcorpus-id\tscore\n")
        file.writelines(f"{query_id}\t{candidate_id}\t{score}\n" for query_id, candidate_id, score in golds)


@dataclass(frozen=True, slots=True)
class _Row:
    """A JSON object with the place it came from."""

    file: Path
    line: int
    row_id: str
    content: Mapping[str, Any]

    def error(self, message: str) -> DataError:
        return _error(self.file, self.line, message)


class _Pictures:
    """Turns segments of a suite into documents; each picture file is taken into the store once."""

    def __init__(self, folder: Path, store: ImageStore, limits: PictureLimits) -> None:
        self._folder = folder.resolve()
        self._store = store
        self._limits = limits
        self._digest_by_path: dict[str, str] = {}

    def document(self, row: _Row) -> Document:
        segments = row.content.get("segments")
        if not isinstance(segments, list) or not segments:
            raise row.error(f"{row.row_id!r} needs a list of segments that is not empty, got {segments!r}")
        return Document(tuple(self._segment(row, segment) for segment in segments))

    def _segment(self, row: _Row, segment: Any) -> Segment:
        match segment:
            case {"type": "text", "text": str(text)}:
                return Segment(text=text)
            case {"type": "image", "path": str(path)}:
                return Segment(image=self._digest(row, path))
        raise row.error(
            'a segment is {"type": "text", "text": …} or {"type": "image", "path": …}, got ' + repr(segment)[:200]
        )

    def _digest(self, row: _Row, path: str) -> str:
        if path not in self._digest_by_path:
            place = (self._folder / path).resolve()
            if not place.is_relative_to(self._folder):
                raise row.error(f"picture {path!r} leaves the suite folder; copy it into the folder")
            if not place.is_file():
                raise row.error(f"picture {path!r} is not in the suite folder")
            try:
                self._digest_by_path[path] = self._store.put(place.read_bytes(), limits=self._limits).digest
            except DataError as error:
                raise row.error(f"picture {path!r}: {error}") from error
        return self._digest_by_path[path]


def _error(file: Path, line: int, message: str) -> DataError:
    return DataError(f"{file}, line {line}: {message}")


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Line numbers and lines that are not blank."""
    if not file.is_file():
        raise DataError(f"{file} is missing: a suite folder holds {CORPUS}, {QUERIES} and {QRELS}")
    num_found = 0
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                text = line.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise _error(
                    file, number, f"not UTF-8: {error.reason} at byte {error.start}; save it as UTF-8"
                ) from error
            if text.strip():
                num_found += 1
                yield number, text
    if not num_found:
        raise DataError(f"{file} is empty; a suite needs at least one row in each file")


def _json_rows(file: Path) -> Iterator[_Row]:
    for number, text in _lines(file):
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise _error(file, number, f"not JSON: {error.msg} at column {error.colno}; one object a line") from error
        row_id = content.get("id") if isinstance(content, dict) else None
        if not isinstance(row_id, str) or not row_id:
            raise _error(file, number, f'a row is an object with an "id" that is text, got {text[:80]!r}')
        yield _Row(file, number, row_id, content)


def _unique_rows(file: Path, rows: Iterable[_Row]) -> Iterator[_Row]:
    line_by_id: dict[str, int] = {}
    for row in rows:
        if row.row_id in line_by_id:
            raise row.error(f"id {row.row_id!r} stands on line {line_by_id[row.row_id]} already; ids are unique")
        line_by_id[row.row_id] = row.line
        yield row


def _excluded(row: _Row) -> frozenset[str]:
    """Candidates to take out; an id that the corpus lacks excludes nothing."""
    exclude = row.content.get("exclude", [])
    if not isinstance(exclude, list) or not all(isinstance(candidate_id, str) for candidate_id in exclude):
        raise row.error(f'"exclude" is a list of candidate ids, got {exclude!r}')
    return frozenset(exclude)


def _answers(row: _Row) -> tuple[tuple[str, ...], tuple[str, ...], int | None]:
    """Golden answers, options and the place of the right one, as far as the row has them."""
    answers, options = row.content.get("answers", []), row.content.get("options", [])
    for name, value in (("answers", answers), ("options", options)):
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise row.error(f'"{name}" is a list of texts, got {value!r}')
    right = row.content.get("right_option")
    if options and (type(right) is not int or not 0 <= right < len(options)):
        raise row.error(f'"right_option" is the place of the right one of {len(options)} options from 0, got {right!r}')
    if options and not answers:
        answers = [options[right]]
    return tuple(answers), tuple(options), right if options else None


def _read_qrels(file: Path, query_ids: set[str], candidates: Mapping[str, Document]) -> dict[str, dict[str, int]]:
    """Grades above zero: by query id, then by candidate id."""
    grades: dict[str, dict[str, int]] = {}
    judged: set[tuple[str, str]] = set()
    for number, text in _lines(file):
        fields = text.split("\t")
        if number == 1 and len(fields) == 3 and not _is_whole_number(fields[2]):
            continue
        if len(fields) != 3 or not _is_whole_number(fields[2]):
            raise _error(
                file, number, f"a line is query id, candidate id and a whole number, tab-separated, got {text!r}"
            )
        query_id, candidate_id, score = fields[0], fields[1], int(fields[2])
        if query_id not in query_ids:
            raise _error(file, number, f"query {query_id!r} is not in {QUERIES}")
        if candidate_id not in candidates:
            raise _error(file, number, f"candidate {candidate_id!r} is not in {CORPUS}")
        if (query_id, candidate_id) in judged:
            raise _error(file, number, f"query {query_id!r} and candidate {candidate_id!r} stand here twice")
        judged.add((query_id, candidate_id))
        if score > 0:
            grades.setdefault(query_id, {})[candidate_id] = score
    return grades


def _is_whole_number(text: str) -> bool:
    return text.strip().removeprefix("-").isdecimal()
