"""Where kernels get a picture from: a content-addressed folder, read-only here.

A picture lies under `<root>/<first two digits>/<sha256>.<suffix>`; who writes it is resources/images.py.
"""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import fsspec
from fsspec.implementations.local import LocalFileSystem
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

DECODING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    RuntimeError,
    EOFError,
    LookupError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
)
"""What Pillow's parsers raise on damaged files: OSError for most, AVIF's RuntimeError, BMP's and TIFF's ValueError, PNG's
SyntaxError, and what an unpacking of too few bytes raises in the older ones."""

FIRST_LYING_ORIENTATION = 5
"""EXIF orientations from 5 to 8 turn a picture by a right angle. Source: EXIF 2.32, tag 0x0112."""


class PictureSource(Protocol):
    """Pictures by the SHA-256 of their file."""

    def open(self, digest: str) -> Image.Image:
        """The decoded picture in RGB. Raises DataError if the store lacks it or its file is no whole picture."""
        ...


@runtime_checkable
class SizedPictureSource(PictureSource, Protocol):
    """A source that tells a picture's size without decoding it."""

    def size(self, digest: str) -> tuple[int, int]:
        """Height and width of what `open` returns, in pixels. Raises DataError likewise."""
        ...


@runtime_checkable
class NamingPictureSource(PictureSource, Protocol):
    """A source that knows whose pictures it holds."""

    def holders(self, digest: str) -> str:
        """The documents that hold the picture, in words, e.g. "document 'd7' and 2 others"."""
        ...


class PictureFolder:
    """A content-addressed folder of pictures, on any fsspec file system."""

    advice = "put its file there, or leave it out of the documents that hold it"
    """What to do about a picture that is not there."""

    def __init__(self, root: str) -> None:
        self.root = str(root)
        self.fs, self.base = fsspec.core.url_to_fs(self.root, use_listings_cache=False)

    @property
    def is_local(self) -> bool:
        """Whether the folder lies on this machine, so that a look at a picture costs no request."""
        return isinstance(self.fs, LocalFileSystem)

    def path(self, digest: str) -> str:
        """The file of a picture. Raises DataError if the store lacks it."""
        for suffix in SUFFIX_BY_FORMAT.values():
            path = self.path_of(digest, suffix)
            if self.fs.exists(path):
                return path
        raise DataError(
            f"picture {digest} is not in {self.root}, where it would be {digest[:2]}/{digest}.SUFFIX (one of "
            f"{', '.join(SUFFIX_BY_FORMAT.values())}); {self.advice}"
        )

    def path_of(self, digest: str, suffix: str) -> str:
        """Where a picture of this digest and suffix lies, or would lie."""
        return f"{self.base}/{digest[:2]}/{digest}.{suffix}"

    def open(self, digest: str) -> Image.Image:
        with self._opened(digest) as picture:
            # a camera held upright stores the picture lying and says so; a model must see it as a person does
            return ImageOps.exif_transpose(picture).convert("RGB")

    def size(self, digest: str) -> tuple[int, int]:
        with self._opened(digest) as picture:
            width, height = picture.size
            is_lying = picture.getexif().get(ExifTags.Base.Orientation, 1) >= FIRST_LYING_ORIENTATION
            return (width, height) if is_lying else (height, width)

    @contextmanager
    def _opened(self, digest: str) -> Iterator[Image.Image]:
        """The picture with only its header read. Raises DataError, with the file, for what Pillow cannot read in the block."""
        path = self.path(digest)
        with self.fs.open(path, "rb") as file:
            try:
                with Image.open(file) as picture:
                    yield picture
            except (*DECODING_ERRORS, Image.DecompressionBombError) as error:
                raise DataError(
                    f"picture {digest} cannot be read from {path}: {type(error).__name__}: {error}; put the whole file there, "
                    "whose SHA-256 is its name, or leave it out of the documents that hold it"
                ) from error
