"""Everything that a subject comes from and that was made of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nyx_assets.explaining.asking import with_digests
from nyx_assets.explaining.naming import Subject, current_checkpoints
from nyx_assets.explaining.reading import Row, is_in, ledger_rows, overlaps, rows_where, shows
from nyx_assets.index_versions import chunks_of_version, record_of, records
from nyx_assets.lineage import checkpoints_that_saw
from nyx_assets.recipes import PipelineRecipe
from resources.home import Home
from resources.stores import open_store
from resources.vlm_roles import replies_of
from training_kernels.documents import Document
from training_kernels.errors import DataError

PAGE_COLUMNS = ("doc_id", "url", "title", "language", "licence", "crawl", "source_file", "source_row", "segments")


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """An id with all that hangs together with it; every list is empty where there is nothing of its kind."""

    id: str
    kind: str
    pages: Sequence[Row]
    pictures: Sequence[Row]
    chunks: Sequence[Row]
    questions: Sequence[Row]
    negatives: Sequence[Row]
    """Questions that a chunk is a hard negative of."""
    preferences: Sequence[Row]
    answers: Sequence[Row]
    calls: Sequence[Row]
    """Rows of the ledger."""
    cost_usd: float
    """Of these calls."""
    checkpoints: Sequence[Row]
    """That have seen it; of a checkpoint, itself and what it was trained from."""
    index_versions: Sequence[Row] = field(default=())

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def explained(home: Home, recipe: PipelineRecipe, asked: str, subject: Subject) -> Explanation:
    """The explanation of a subject; reads and changes nothing else.

    Args:
        recipe: of the settings, to find the calls behind preferences and answers.
    """
    if subject.kind in ("checkpoint", "index version"):
        return _of_weights(home, asked, subject)
    questions = _questions(home, subject)
    qa_ids = {row["qa_id"] for row in questions}
    preferences = _preferences(home, recipe, subject, qa_ids)
    answers = _answers(home, recipe, subject, qa_ids)
    chunks = _chunks(home, subject, questions, [*preferences, *answers])
    pages = _pages(home, subject, chunks)
    images = subject.images or _images(subject, pages, chunks, questions)
    rows_with_calls = [*questions, *preferences, *answers]
    digests = subject.digests or {row["request_digest"] for row in rows_with_calls if row.get("request_digest")}
    calls = ledger_rows(home, digests)
    chunk_ids = {row["chunk_id"] for row in chunks}
    seen = frozenset(qa_ids | (subject.chunk_ids or chunk_ids))
    return Explanation(
        id=asked,
        kind=subject.kind,
        pages=[{name: row[name] for name in PAGE_COLUMNS if name != "segments"} for row in pages],
        pictures=[_picture(home, image) for image in sorted(images)],
        chunks=[
            {name: row[name] for name in ("chunk_id", "doc_id", "crawl", "position", "modality")} for row in chunks
        ],
        questions=questions,
        negatives=sorted(
            rows_where(home, "negatives", is_in("chunk_id", subject.chunk_ids)),
            key=lambda row: (row["qa_id"], row["rank"]),
        ),
        preferences=preferences,
        answers=answers,
        calls=[row | {"is_kept": replies_of(home).peek(row["request_digest"]) is not None} for row in calls],
        cost_usd=sum(row["cost_usd"] for row in calls),
        checkpoints=[{"folder": one.folder, "how": one.how} for one in checkpoints_that_saw(home, seen)]
        if seen
        else [],
        index_versions=_versions(home, subject, sorted(subject.chunk_ids or chunk_ids)),
    )


def _questions(home: Home, subject: Subject) -> list[Row]:
    """Questions of the subject: itself, those written about its chunks, those that show its picture, those of its call."""
    chunk_ids = set(subject.chunk_ids)
    if subject.doc_ids or subject.images:
        condition = f"{is_in('doc_id', subject.doc_ids)} OR {shows('segments', subject.images)}"
        chunk_ids |= {row["chunk_id"] for row in rows_where(home, "chunked_corpus", condition, ["chunk_id"])}
    condition = (
        f"{is_in('qa_id', subject.qa_ids)} OR {is_in('chunk_id', chunk_ids)} OR {shows('question', subject.images)}"
    )
    kept = {row["qa_id"]: row for row in rows_where(home, "filtered_qa", condition)}
    rejected = {row["qa_id"]: row for row in rows_where(home, "rejected_qa", condition)}
    questions = []
    for row in rows_where(home, "raw_qa", condition):
        qa_id = row["qa_id"]
        outcome = "not sorted yet"
        if qa_id in kept:
            outcome = f"kept, split {kept[qa_id]['split']}"
        elif qa_id in rejected:
            outcome = f"rejected by {rejected[qa_id]['rule']}: {rejected[qa_id]['reason']}"
        elif row["problem"]:
            outcome = f"rejected: {row['problem']}"
        names = ("qa_id", "chunk_id", "crawl", "teacher", "is_stand_in", "prompt_version", "request_digest", "cost_usd")
        questions.append(
            {name: row[name] for name in names}
            | {
                "question": _text(row["question"]),
                "images": _shown(row["question"]),
                "answer": row["answer"],
                "outcome": outcome,
            }
        )
    return sorted(questions, key=lambda row: (row["crawl"], row["qa_id"]))


def _preferences(home: Home, recipe: PipelineRecipe, subject: Subject, qa_ids: set[str]) -> list[Row]:
    if subject.kind == "answer":
        return []
    rows = rows_where(
        home, "feedback_preferences", f"{is_in('qa_id', qa_ids)} OR {overlaps('window', subject.chunk_ids)}"
    )
    rows = [row for row in rows if not subject.ranks or row["window_rank"] in subject.ranks]
    rows = with_digests(home, rows, recipe, shows_options=recipe.feedback.shows_options)
    if subject.kind == "request":
        rows = [row for row in rows if row["request_digest"] in subject.digests]
    rows.sort(key=lambda row: (row["qa_id"], row["crawl"], row["window_rank"]))
    return [row | {"id": f"{row['qa_id']}/{row['window_rank']}"} for row in rows]


def _answers(home: Home, recipe: PipelineRecipe, subject: Subject, qa_ids: set[str]) -> list[Row]:
    if subject.kind == "preference":
        return []
    rows = rows_where(home, "wrong_answers", f"{is_in('qa_id', qa_ids)} OR {overlaps('window', subject.chunk_ids)}")
    rows = [row for row in rows if not subject.retriever or row["retriever"] == subject.retriever]
    rows = with_digests(home, rows, recipe, shows_options=True)
    if subject.kind == "request":
        rows = [row for row in rows if row["request_digest"] in subject.digests]
    rows.sort(key=lambda row: (row["qa_id"], row["retriever"], row["generator"]))
    return [row | {"id": f"{row['qa_id']}@{row['retriever']}"} for row in rows]


def _chunks(home: Home, subject: Subject, questions: Sequence[Row], shown: Sequence[Row]) -> list[Row]:
    """The subject's chunks; of a question, preference or answer its golden chunk and those that were shown."""
    chunk_ids = set(subject.chunk_ids)
    if subject.kind in ("question", "preference", "answer", "request"):
        chunk_ids |= {row["chunk_id"] for row in questions}
    if subject.kind in ("preference", "answer"):
        chunk_ids |= {chunk_id for row in shown for chunk_id in row["window"]}
    condition = (
        f"{is_in('chunk_id', chunk_ids)} OR {is_in('doc_id', subject.doc_ids)} OR {shows('segments', subject.images)}"
    )
    rows = rows_where(home, "chunked_corpus", condition)
    return sorted(rows, key=lambda row: (row["crawl"], row["doc_id"], row["position"]))


def _pages(home: Home, subject: Subject, chunks: Sequence[Row]) -> list[Row]:
    doc_ids = subject.doc_ids | {row["doc_id"] for row in chunks}
    condition = f"{is_in('doc_id', doc_ids)} OR {shows('segments', subject.images)}"
    rows = rows_where(home, "crawl_documents", condition, PAGE_COLUMNS)
    return sorted(rows, key=lambda row: (row["crawl"], row["doc_id"]))


def _images(subject: Subject, pages: Sequence[Row], chunks: Sequence[Row], questions: Sequence[Row]) -> set[str]:
    """Pictures of the chunks and questions; of a page all of its own."""
    documents = [row["segments"] for row in (pages if subject.kind == "page" else chunks)]
    return {image for segments in documents for image in _shown(segments)} | {
        image for row in questions for image in row["images"]
    }


def _picture(home: Home, image: str) -> Row:
    try:
        return {"image": image, "file": home.images.address(image), "is_there": True}
    except DataError as error:
        return {"image": image, "file": str(error), "is_there": False}


def _versions(home: Home, subject: Subject, chunk_ids: Sequence[str]) -> list[Row]:
    live = _live_version(home)
    found = []
    for record in records(home):
        if subject.version and record.version != subject.version:
            continue
        held = sorted(chunks_of_version(home, record.version, chunk_ids))
        if held:
            found.append(_version_row(record, live) | {"chunk_ids": held})
    return found


def _version_row(record: Any, live: str) -> Row:
    return {
        "version": record.version,
        "is_live": record.version == live,
        "checkpoint_folder": record.checkpoint_folder,
        "dim": record.dim,
        "built_at": record.built_at,
    }


def _live_version(home: Home) -> str:
    """As the table says; the index itself may be held by another process."""
    rows = rows_where(home, "final_index", "is_live", ["version"])
    return rows[0]["version"] if rows else ""


def _of_weights(home: Home, asked: str, subject: Subject) -> Explanation:
    """A checkpoint, with the pages that it has seen counted by crawl, what it started from and the versions made with it."""
    assert subject.checkpoint is not None
    folder = subject.checkpoint.relative_to(home.root).as_posix()
    live = _live_version(home)
    versions = [record for record in records(home) if record.checkpoint_folder == folder]
    if subject.version:
        record = record_of(home, subject.version)
        versions = [record] if record is not None else []
    return Explanation(
        id=asked,
        kind=subject.kind,
        pages=[],
        pictures=[],
        chunks=[],
        questions=[],
        negatives=[],
        preferences=[],
        answers=[],
        calls=[],
        cost_usd=0.0,
        checkpoints=_ancestry(home, folder),
        index_versions=[
            _version_row(one, live) | {"chunks": one.num_chunks, "crawls": dict(one.crawls)} for one in versions
        ],
    )


def _ancestry(home: Home, folder: str) -> list[Row]:
    """A checkpoint and what it was trained from, the latest first."""
    found: list[Row] = []
    while folder and folder not in [row["folder"] for row in found]:
        path = home.root / folder
        lineage = home.root / "lineage" / path.parent.name / f"{path.name}.json"
        content = json.loads(lineage.read_text()) if lineage.is_file() else {}
        found.append(
            {
                "folder": folder,
                "is_current_of": [asset for asset, current, _ in current_checkpoints(home) if current == path],
                "start_from": content.get("start_from", "not known: it was trained before lineage was kept"),
                **_counted(home, content.get("documents", [])),
                "metrics": _metrics(home, folder),
            }
        )
        start = content.get("start_from", "")
        folder = start if Path(start).parts[:1] == ("checkpoints",) else ""
    return found


def _metrics(home: Home, folder: str) -> Mapping[str, Any]:
    """What a training noted of itself; of a checkpoint that is in the store alone, nothing else is brought."""
    for place in (str(home.root), home.store):
        fs, base = open_store(place)
        try:
            return json.loads(fs.cat_file(f"{base}/{folder}/metrics.json"))
        except FileNotFoundError:
            continue
    return {}


def _counted(home: Home, documents: Sequence[str]) -> Mapping[str, Any]:
    """How many chunks and questions of which crawl partitions a training has seen."""
    ids = set(documents)
    chunks = rows_where(home, "chunked_corpus", is_in("chunk_id", ids), ["chunk_id", "doc_id", "crawl"])
    questions = rows_where(home, "filtered_qa", is_in("qa_id", ids), ["qa_id", "crawl"])
    return {
        "documents_seen": len(ids),
        "chunks_seen": len({row["chunk_id"] for row in chunks}),
        "pages_seen": len({row["doc_id"] for row in chunks}),
        "questions_seen": len({row["qa_id"] for row in questions}),
        "crawls_seen": sorted({row["crawl"] for row in (*chunks, *questions)}),
    }


def _text(segments: Sequence[Mapping[str, Any]]) -> str:
    return Document.from_rows(segments).text


def _shown(segments: Sequence[Mapping[str, Any]]) -> list[str]:
    return [segment["image"] for segment in segments if segment["image"]]
