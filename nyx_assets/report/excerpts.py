"""A document in few words and small pictures, as a page shows it."""

import base64
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from nyx_assets.legible import legible
from training_kernels.errors import DataError
from training_kernels.images import PictureSource

PICTURE_PIXELS = 220
MAX_PICTURES = 2
MAX_TEXT_CHARACTERS = 280
JPEG_QUALITY = 72
"""Choice: a picture of a page costs about 10 kB, so that a report with all its examples stays below 2 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A run of text or a picture; what it is not is empty."""

    text: str = ""
    data_uri: str = ""
    width: int = 0
    height: int = 0


def excerpt(
    segments: Iterable[Mapping[str, Any]], pictures: PictureSource, *, most: int = MAX_TEXT_CHARACTERS
) -> list[Piece]:
    """The first words and pictures of a document, in their order, and how many pictures more there are."""
    pieces: list[Piece] = []
    left, num_pictures = most, 0
    for segment in segments:
        if segment["image"] is not None:
            num_pictures += 1
            if num_pictures <= MAX_PICTURES:
                pieces.append(_shown(segment["image"], pictures))
        elif left > 0:
            text = plain(segment["text"] or "", left)
            left -= len(text)
            pieces.append(Piece(text=text))
    if num_pictures > MAX_PICTURES:
        pieces.append(Piece(text=f"[{num_pictures - MAX_PICTURES} more]"))
    return pieces


def plain(text: str, most: int) -> str:
    """Text on one line, without characters that no page may hold, cut where it is longer."""
    line = " ".join(legible(text).split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def small_picture(picture: Image.Image) -> Piece:
    """A copy that fits PICTURE_PIXELS a side, as a JPEG in the page itself; transparent parts are white."""
    small = picture.convert("RGBA")
    small.thumbnail((PICTURE_PIXELS, PICTURE_PIXELS))
    flat = Image.new("RGB", small.size, "white")
    flat.paste(small, mask=small.getchannel("A"))
    buffer = io.BytesIO()
    flat.save(buffer, "JPEG", quality=JPEG_QUALITY)
    data = base64.b64encode(buffer.getvalue()).decode()
    return Piece(data_uri=f"data:image/jpeg;base64,{data}", width=small.width, height=small.height)


def _shown(digest: str, pictures: PictureSource) -> Piece:
    try:
        return small_picture(pictures.open(digest))
    except DataError:  # taken down since, or a home that was copied without its pictures
        return Piece(text="[picture not in the store any more]")
