"""Where kernels get a picture from: a content-addressed folder, read-only here.

A picture lies under `<root>/<first two digits>/<sha256>.<suffix>`; who writes it is resources/images.py.
"""

from typing import Protocol, runtime_checkable

import fsspec
from PIL import ExifTags, Image, ImageOps

from training_kernels.errors import DataError

SUFFIX_BY_FORMAT = {
    "JPEG": "jpg",
    "PNG": "png",
    "WEBP": "webp",
    "GIF": "gif",
    "BMP": "bmp",
    "TIFF": "tiff",
    "AVIF": "avif",
}

FIRST_LYING_ORIENTATION = 5
"""EXIF orientations from 5 to 8 turn a picture by a right angle. Source: EXIF 2.32, tag 0x0112."""


class PictureSource(Protocol):
    """Pictures by the SHA-256 of their file."""

    def open(self, digest: str) -> Image.Image:
        """The decoded picture in RGB. Raises DataError if the store lacks it."""
        ...


@runtime_checkable
class SizedPictureSource(PictureSource, Protocol):
    """A source that tells a picture's size without decoding it."""

    def size(self, digest: str) -> tuple[int, int]:
        """Height and width of what `open` returns, in pixels. Raises DataError if the store lacks it."""
        ...


class PictureFolder:
    """A content-addressed folder of pictures, on any fsspec file system."""

    def __init__(self, root: str) -> None:
        self.root = str(root)
        self.fs, self.base = fsspec.core.url_to_fs(self.root, use_listings_cache=False)

    def path(self, digest: str) -> str:
        """The file of a picture. Raises DataError if the store lacks it."""
        for suffix in SUFFIX_BY_FORMAT.values():
            path = self.path_of(digest, suffix)
            if self.fs.exists(path):
                return path
        raise DataError(
            f"picture {digest} is not in {self.root}; materialize crawl_documents again for the crawl it came with"
        )

    def path_of(self, digest: str, suffix: str) -> str:
        """Where a picture of this digest and suffix lies, or would lie."""
        return f"{self.base}/{digest[:2]}/{digest}.{suffix}"

    def open(self, digest: str) -> Image.Image:
        with self.fs.open(self.path(digest), "rb") as file, Image.open(file) as picture:
            # a camera held upright stores the picture lying and says so; a model must see it as a person does
            return ImageOps.exif_transpose(picture).convert("RGB")

    def size(self, digest: str) -> tuple[int, int]:
        with self.fs.open(self.path(digest), "rb") as file, Image.open(file) as picture:
            width, height = picture.size
            is_lying = picture.getexif().get(ExifTags.Base.Orientation, 1) >= FIRST_LYING_ORIENTATION
            return (width, height) if is_lying else (height, width)
