"""Texts in which a mark stands where a picture belongs, as MMEB writes them, and documents."""

import re
from collections.abc import Sequence
from typing import Literal

MARK = re.compile(r"<\|image_(?:\d+|pad)\|>|<image>")
"""VLM2Vec's numbered mark, Qwen's, and that of LLaVA."""

Part = tuple[Literal["text", "image"], str]


def interleaved(text: str, paths: Sequence[str]) -> tuple[Part, ...]:
    """The parts of a document: a mark becomes the next picture, pictures without a mark come first.

    Choice: a mark without a picture is dropped, since some published queries have one that is orphaned.
    """
    pieces = MARK.split(text)
    num_marks = len(pieces) - 1
    unmarked = max(0, len(paths) - num_marks)
    waiting = list(paths[unmarked:])
    parts: list[Part] = [("image", path) for path in paths[:unmarked]]
    for place, piece in enumerate(pieces):
        if place > 0 and waiting:
            parts.append(("image", waiting.pop(0)))
        if piece.strip():
            parts.append(("text", piece.strip()))
    return tuple(parts)
