"""The picture store: verified pictures, each stored once under the SHA-256 of its file.

Nothing is believed about a picture but its bytes: its type is read from the content, its size in pixels is checked
before it is decoded, and it is decoded whole before it is stored.
"""

import hashlib
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from fsspec.implementations.local import LocalFileSystem
from PIL import Image, ImageFile, UnidentifiedImageError

from resources.stores import put_bytes
from training_kernels.errors import DataError
from training_kernels.images import DECODING_ERRORS, SUFFIX_BY_FORMAT, PictureFolder

NAME_OF_TEXT = (
    (re.compile(rb"<svg[\s>]", re.I), "an SVG drawing"),
    (re.compile(rb"<(!doctype html|html|head|body)[\s>]", re.I), "an HTML page"),
    (re.compile(rb"^\s*<\?xml", re.I), "an XML file"),
)
"""What a picture reference most often leads to when it is no picture, by a mark in its first bytes."""

SNIFFED_BYTES = 1024

FIRST_BYTES = re.compile(rb"\xff\xd8\xff|\x89PNG|GIF8[79]a|RIFF.{4}WEBP|II\*\0|MM\0\*|.{4}ftypavi[fs]", re.S)
"""A file that starts so was meant as a picture of a known format."""


class PictureRefused(DataError):
    """A picture that cannot be taken: `rule` for machines, the text of the exception for people."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(rule, reason)  # both, so that it pickles across workers
        self.rule = rule
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class PictureLimits(Protocol):
    """Which pictures are taken; the pipeline's picture recipe is one."""

    @property
    def max_bytes(self) -> int: ...

    @property
    def max_pixels(self) -> int:
        """Width times height above which a picture counts as a decompression bomb and is not decoded."""
        ...

    @property
    def min_side_pixels(self) -> int:
        """A picture with a shorter side is an icon."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    """A picture of the store; width and height in pixels."""

    digest: str
    format: str
    width: int
    height: int


class ImageStore(Protocol):
    """Pictures by the SHA-256 of their file."""

    def put(self, data: bytes, *, limits: PictureLimits) -> StoredImage:
        """The picture, verified and stored. Raises PictureRefused if it is damaged, too big, too small or no picture."""
        ...

    def exists(self, digest: str) -> bool:
        """True if the store holds the picture."""
        ...

    def path(self, digest: str) -> str:
        """The file of the picture. Raises DataError if the store lacks it."""
        ...

    def open(self, digest: str) -> Image.Image:
        """The decoded picture in RGB. Raises DataError if the store lacks it."""
        ...


class FolderImageStore(PictureFolder):
    """A content-addressed folder of pictures that can be added to, by any number of processes at once."""

    advice = "materialize crawl_documents again for the crawl it came with"

    def put(self, data: bytes, *, limits: PictureLimits) -> StoredImage:
        stored = verified(data, limits=limits)
        path = self.path_of(stored.digest, SUFFIX_BY_FORMAT[stored.format])
        if not self.fs.exists(path):  # whole or not at all, so that nobody ever finds half a picture under a digest
            put_bytes(self.fs, path, data)
        return stored

    def address(self, digest: str) -> str:
        """Where the picture is, for people: its path, or its URL. Raises DataError if the store lacks it."""
        path = self.path(digest)
        return path if self.fs.protocol == LocalFileSystem.protocol else self.fs.unstrip_protocol(path)

    def remove(self, digest: str) -> bool:
        """Whether the picture was there; it no longer is."""
        paths = [self.path_of(digest, suffix) for suffix in SUFFIX_BY_FORMAT.values()]
        held = [path for path in paths if self.fs.exists(path)]
        for path in held:
            self.fs.rm_file(path)
        return bool(held)

    def exists(self, digest: str) -> bool:
        return any(self.fs.exists(self.path_of(digest, suffix)) for suffix in SUFFIX_BY_FORMAT.values())


def verified(data: bytes, *, limits: PictureLimits) -> StoredImage:
    """What the picture is, after it was decoded whole. Raises PictureRefused.

    Choice: of an animation only the first frame is checked, since only that is ever shown to a model.
    """
    if len(data) > limits.max_bytes:
        raise PictureRefused("too_large", f"the file has {len(data):,} bytes, at most {limits.max_bytes:,} are taken")
    with _opened(data) as picture:
        width, height = picture.size
        # An MPO is the JPEG of a camera with a second picture (a preview, a depth map) behind the first.
        format_name = "JPEG" if picture.format == "MPO" else str(picture.format)
        if width * height > limits.max_pixels:
            raise PictureRefused(
                "decompression_bomb",
                f"decompression bomb: {len(data):,} bytes unfold to {width:,} x {height:,} = {width * height:,} pixels, "
                f"at most {limits.max_pixels:,} are decoded",
            )
        if min(width, height) < limits.min_side_pixels:
            raise PictureRefused(
                "icon",
                f"an icon of {width} x {height} pixels; a picture needs {limits.min_side_pixels} on its shorter side",
            )
        try:
            picture.convert("RGB")
        except DECODING_ERRORS as error:
            raise _damaged(format_name, error) from error
    with _opened(data) as picture:  # verify() wants a fresh file: it finds wrong check sums that decoding passes over
        try:
            picture.verify()
        except DECODING_ERRORS as error:
            raise _damaged(format_name, error) from error
    return StoredImage(digest=hashlib.sha256(data).hexdigest(), format=format_name, width=width, height=height)


def _damaged(format_name: str, error: BaseException) -> PictureRefused:
    return PictureRefused("damaged", f"a {format_name} file that cannot be decoded: {error or type(error).__name__}")


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """The picture with only its header read. Raises PictureRefused if there is no picture in the bytes."""
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise AssertionError("something set PIL.ImageFile.LOAD_TRUNCATED_IMAGES: a cut-off picture would pass as whole")
    with warnings.catch_warnings():
        # Pillow warns of odd metadata, and at its own pixel limit; ours is checked as soon as the header is read.
        warnings.simplefilter("ignore")
        try:
            picture = Image.open(io.BytesIO(data), formats=list(SUFFIX_BY_FORMAT))
        except UnidentifiedImageError as error:
            if FIRST_BYTES.match(data):
                raise PictureRefused("damaged", "a picture whose header cannot be read") from error
            raise PictureRefused("not_an_image", _what_it_is_instead(data)) from error
        except Image.DecompressionBombError as error:
            raise PictureRefused("decompression_bomb", f"decompression bomb: {error}") from error
        except DECODING_ERRORS as error:
            raise PictureRefused("damaged", f"a picture whose header cannot be read: {error}") from error
        with picture:
            yield picture


def _what_it_is_instead(data: bytes) -> str:
    allowed = ", ".join(SUFFIX_BY_FORMAT)
    if not data:
        return f"an empty file; allowed: {allowed}"
    head = data[:SNIFFED_BYTES]
    for mark, name in NAME_OF_TEXT:
        if mark.search(head):
            return f"{name}; allowed: {allowed}"
    is_text = b"\0" not in head and _is_utf8(head)
    return (
        f"{'a text file' if is_text else f'no known picture format (it starts with {head[:8]!r})'}; allowed: {allowed}"
    )


def _is_utf8(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= SNIFFED_BYTES - 3  # the head may end inside a character
    return True
