"""Versions of the index as a home remembers them: what each was made from, and its chunks and words as they were then.

    <home>/index/versions/<version>/record.json      a VersionRecord; the folder is put in place whole
    <home>/index/versions/<version>/chunks.parquet   every chunk with its page, in order of id: what search shows
    <home>/index/versions/<version>/bm25/            its words, for hybrid search

The embeddings are in the vector index under the same name. A version without its folder is half built: nothing makes it
live, and the next build drops it. Which version is live, the alias in the vector index says and nothing else.
"""

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nyx_assets.promoting import PROMOTED, promotion
from nyx_assets.rag.bm25 import Bm25Corpus
from nyx_assets.records import FINAL_INDEX, SEGMENTS
from resources.artifacts import MANIFEST
from resources.home import Home
from resources.tables import Commit, utc_now
from resources.vector_index import LIVE, IndexedChunk, VectorIndex, passes
from training_kernels.documents import Document
from training_kernels.errors import IncompleteArtifact, IndexUnavailable

RECORD, CHUNKS, BM25 = "record.json", "chunks.parquet", "bm25"
VERSIONS = "index/versions"

VERSION_CHUNKS = pa.schema(
    [
        ("chunk_id", pa.string()),
        ("doc_id", pa.string()),
        ("position", pa.int32()),
        ("segments", SEGMENTS),
        ("modality", pa.string()),
        ("crawls", pa.list_(pa.string())),
        ("url", pa.string()),
        ("title", pa.string()),
        ("language", pa.string()),
        ("source", pa.string()),
        ("embedding_digest", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRecord:
    """What a version of the index is."""

    version: str
    previous: str | None
    """The version that was live when this one first went live; None if none was, and until it went live."""
    has_been_live: bool
    sequence: int
    """Counts the versions of a home in the order in which they were built."""
    checkpoint: str
    """Data version of the checkpoint whose embeddings it holds; queries are embedded with it and no other."""
    checkpoint_folder: str
    """From the home's root."""
    checkpoint_examples: int
    dim: int
    index_type: str
    metric: str
    precision: str
    crawls: Mapping[str, str]
    """Data version of each crawl partition's embeddings."""
    num_chunks: int
    recall_at_10: float
    """Of the canary queries against exact search."""
    built_at: str
    """UTC, ISO 8601."""


def versions_folder(home: Home) -> Path:
    return home.root / VERSIONS


def version_folder(home: Home, version: str) -> Path:
    return versions_folder(home) / version


def record_of(home: Home, version: str) -> VersionRecord | None:
    """The record of a version, or None if it is not whole, not this home's, or of a nyx that kept other records."""
    home.index_mirror.bring(f"{VERSIONS}/{version}")
    file = version_folder(home, version) / RECORD
    try:
        return VersionRecord(**json.loads(file.read_text()))
    except (FileNotFoundError, TypeError):
        return None


def records(home: Home) -> list[VersionRecord]:
    """Every whole version of the home, the one built last first."""
    home.index_mirror.bring(VERSIONS)
    names = [file.parent.name for file in versions_folder(home).glob(f"*/{RECORD}")]
    found = [record for name in names if not is_draft(name) and (record := record_of(home, name))]
    return sorted(found, key=lambda record: -record.sequence)


def is_draft(folder_name: str) -> bool:
    return folder_name.startswith(".")


def write_version(home: Home, record: VersionRecord, chunks: pa.Table) -> None:
    """Put the version's folder in place, whole: from now on the version may go live."""
    draft = versions_folder(home) / f".{record.version}.{uuid.uuid4().hex}"
    draft.mkdir(parents=True)
    try:
        _write_chunks(draft, chunks)
        (draft / RECORD).write_text(json.dumps(asdict(record), indent=1))
        place = version_folder(home, record.version)
        forget_version(home, record.version)
        draft.rename(place)
        home.index_mirror.send(f"{VERSIONS}/{record.version}")
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_chunks(folder: Path, chunks: pa.Table) -> None:
    pq.write_table(chunks, folder / CHUNKS, compression="zstd")
    rows = chunks.select(["chunk_id", "segments"]).to_pylist()
    texts = [Document.from_rows(row["segments"]).text for row in rows]
    Bm25Corpus([row["chunk_id"] for row in rows], texts).save(folder / BM25)


def write_record(home: Home, record: VersionRecord) -> None:
    """Change the record of a version that is in place."""
    place = version_folder(home, record.version) / RECORD
    beside = place.with_name(f".{RECORD}.{uuid.uuid4().hex}")
    beside.write_text(json.dumps(asdict(record), indent=1))
    beside.replace(place)
    home.index_mirror.send(f"{VERSIONS}/{record.version}")


def forget_version(home: Home, version: str) -> None:
    """Remove a version's folder; in one step it is no longer a version."""
    place = version_folder(home, version)
    if place.exists():
        going = place.with_name(f".{version}.{uuid.uuid4().hex}")
        place.rename(going)
        shutil.rmtree(going)
    home.index_mirror.remove(f"{VERSIONS}/{version}")


def remove_drafts(home: Home) -> None:
    """Remove what a build that was killed left beside the versions."""
    for folder in versions_folder(home).glob(".*"):
        shutil.rmtree(folder)


def chunks_of_version(home: Home, version: str, chunk_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Rows of a version's chunks by id."""
    if not chunk_ids:
        return {}
    file = version_folder(home, version) / CHUNKS
    found = pq.read_table(file, filters=[("chunk_id", "in", list(chunk_ids))])
    return {row["chunk_id"]: row for row in found.to_pylist()}


def chunk_table(home: Home, version: str, columns: Sequence[str] | None = None) -> pa.Table:
    """All chunks of a version, in order of id."""
    return pq.read_table(version_folder(home, version) / CHUNKS, columns=list(columns) if columns else None)


def indexed_chunks(table: pa.Table) -> list[IndexedChunk]:
    """Rows of VERSION_CHUNKS as the vector index keeps them."""
    columns = ["chunk_id", "doc_id", "crawls", "modality", "language", "source"]
    return [IndexedChunk(**row | {"crawls": tuple(row["crawls"])}) for row in table.select(columns).to_pylist()]


def ids_that_pass(home: Home, version: str, where: Mapping[str, str]) -> set[str]:
    """Chunks of a version that a filter of the vector index lets through."""
    columns = ["chunk_id", "doc_id", "crawls", "modality", "language", "source"]
    return {chunk.chunk_id for chunk in indexed_chunks(chunk_table(home, version, columns)) if passes(chunk, where)}


def embedding_digests(embedding_CD: np.ndarray) -> list[str]:
    """A digest of each row, equal exactly for equal numbers."""
    return [hashlib.blake2b(row.tobytes(), digest_size=8).hexdigest() for row in np.ascontiguousarray(embedding_CD)]


def live_record(home: Home, index: VectorIndex) -> VersionRecord:
    """The version that searches are answered from. Raises IndexUnavailable if there is none of this home."""
    version = index.resolve(LIVE)
    if version is None:
        raise IndexUnavailable(f"{home.root} has no index to search yet: make one with `nyx run`")
    record = record_of(home, version)
    if record is None:
        raise IndexUnavailable(
            f"version {version} is live but not of {home.root}, or of an older nyx; replace it with `nyx run`"
        )
    return record


def make_live(home: Home, index: VectorIndex, record: VersionRecord) -> None:
    """Answer searches from a whole version.

    Raises IndexUnavailable, and leaves the live version as it is, if the version or its checkpoint is not whole.
    """
    count = index.count(record.version)
    if count != record.num_chunks:
        raise IndexUnavailable(
            f"index version {record.version} holds {count:,} chunks, {record.num_chunks:,} were built; rebuild final_index"
        )
    folder = home.artifacts.brought(record.checkpoint_folder)
    if not (folder / MANIFEST).is_file():
        raise IndexUnavailable(
            f"index version {record.version} needs the checkpoint in {folder}, which is not there; restore it or choose "
            "another version (`nyx index list`)"
        )
    before = index.resolve(LIVE)
    if not record.has_been_live:
        write_record(home, replace(record, previous=before, has_been_live=True))
    index.set_alias(LIVE, record.version)


def _promote(home: Home, record: VersionRecord) -> None:
    """The pointer keeps saying what the gate was asked about, so that it is not asked the same again."""
    promoted = home.artifacts.require(PROMOTED).commit
    if promoted.data_version != record.checkpoint:
        commit = Commit(
            data_version=record.checkpoint,
            num_rows=record.checkpoint_examples,
            provenance=promoted.provenance,
            written_at=utc_now(),
        )
        home.artifacts.publish(PROMOTED, home.artifacts.brought(record.checkpoint_folder), commit)


def version_rows(home: Home, index: VectorIndex) -> list[dict[str, Any]]:
    """Rows of `final_index`: every whole version, the one built last first."""
    live = index.resolve(LIVE)
    held = set(index.versions())
    return [
        {
            "version": record.version,
            "is_live": record.version == live,
            "checkpoint": record.checkpoint,
            "checkpoint_folder": record.checkpoint_folder,
            "dim": record.dim,
            "index_type": record.index_type,
            "metric": record.metric,
            "precision": record.precision,
            "num_chunks": record.num_chunks,
            "recall_at_10": record.recall_at_10,
            "crawls": sorted(record.crawls),
            "built_at": record.built_at,
        }
        for record in records(home)
        if record.version in held
    ]


def swap(home: Home, index: VectorIndex, version: str, *, log: Callable[[str], None]) -> list[dict[str, Any]]:
    """Rows of `final_index` after a version was made live, and its checkpoint the promoted one.

    Raises IndexUnavailable if it is none, or not whole.
    """
    record = record_of(home, version)
    if record is None or version not in index.versions():
        known = ", ".join(row["version"] for row in version_rows(home, index)) or "none yet"
        raise IndexUnavailable(f"{version!r} is no whole version of {home.root}; there are: {known}")
    with promotion(home, log=log):
        # the alias first, so that searches go over in one step; if what follows is cut off, the same swap mends it
        make_live(home, index, record)
        _promote(home, record)
    rows = version_rows(home, index)
    _write_table(home, rows)
    return rows


def rollback(home: Home, index: VectorIndex, *, log: Callable[[str], None]) -> list[dict[str, Any]]:
    """The same with the version that was live before the present one. Raises IndexUnavailable if none is kept."""
    live = live_record(home, index)
    if live.previous is None or record_of(home, live.previous) is None:
        raise IndexUnavailable(
            f"version {live.version} is live and no version before it is kept; `nyx index list` shows those that are, "
            "`nyx index swap VERSION` makes one of them live"
        )
    return swap(home, index, live.previous, log=log)


def refresh_table(home: Home, index: VectorIndex) -> None:
    """Have `final_index` say what the versions are now."""
    if home.tables.commit("final_index", None) is not None:
        _write_table(home, version_rows(home, index))


def _write_table(home: Home, rows: Sequence[Mapping[str, Any]]) -> None:
    """`final_index` as it is now, still made from what it was made from: a swap by hand is not undone by the next run."""
    commit = home.tables.commit("final_index", None)
    if commit is None:
        raise IncompleteArtifact("table final_index has not been made; materialize final_index")
    with home.tables.write("final_index", FINAL_INDEX, partition=None, provenance=commit.provenance) as table:
        table.append(rows)
