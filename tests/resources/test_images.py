"""The picture store believes nothing but bytes."""

import hashlib
import io
import pickle
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from resources.images import FolderImageStore, PictureRefused
from training_kernels.errors import DataError
from training_kernels.images import SUFFIX_BY_FORMAT


@dataclass(frozen=True)
class Limits:
    max_bytes: int = 100_000
    max_pixels: int = 40_000
    min_side_pixels: int = 16


@pytest.fixture
def store(tmp_path: Path) -> FolderImageStore:
    return FolderImageStore(str(tmp_path / "images"))


def encoded(format_name: str, size: tuple[int, int] = (61, 43), **options) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 80).convert("RGB").save(buffer, format_name, **options)
    return buffer.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises any number of pixels."""

    def block(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + block(b"IHDR", header) + block(b"IDAT", zlib.compress(b"")) + block(b"IEND", b"")


def refusal(store: FolderImageStore, data: bytes, limits: Limits | None = None) -> PictureRefused:
    with pytest.raises(PictureRefused) as caught:
        store.put(data, limits=limits or Limits())
    files = [path for path in Path(store.root).rglob("*") if path.is_file()]
    assert not files, "a refused picture left a file behind"
    return caught.value


@pytest.mark.parametrize("format_name", SUFFIX_BY_FORMAT)
def test_a_picture_of_every_format_lies_byte_for_byte_under_its_digest(store, format_name):
    data = encoded(format_name)
    stored = store.put(data, limits=Limits())
    assert (stored.digest, stored.format, stored.width, stored.height) == (
        hashlib.sha256(data).hexdigest(),
        format_name,
        61,
        43,
    )
    assert Path(store.path(stored.digest)).read_bytes() == data
    assert Path(store.path(stored.digest)).name == f"{stored.digest}.{SUFFIX_BY_FORMAT[format_name]}"
    assert store.exists(stored.digest)
    assert store.open(stored.digest).size == (61, 43)


def test_the_same_picture_is_stored_once_even_by_many_writers_at_once(store):
    data = encoded("PNG")
    with ThreadPoolExecutor(4) as pool:
        digests = {stored.digest for stored in pool.map(lambda _: store.put(data, limits=Limits()), range(16))}
    assert len(digests) == 1
    first = Path(store.path(min(digests))).stat()
    store.put(data, limits=Limits())
    assert Path(store.path(min(digests))).stat() == first
    assert [path.name for path in Path(store.root).rglob("*") if path.is_file()] == [f"{digests.pop()}.png"]


def test_a_write_that_fails_leaves_nothing_behind(store, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(store.fs, "mv", full)
    with pytest.raises(OSError, match="no space"):
        store.put(encoded("PNG"), limits=Limits())
    assert not [path for path in Path(store.root).rglob("*") if path.is_file()]


def test_a_picture_that_is_not_there_is_said_so(store):
    assert not store.exists("0" * 64)
    with pytest.raises(DataError, match="materialize crawl_documents again"):
        store.path("0" * 64)


def test_a_decompression_bomb_is_named_before_it_is_decoded(store):
    error = refusal(store, png_that_claims(201, 200))
    assert error.rule == "decompression_bomb"
    assert "201 x 200 = 40,200" in str(error)
    assert "at most 40,000" in str(error)
    assert refusal(store, png_that_claims(200, 200)).rule == "damaged"  # at the limit it is decoded, and found empty
    assert refusal(store, png_that_claims(60_000, 60_000)).rule == "decompression_bomb"  # above Pillow's own limit


def test_the_byte_limit_is_the_last_size_that_is_taken(store):
    data = encoded("PNG")
    assert refusal(store, data, Limits(max_bytes=len(data) - 1)).rule == "too_large"
    store.put(data, limits=Limits(max_bytes=len(data)))


def test_an_icon_is_a_picture_whose_shorter_side_is_too_short(store):
    assert refusal(store, encoded("PNG", (90, 15))).rule == "icon"
    assert refusal(store, encoded("PNG", (15, 90))).rule == "icon"
    store.put(encoded("PNG", (90, 16)), limits=Limits())


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_a_picture_cut_off_in_its_data_is_damaged(store, format_name):
    data = encoded(format_name)
    assert refusal(store, data[: len(data) * 2 // 3]).rule == "damaged"


def test_a_wrong_check_sum_behind_whole_pixels_is_damaged(store):
    data = bytearray(encoded("PNG"))
    data[-5] ^= 1  # in the check sum of the last block
    assert refusal(store, bytes(data)).rule == "damaged"


def test_a_picture_cut_off_in_its_header_is_damaged_rather_than_something_else(store):
    assert refusal(store, encoded("JPEG")[:9]).rule == "damaged"


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        (b"\n<!DOCTYPE html><title>404</title>", "an HTML page"),
        (b"<?xml version='1.0'?><Error/>", "an XML file"),
        ("nicht gefunden: ä".encode() * 90, "a text file"),
        (b"", "an empty file"),
        (b"\x00\x01\x02\x03" * 30, "no known picture format"),
        ("grün".encode("latin-1"), "no known picture format"),
    ],
)
def test_what_is_no_picture_is_refused_by_what_it_is(store, data, name):
    error = refusal(store, data)
    assert error.rule == "not_an_image"
    assert str(error).startswith(name)
    assert "allowed: JPEG" in str(error)


def test_of_an_animation_the_first_frame_is_what_is_seen(store):
    red, blue = Image.new("RGB", (40, 30), "red"), Image.new("RGB", (40, 30), "blue")
    buffer = io.BytesIO()
    red.save(buffer, "GIF", save_all=True, append_images=[blue, blue])
    stored = store.put(buffer.getvalue(), limits=Limits())
    assert store.open(stored.digest).getpixel((20, 15)) == (255, 0, 0)


def test_a_camera_file_of_two_pictures_is_a_jpeg(store):
    first = Image.effect_noise((61, 43), 80).convert("RGB")
    buffer = io.BytesIO()
    first.save(buffer, "MPO", save_all=True, append_images=[first])
    assert store.put(buffer.getvalue(), limits=Limits()).format == "JPEG"


def test_a_refusal_crosses_process_borders_whole():
    copy = pickle.loads(pickle.dumps(PictureRefused("icon", "too small")))
    assert (copy.rule, copy.reason, str(copy)) == ("icon", "too small", "too small")
