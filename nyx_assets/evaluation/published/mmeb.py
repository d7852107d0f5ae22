"""MMEB: each row brings its own candidates, and the first of them is the gold.

The published evaluation takes the arg-max, so that a model which gives every candidate one score is always right. Here
equal scores count against the gold, as in every suite (evaluation/metrics.py), and its place in the row is forgotten.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from nyx_assets.evaluation.published.seam import Pool, TakePicture, field, json_lines, suite_from
from nyx_assets.evaluation.suites import Suite, SuiteQuery
from training_kernels.documents import Document, Segment
from training_kernels.errors import DataError

PLACEHOLDER = re.compile(r"<\|image_\d+\|>\s?")


class MMEB:
    """One subset of MMEB-eval: Parquet or JSON lines of {qry_text, qry_img_path, tgt_text[], tgt_img_path[]}."""

    name = "mmeb"
    files = "SUBSET/*.parquet or SUBSET.jsonl, asked for as mmeb:SUBSET, and the pictures by their paths"

    def read(self, folder: Path, part: str, take_picture: TakePicture) -> Suite:
        if not part:
            raise DataError("MMEB is 36 subsets that are scored one by one; ask for one as mmeb:SUBSET")
        pool, queries = Pool(), []
        for place, (where, row) in enumerate(_rows(folder, part)):
            texts, paths = field(row, "tgt_text", list, where), field(row, "tgt_img_path", list, where)
            if not texts or len(texts) != len(paths):
                raise DataError(f"{where}: tgt_text and tgt_img_path pair up, got {len(texts)} and {len(paths)}")
            ids = [
                pool.add(_document(folder, text, path, take_picture, where))
                for text, path in zip(texts, paths, strict=True)
            ]
            query = _document(folder, row.get("qry_text"), row.get("qry_img_path"), take_picture, where)
            queries.append(SuiteQuery(f"{part}-{place}", query, {ids[0]: 1}, among=frozenset(ids)))
        return suite_from(f"mmeb_{part}", pool, queries, ())


def _rows(folder: Path, part: str) -> Iterator[tuple[str, Any]]:
    files: Sequence[Path] = sorted((folder / part).glob("*.parquet"))
    if not files and not (folder / f"{part}.jsonl").is_file():
        raise DataError(f"{folder} holds neither {part}/*.parquet nor {part}.jsonl; put the published files there")
    for file in files:
        yield from ((f"{file}, row {place}", row) for place, row in enumerate(pq.read_table(file).to_pylist()))
    if not files:
        path = folder / f"{part}.jsonl"
        yield from ((f"{path}, line {number}", row) for number, row in json_lines(path))


def _document(folder: Path, text: Any, path: Any, take_picture: TakePicture, where: str) -> Document:
    """Text and picture with the picture where its placeholder stands, else before the text."""
    before, after = "", text or ""
    if match := PLACEHOLDER.search(after):
        before, after = after[: match.start()], after[match.end() :]
    picture = [Segment(image=take_picture(folder / path))] if path else []
    parts = [*([before] if before.strip() else []), *picture, *([after.strip()] if after.strip() else [])]
    if not parts:
        raise DataError(f"{where}: a query or candidate has neither text nor picture")
    return Document.of(*parts)
