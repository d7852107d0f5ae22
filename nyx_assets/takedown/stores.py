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

import pyarrow as pa
import pyarrow.compute as pc

from nyx_assets.index_versions import chunk_table, records, replace_chunks, write_record
from resources.home import Home
from resources.vector_index import VectorIndex

SUITES = "suites"
SUITE_ROWS = ("corpus.jsonl", "queries.jsonl")
QRELS = "qrels.tsv"
PREVIEW = "md_str"
"""Field of a Markdown entry in Dagster's events: previews show rows of tables and the faults of checks quote them."""
REMOVED_PREVIEW = "removed by a takedown"


def remove_from_index(home: Home, index: VectorIndex, chunk_ids: Collection[str]) -> dict[str, int]:
    """Take chunks out of every version, old and half-built ones as well; how many each version held.

    The vectors go first, so that no search finds a chunk that cannot be shown.
    """
    ids = sorted(chunk_ids)
    record_by_version = {record.version: record for record in records(home)}
    held = {}
    for version in index.versions():
        held[version] = len(index.fetch(version, ids))
        if held[version]:
            index.delete(version, ids)
        index.erase_deleted(version)
    for version, record in record_by_version.items():
        table = chunk_table(home, version)
        gone = pc.is_in(table["chunk_id"], pa.array(ids, pa.string()))
        if num_gone := pc.sum(gone).as_py():
            kept = table.filter(pc.invert(gone))
            replace_chunks(home, version, kept)
            write_record(home, replace(record, num_chunks=kept.num_rows))
            held[version] = max(held.get(version, 0), num_gone)
    return {version: number for version, number in held.items() if number}


def remove_from_suites(home: Home, ids: Collection[str], images: Collection[str]) -> int:
    """Take rows and pictures out of the suite folders of the home; how many there were."""
    removed = 0
    folder = home.root / SUITES
    for suite in sorted(folder.iterdir()) if folder.is_dir() else ():
        for name in SUITE_ROWS:
            removed += _filter_lines(suite / name, lambda line: _row_id(line) in ids)
        removed += _filter_lines(suite / QRELS, lambda line: not set(line.rstrip("\n").split("\t")[:2]).isdisjoint(ids))
        for file in sorted(suite.rglob("*")) if suite.is_dir() else ():
            if file.is_file() and file.name not in (*SUITE_ROWS, QRELS) and _digest(file) in images:
                file.unlink()
                removed += 1
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
    return sorted(found)
