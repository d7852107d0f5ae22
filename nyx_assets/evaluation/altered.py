"""The control set: test questions whose pictures were altered, so that the gold chunk's own file no longer gives it away.

A question about a picture shows the very file that stands in its golden chunk. A retriever that only knows the file
again finds it; one that knows what the picture shows finds it altered as well.
"""

import hashlib
import io
import random
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from PIL import Image, ImageEnhance

from resources.images import ImageStore, PictureLimits
from training_kernels.documents import Document, Segment

KEPT_SIDE = (0.80, 0.92)
"""Share of each side that is left after the crop. Choice: the subject stays, while the perceptual hash that near copies
are found by differs in 30 bits and more of 256."""
BRIGHTNESS = (0.75, 1.25)
SATURATION = (0.5, 1.5)
JPEG_QUALITY = (45, 75)
"""Choice, these three: what sites and phones do to a picture that is shared again."""


def altered_queries(
    pairs: Iterable[Mapping[str, Any]], store: ImageStore, *, limits: PictureLimits, seed: int
) -> Iterator[dict[str, Any]]:
    """Rows of ALTERED_QUERIES: each pair whose question shows pictures, with altered copies in their place.

    The copies are put into the store; the same pair and seed give the same copies.
    """
    for pair in pairs:
        question = Document.from_rows(pair["question"])
        if not question.images:
            continue
        segments, alterations = [], []
        for position, segment in enumerate(question.segments):
            if segment.image is None:
                segments.append(segment)
                continue
            data, description = altered(
                store.open(segment.image), key=f"{seed}/{pair['qa_id']}/{position}", min_side=limits.min_side_pixels
            )
            segments.append(Segment(image=store.put(data, limits=limits).digest))
            alterations.append(description)
        yield {
            "qa_id": pair["qa_id"],
            "chunk_id": pair["chunk_id"],
            "question": Document(tuple(segments)).to_rows(),
            "alterations": alterations,
        }


def altered(picture: Image.Image, *, key: str, min_side: int) -> tuple[bytes, str]:
    """A JPEG of the picture cropped, in other colours and compressed again, and what was done, all drawn from the key.

    No side becomes shorter than min_side pixels.
    """
    drawn = random.Random(hashlib.sha256(key.encode()).digest())
    width, height = (max(round(side * drawn.uniform(*KEPT_SIDE)), min(side, min_side)) for side in picture.size)
    left, top = drawn.randint(0, picture.width - width), drawn.randint(0, picture.height - height)
    brightness, saturation = drawn.uniform(*BRIGHTNESS), drawn.uniform(*SATURATION)
    quality = drawn.randint(*JPEG_QUALITY)
    copy = picture.crop((left, top, left + width, top + height))
    copy = ImageEnhance.Color(ImageEnhance.Brightness(copy).enhance(brightness)).enhance(saturation)
    file = io.BytesIO()
    copy.save(file, "JPEG", quality=quality)
    return file.getvalue(), (
        f"cropped to {width} x {height} at {left}, {top}; brightness {brightness:.2f}, saturation {saturation:.2f}; "
        f"JPEG quality {quality}"
    )
