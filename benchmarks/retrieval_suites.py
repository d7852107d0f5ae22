"""Make suite folders of the real retrieval queries that lie beside a checkout.

    python -m benchmarks.retrieval_suites SHARED_DATA OUT

SHARED_DATA is the folder with retrieval/ and interleaved/; OUT gets one suite folder for each candidate pool.
"""

import argparse
import gzip
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nyx_assets.evaluation.suites import write_suite

POOL_FILES = {"text": "pool_text.jsonl.gz", "image": "pool_image.jsonl", "mixed": "pool_mixed.jsonl.gz"}


def make_suites(shared_data: Path, out: Path) -> list[Path]:
    """The suite folders, each complete: written beside, then put in place of one that was there."""
    queries = list(_read(shared_data / "retrieval" / "queries.jsonl"))
    return [_make_suite(shared_data, out / f"retrieval_{pool}", pool, queries) for pool in POOL_FILES]


def _make_suite(shared_data: Path, folder: Path, pool: str, every_query: Iterable[Mapping[str, Any]]) -> Path:
    fresh = folder.with_name(f"{folder.name}.making")
    if fresh.exists():
        shutil.rmtree(fresh)
    queries = [query for query in every_query if query["pool"] == pool]
    corpus = [
        {"id": row["id"], "segments": _segments(row)} for row in _read(shared_data / "retrieval" / POOL_FILES[pool])
    ]
    query_rows = [
        {"id": row["qid"], "segments": _segments(_of_query(row)), "exclude": row["exclude_ids"]} for row in queries
    ]
    write_suite(
        fresh,
        corpus=corpus,
        queries=query_rows,
        golds=((query["qid"], gold, 1) for query in queries for gold in query["gold_ids"]),
    )
    for path in sorted({part["path"] for row in corpus + query_rows for part in row["segments"] if "path" in part}):
        _place_picture(shared_data / "interleaved" / path, fresh / path)
    if folder.exists():
        shutil.rmtree(folder)
    fresh.rename(folder)
    return folder


def _of_query(row: Mapping[str, Any]) -> dict[str, str]:
    """The query's text and picture under the names that pools use, without what it lacks."""
    parts = {"text": row["query"]["text"], "path": row["query"]["image"]}
    return {name: value for name, value in parts.items() if value is not None}


def _segments(row: Mapping[str, Any]) -> list[dict[str, str]]:
    """Segments of a pool row: ready ones, or one text and one picture as far as it has them."""
    if "segments" in row:
        return [{name: part[name] for name in ("type", "text", "path") if name in part} for part in row["segments"]]
    text = [{"type": "text", "text": row["text"]}] if "text" in row else []
    return text + ([{"type": "image", "path": row["path"]}] if "path" in row else [])


def _place_picture(source: Path, place: Path) -> None:
    """A second name for the file, which costs no room; a copy where the file system cannot."""
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, place)
    except OSError:
        shutil.copyfile(source, place)


def _read(file: Path) -> Iterable[dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retrieval_suites", description=__doc__.splitlines()[0])
    parser.add_argument("shared_data", type=Path, help="folder with retrieval/ and interleaved/")
    parser.add_argument("out", type=Path, help="folder to put the suite folders in")
    arguments = parser.parse_args()
    for folder in make_suites(arguments.shared_data, arguments.out):
        print(folder)


if __name__ == "__main__":
    main()
