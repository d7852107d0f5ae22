"""Taking pages out of what is no table: index versions, suites, and what Dagster's records show of tables."""

import hashlib
import json
import os
import shutil
import sqlite3
import uuid
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nyx_assets.index_versions import (
    VersionRecord,
    chunk_table,
    forget_version,
    indexed_chunks,
    record_of,
    records,
    write_record,
    write_version,
)
from resources.home import Home
from resources.stores import files_below, open_store
from resources.vector_index import LIVE, VectorIndex

ROWS_PER_CALL = 5_000
SUITES = "suites"
SUITE_ROWS = ("corpus.jsonl", "queries.jsonl")
QRELS = "qrels.tsv"
PREVIEW = "md_str"
"""Field of a Markdown entry in Dagster's events: previews show rows of tables and the faults of checks quote them."""
REMOVED_PREVIEW = "removed by a takedown"


def remove_from_index(home: Home, index: VectorIndex, chunk_ids: Collection[str]) -> dict[str, int]:
    """Take chunks out of every version, old and half-built ones as well; how many each version held.

    A version that held some is written anew without them, under another name, takes the old one's place and is followed
    by its drop: an index may keep what is deleted from it on disk for as long as it likes.
    """
    ids = pa.array(sorted(chunk_ids), pa.string())
    held = {}
    for record in records(home):
        chunks = chunk_table(home, record.version)
        gone = pc.is_in(chunks["chunk_id"], ids)
        if num_gone := pc.sum(gone).as_py() or 0:
            held[record.version] = num_gone
            _replace_version(home, index, record, chunks.filter(pc.invert(gone)))
    whole = {record.version for record in records(home)}
    for version in sorted(set(index.versions()) - whole):
        if index.resolve(LIVE) != version:
            index.drop(version)
        elif num_gone := len(index.fetch(version, ids.to_pylist())):  # of an older nyx, until the next run replaces it
            held[version] = num_gone
            index.delete(version, ids.to_pylist())
    return held


def _replace_version(home: Home, index: VectorIndex, record: VersionRecord, kept: pa.Table) -> None:
    """Each step finds what an earlier run has done of it."""
    old, new = record.version, f"{record.version}_less"
    if record_of(home, new) is None:
        if new in index.versions():
            index.drop(new)
        index.create(new, dim=record.dim, index_type=record.index_type, metric=record.metric)
        for start in range(0, kept.num_rows, ROWS_PER_CALL):
            chunks = indexed_chunks(kept.slice(start, ROWS_PER_CALL))
            embedding_by_id = index.fetch(old, [chunk.chunk_id for chunk in chunks])
            index.add(new, chunks, np.stack([embedding_by_id[chunk.chunk_id] for chunk in chunks]))
        write_version(home, replace(record, version=new, num_chunks=kept.num_rows), kept)
    for other in records(home):
        if other.previous == old:
            write_record(home, replace(other, previous=new))
    if index.resolve(LIVE) == old:
        index.set_alias(LIVE, new)
    forget_version(home, old)
    index.drop(old)


def remove_from_suites(home: Home, ids: Collection[str], images: Collection[str]) -> int:
    """Take rows and pictures out of the suite folders of the home; how many there were."""
    removed = 0
    home.mirror.bring(SUITES)
    folder = home.root / SUITES
    for suite in sorted(folder.iterdir()) if folder.is_dir() else ():
        for name in SUITE_ROWS:
            removed += _filter_lines(suite / name, lambda line: _row_id(line) in ids)
        removed += _filter_lines(suite / QRELS, lambda line: not set(line.rstrip("\n").split("\t")[:2]).isdisjoint(ids))
        for file in sorted(suite.rglob("*")) if suite.is_dir() else ():
            if file.is_file() and file.name not in (*SUITE_ROWS, QRELS) and _digest(file) in images:
                home.mirror.remove_file(file.relative_to(home.root).as_posix())
                removed += 1
    home.mirror.send(SUITES)
    return removed


def _row_id(line: str) -> str:
    try:
        return str(json.loads(line).get("id"))
    except (ValueError, AttributeError):
        return ""


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _filter_lines(file: Path, is_gone: Any) -> int:
    if not file.is_file():
        return 0
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not is_gone(line)]
    if len(kept) < len(lines):
        beside = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
        beside.write_text("".join(kept), encoding="utf-8")
        beside.replace(file)
    return len(lines) - len(kept)


def remove_previews(home: Home) -> int:
    """Blank every preview in Dagster's records; how many entries had one. They come again as tables are made again."""
    return sum(_blank_previews(path) for path in sorted((home.root / "dagster").rglob("*.db")))


def _blank_previews(path: Path) -> int:
    changed = 0
    connection = sqlite3.connect(path, timeout=30)
    try:
        with connection:
            for table, column in _text_columns(connection):
                found = connection.execute(
                    f'SELECT rowid, "{column}" FROM "{table}" WHERE "{column}" LIKE ?', [f'%"{PREVIEW}"%']
                ).fetchall()
                for rowid, text in found:
                    blanked = _without_previews(text)
                    if blanked != text:
                        connection.execute(f'UPDATE "{table}" SET "{column}" = ? WHERE rowid = ?', [blanked, rowid])
                        changed += 1
        if changed:
            connection.execute("VACUUM")  # SQLite leaves what was overwritten in free pages
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()
    return changed


def _text_columns(connection: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        for _, column, kind, *_ in connection.execute(f'PRAGMA table_info("{table}")').fetchall():
            if kind.upper().startswith(("TEXT", "VARCHAR", "CHAR")):
                yield table, column


def _without_previews(text: str) -> str:
    try:
        content = json.loads(text)
    except ValueError:
        return text
    return json.dumps(_blanked(content))


def _blanked(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: REMOVED_PREVIEW if name == PREVIEW else _blanked(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_blanked(one) for one in value]
    return value


def remove_training_examples(home: Home) -> None:
    """What a training run that was killed had written out for itself; the next one writes it again."""
    shutil.rmtree(home.root / "training_examples", ignore_errors=True)


def files_that_still_name(home: Home, texts: Collection[str]) -> list[str]:
    """Files of the home, from its root, with one of the texts in their name or content; of checkpoints and backbones only
    the names are looked at, and the list of takedowns not at all."""
    wanted = [text.encode() for text in texts]
    found = []
    for folder, folders, names in os.walk(home.root):
        place = Path(folder).relative_to(home.root)
        if place.parts[:1] == ("takedowns",):
            folders.clear()
            continue
        is_weights = place.parts[:1] in (("checkpoints",), ("backbones",), ("lineage",))
        for name in names:
            content = b"" if is_weights else (Path(folder) / name).read_bytes()
            if any(text in content or text.decode() in name for text in wanted):
                found.append(str(place / name))
    return sorted([*found, *_stored_files_named(home, texts)])


def _stored_files_named(home: Home, texts: Collection[str]) -> list[str]:
    """Files of the store that hosts share with one of the texts in their name: pictures are called by their digest."""
    if not home.is_shared:
        return []
    fs, base = open_store(home.store)
    paths = (path.removeprefix(base).strip("/") for path in files_below(fs, base))
    return [f"{home.store}/{path}" for path in paths if any(text in path for text in texts)]
