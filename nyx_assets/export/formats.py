"""Rows of a data set in the formats that other trainers read: MMEB's and ms-swift's, as JSON lines with pictures beside."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from nyx_assets.export.nyxqa import NyxQA, Pair
from training_kernels.documents import Document

PlacePicture = Callable[[str], str]
"""Path of a picture's copy in the exported folder, by its digest."""

MARKS = re.compile(r"<(image|video|audio|\|image_\w+\|)>")
"""What the formats read as the place of a picture: in a web page's own text it must not stand."""


def write_rows(file: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Writes JSON lines; returns their number."""
    num_rows = 0
    with file.open("w", encoding="utf-8") as lines:
        for row in rows:
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
            num_rows += 1
    return num_rows


def mmeb_row(pair: Pair, data: NyxQA, place: PlacePicture) -> dict[str, str]:
    """A row of MMEB's training sets, every field a text, as mmE5 and Nyx publish theirs: lists are written as JSON.

    A numbered mark stands where each picture belongs. `neg_text` is a list of texts, `neg_image_path` one list of paths
    for each of them.
    """
    query, query_paths = _marked(pair.question, place, _numbered)
    positive, positive_paths = _marked(data.chunk_by_id[pair.chunk_id].document, place, _numbered)
    negatives = [_marked(data.chunk_by_id[chunk_id].document, place, _numbered) for chunk_id, _ in pair.negatives]
    return {
        "qry": query,
        "qry_image_path": json.dumps(query_paths),
        "pos_text": json.dumps([positive], ensure_ascii=False),
        "pos_image_path": json.dumps([positive_paths]),
        "neg_text": json.dumps([text for text, _ in negatives], ensure_ascii=False),
        "neg_image_path": json.dumps([paths for _, paths in negatives]),
    }


def swift_row(pair: Pair, data: NyxQA, place: PlacePicture) -> dict[str, Any]:
    """A row for ms-swift's InfoNCE: messages with their images for anchor, positive and negatives.

    Source: ms-swift, docs, Best Practices, Embedding Training, section Dataset Format: as many paths as `<image>` marks,
    and in positive_images and negative_images one list for each document.
    """
    query, query_paths = _marked(pair.question, place, _unnumbered)
    positive, positive_paths = _marked(data.chunk_by_id[pair.chunk_id].document, place, _unnumbered)
    negatives = [_marked(data.chunk_by_id[chunk_id].document, place, _unnumbered) for chunk_id, _ in pair.negatives]
    return {
        "messages": _message(query),
        "images": query_paths,
        "positive_messages": [_message(positive)],
        "positive_images": [positive_paths],
        "negative_messages": [_message(text) for text, _ in negatives],
        "negative_images": [paths for _, paths in negatives],
    }


def marked_text(document: Document) -> str:
    """The document as one text with a numbered mark for each picture."""
    return _marked(document, lambda digest: digest, _numbered)[0]


def _message(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _marked(document: Document, place: PlacePicture, mark: Callable[[int], str]) -> tuple[str, list[str]]:
    """The document as one text with a mark for each picture, and the pictures' paths in order."""
    lines, paths = [], []
    for segment in document.segments:
        if segment.image is None:
            lines.append(MARKS.sub(r"< \1>", segment.text or ""))
        else:
            paths.append(place(segment.image))
            lines.append(mark(len(paths)))
    return "\n".join(lines), paths


def _numbered(number: int) -> str:
    return f"<|image_{number}|>"


def _unnumbered(number: int) -> str:
    return "<image>"
