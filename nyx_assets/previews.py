"""A few rows as a person would want to see them: Markdown with the pictures in place, for the Dagster UI."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from PIL import Image

from training_kernels.images import PictureSource

THUMBNAIL_PIXELS = 96
MAX_TEXT_CHARACTERS = 240
MAX_PICTURES = 3


def markdown_preview(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], images: PictureSource) -> str:
    """A Markdown table of the given columns; `segments` and `question` show their pictures as thumbnails."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(row[column], images) for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any, images: PictureSource) -> str:
    if isinstance(value, list) and value and isinstance(value[0], Mapping) and "image" in value[0]:
        return _segments(value, images)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return _text(", ".join(str(item) for item in value))
    return _text("" if value is None else str(value))


def _segments(segments: list[Mapping[str, Any]], images: PictureSource) -> str:
    parts, num_pictures = [], 0
    for segment in segments:
        if segment["image"] is None:
            parts.append(_text(segment["text"]))
        elif num_pictures < MAX_PICTURES:
            parts.append(thumbnail(images.open(segment["image"])))
            num_pictures += 1
    return " ".join(parts)


def _text(text: str) -> str:
    short = text if len(text) <= MAX_TEXT_CHARACTERS else text[: MAX_TEXT_CHARACTERS - 1] + "…"
    return " ".join(short.split()).replace("|", "\\|").replace("<", "&lt;").replace("`", "'")


def thumbnail(picture: Image.Image) -> str:
    """A picture as a Markdown image that needs no server: 2 to 5 kB."""
    small = picture.convert("RGB")
    small.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=70)
    return f"![picture](data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()})"
