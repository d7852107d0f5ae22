"""Texts in which a mark stands where a picture belongs, as MMEB writes them, and documents."""

import re
from collections.abc import Sequence
from typing import Literal

from training_kernels.errors import DataError

MARK = re.compile(r"<\|image_(?:\d+|pad)\|>|<image>")
"""VLM2Vec's numbered mark, Qwen's, and that of LLaVA."""

Part = tuple[Literal["text", "image"], str]


class MarksDisagree(DataError):
    """A text has marks, but not as many as there are pictures for it."""


def interleaved(text: str, paths: Sequence[str], *, field: str) -> tuple[Part, ...]:
    """The parts of a document: each mark becomes the next picture.

    Choice: pictures of a text without any mark come first, since it says nothing of their places. Any other difference
    is refused: which picture is missing or too many, or where it belongs, cannot be known.

    Args:
        field: where the text stands in its row.

    Raises MarksDisagree, with the field and both counts.
    """
    pieces = MARK.split(text)
    num_marks = len(pieces) - 1
    if num_marks not in (0, len(paths)):
        raise MarksDisagree(
            f"{field} marks {num_marks} places for pictures, but the row names {len(paths)} pictures for it; write one mark "
            "for each picture, or none to have all pictures stand before the text"
        )
    parts: list[Part] = [("image", path) for path in paths] if num_marks == 0 else []
    for place, piece in enumerate(pieces):
        if place > 0:
            parts.append(("image", paths[place - 1]))
        if piece.strip():
            parts.append(("text", piece.strip()))
    return tuple(parts)
