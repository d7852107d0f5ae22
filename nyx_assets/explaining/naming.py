"""What an id of this project looks like, and what one of a home stands for."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nyx_assets.explaining.reading import is_in, ledger_rows, overlaps, rows_where, shows
from nyx_assets.index_versions import chunks_of_version, record_of, records
from resources.home import Home
from resources.vlm_roles import replies_of
from training_kernels.errors import ConfigError

ROW_ID = re.compile(r"[0-9a-f]{20}")
DIGEST = re.compile(r"[0-9a-f]{64}")
DATA_VERSION = re.compile(r"[0-9a-f]{32}")
VERSION = re.compile(r"v[0-9a-f]{16}\w*")
PREFERENCE = re.compile(r"(?P<qa>[0-9a-f]{20})/(?P<rank>\d+)")
ANSWER = re.compile(r"(?P<qa>[0-9a-f]{20})@(?P<retriever>[\w+-]+)")
VECTOR = re.compile(r"(?P<version>v[0-9a-f]{16}\w*)/(?P<chunk>[0-9a-f]{20})")

FORMS = (
    "page, chunk, question or training run: 20 hex digits; picture or VLM request: 64; preference: QUESTION/RANK of its "
    "window; wrong answer: QUESTION@RETRIEVER; index version: v and 16 hex digits; vector: VERSION/CHUNK; checkpoint: its "
    "folder, its asset, or the 32 hex digits of its data version"
)


@dataclass(slots=True, kw_only=True)
class Subject:
    """What an id stands for, and the ids beside it from which its explanation starts."""

    kind: str
    doc_ids: set[str] = field(default_factory=set)
    chunk_ids: set[str] = field(default_factory=set)
    qa_ids: set[str] = field(default_factory=set)
    images: set[str] = field(default_factory=set)
    digests: set[str] = field(default_factory=set)
    """Of VLM requests."""
    ranks: set[int] = field(default_factory=set)
    """Of windows; of all where there is none."""
    retriever: str = ""
    """Of an answer; "" for answers of all."""
    checkpoint: Path | None = None
    version: str = ""
    """Of the index; "" for all that hold it."""


def subject_of(home: Home, asked: str) -> Subject:
    """What an id stands for in this home. Raises ConfigError, with what ids look like, for what stands for nothing."""
    asked = asked.strip().rstrip("/")
    for find in FINDERS:
        if (found := find(home, asked)) is not None:
            return found
    if (named := ANSWER.fullmatch(asked)) and _is_question(home, named["qa"]):
        raise ConfigError(
            f"no wrong answer in {home} is called {asked!r}: it was right, or the question was not asked with that retriever. "
            f"Of right answers no row is kept; ask for the request, a row of the ledger with the asset rag_scores, or for the "
            f"question {named['qa']}"
        )
    raise ConfigError(f"nothing in {home} is called {asked!r}. Ids look like this: {FORMS}; `nyx search` prints some")


def _row(home: Home, asked: str) -> Subject | None:
    if not ROW_ID.fullmatch(asked):
        return None
    if rows_where(home, "crawl_documents", is_in("doc_id", {asked}), ["doc_id"]):
        return Subject(kind="page", doc_ids={asked})
    if rows_where(home, "chunked_corpus", is_in("chunk_id", {asked}), ["chunk_id"]):
        return Subject(kind="chunk", chunk_ids={asked})
    return Subject(kind="question", qa_ids={asked}) if _is_question(home, asked) else None


def _is_question(home: Home, asked: str) -> bool:
    tables = ("raw_qa", "filtered_qa", "rejected_qa")
    return any(rows_where(home, table, is_in("qa_id", {asked}), ["qa_id"]) for table in tables)


def _picture(home: Home, asked: str) -> Subject | None:
    if not DIGEST.fullmatch(asked):
        return None
    tables = (
        ("crawl_documents", "segments", "doc_id"),
        ("raw_qa", "question", "qa_id"),
        ("altered_queries", "question", "qa_id"),
    )
    is_shown = any(rows_where(home, table, shows(column, {asked}), [name]) for table, column, name in tables)
    return Subject(kind="picture", images={asked}) if is_shown else None


def _request(home: Home, asked: str) -> Subject | None:
    if not DIGEST.fullmatch(asked):
        return None
    written = rows_where(home, "raw_qa", is_in("request_digest", {asked}), ["qa_id"])
    if written or ledger_rows(home, {asked}) or replies_of(home).peek(asked) is not None:
        return Subject(kind="request", digests={asked}, qa_ids={row["qa_id"] for row in written})
    if rows_where(home, "qa_funnel", overlaps("request_digests", {asked}), ["check"]):
        return Subject(kind="request", digests={asked})
    return None


def _preference(home: Home, asked: str) -> Subject | None:
    named = PREFERENCE.fullmatch(asked)
    if named is None:
        return None
    qa_id, rank = named["qa"], int(named["rank"])
    condition = f"{is_in('qa_id', {qa_id})} AND window_rank = {rank}"
    if not rows_where(home, "feedback_preferences", condition, ["qa_id"]):
        return None
    return Subject(kind="preference", qa_ids={qa_id}, ranks={rank})


def _answer(home: Home, asked: str) -> Subject | None:
    named = ANSWER.fullmatch(asked)
    if named is None:
        return None
    condition = f"{is_in('qa_id', {named['qa']})} AND {is_in('retriever', {named['retriever']})}"
    if not rows_where(home, "wrong_answers", condition, ["qa_id"]):
        return None
    return Subject(kind="answer", qa_ids={named["qa"]}, retriever=named["retriever"])


def _vector(home: Home, asked: str) -> Subject | None:
    named = VECTOR.fullmatch(asked)
    if named is None or record_of(home, named["version"]) is None:
        return None
    if named["chunk"] not in chunks_of_version(home, named["version"], [named["chunk"]]):
        return None
    return Subject(kind="vector", chunk_ids={named["chunk"]}, version=named["version"])


def _version(home: Home, asked: str) -> Subject | None:
    if not VERSION.fullmatch(asked) or (record := record_of(home, asked)) is None:
        return None
    return Subject(kind="index version", version=asked, checkpoint=home.root / record.checkpoint_folder)


def _checkpoint(home: Home, asked: str) -> Subject | None:
    """By its folder, from here or from the home; by its asset; by its training run; by its data version."""
    for folder in checkpoint_folders(home):
        if asked in (folder.name, str(folder), folder.relative_to(home.root).as_posix()):
            return Subject(kind="checkpoint", checkpoint=folder)
    for asset, folder, data_version in current_checkpoints(home):
        if asked == asset or (DATA_VERSION.fullmatch(asked) and asked == data_version):
            return Subject(kind="checkpoint", checkpoint=folder)
    for record in records(home):
        if asked == record.checkpoint:
            return Subject(kind="checkpoint", checkpoint=home.root / record.checkpoint_folder)
    return None


def checkpoint_folders(home: Home) -> list[Path]:
    """Every whole checkpoint of the home, where it is on this machine or would be."""
    return [home.root / folder for folder in home.artifacts.complete_folders()]


def current_checkpoints(home: Home) -> Iterator[tuple[str, Path, str]]:
    """Asset, folder and data version of what each pointer names."""
    for pointer in sorted((home.root / "artifacts").glob("*.json")):
        content = json.loads(pointer.read_text())
        yield pointer.stem, home.root / content["folder"], content["data_version"]


FINDERS: tuple[Callable[[Home, str], Subject | None], ...] = (
    _row, _picture, _request, _preference, _answer, _vector, _version, _checkpoint,
)  # fmt: skip
