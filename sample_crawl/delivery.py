"""Writes a crawl: a Parquet file and a completeness marker for each partition, pictures beside them."""

import io
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from sample_crawl.canvas import COLOURS, Canvas
from sample_crawl.catalogue import CrawlPlan
from sample_crawl.dirt import DAMAGED_JPG, DAMAGED_PNG, ICON, Delivered, delivered
from sample_crawl.pages import Illustration
from sample_crawl.sceneries import Tower
from training_kernels.errors import ConfigError, IncompleteArtifact

OBELICS = pa.schema(
    [
        ("images", pa.list_(pa.string())),
        ("texts", pa.list_(pa.string())),
        ("metadata", pa.string()),
        ("general_metadata", pa.string()),
    ]
)

PLAN_FILE = "sample_crawl.json"
PAGES_PER_ROW_GROUP = 512
PAGES_PER_REPORT = 5_000
JPEG_QUALITY = 85

log = logging.getLogger(__name__)


def generate(folder: Path, *, num_pages: int = 72, num_partitions: int = 3, seed: int = 0) -> Path:
    """The crawl folder, complete: written beside and renamed, or left as it is if this very crawl is already there.

    Equal arguments give equal bytes. Memory is bounded by a row group; pictures by sample_crawl.pages.VARIANTS: in a
    crawl of more pages, pages repeat the pictures of others under names and facts of their own.

    Raises:
        ConfigError: the numbers are impossible, or the folder holds a crawl of other numbers.
        IncompleteArtifact: the folder holds something that is no sample crawl.
    """
    plan = CrawlPlan(num_pages=num_pages, num_partitions=num_partitions, seed=seed)
    folder = Path(folder)
    if _is_already_there(folder, plan):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.parent / f".{folder.name}.{os.getpid()}.partial"
    if beside.exists():
        shutil.rmtree(beside)
    try:
        _write_crawl(beside, plan)
        os.rename(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def _is_already_there(folder: Path, plan: CrawlPlan) -> bool:
    if not folder.exists() or not any(folder.iterdir()):
        return False
    plan_file = folder / PLAN_FILE
    if not plan_file.exists():
        raise IncompleteArtifact(
            f"{folder} is not empty and has no {PLAN_FILE}; name another folder, or empty this one"
        )
    found = json.loads(plan_file.read_text())
    if found != asdict(plan):
        raise ConfigError(
            f"{folder} holds a sample crawl of {found}, asked for {asdict(plan)}; name another folder, or delete this one"
        )
    return True


def _write_crawl(folder: Path, plan: CrawlPlan) -> None:
    (folder / "images").mkdir(parents=True)
    _draw_damaged(folder)
    pictures = PictureWriter(folder)
    started, num_written = time.monotonic(), 0
    for number, key in enumerate(plan.keys):
        with pq.ParquetWriter(folder / f"{key}.parquet", OBELICS, compression="zstd") as file:
            for rows in _row_groups(plan, number, pictures):
                file.write_table(pa.Table.from_pylist(rows, schema=OBELICS))
                before, num_written = num_written, num_written + len(rows)
                if num_written // PAGES_PER_REPORT > before // PAGES_PER_REPORT:
                    rate = num_written / (time.monotonic() - started)
                    log.info("%d of %d pages, %.0f pages/s", num_written, plan.num_pages, rate)
        (folder / f"{key}._SUCCESS").touch()
    (folder / PLAN_FILE).write_text(json.dumps(asdict(plan)) + "\n")


def _row_groups(plan: CrawlPlan, number: int, pictures: "PictureWriter") -> Iterator[list[dict[str, Any]]]:
    count = len(plan.rows(number))
    for start in range(0, count, PAGES_PER_ROW_GROUP):
        stop = min(start + PAGES_PER_ROW_GROUP, count)
        yield [to_row(delivered(plan, number, row), plan.keys[number], pictures) for row in range(start, stop)]


class PictureWriter:
    """Draws each figure once, however many pages show it, and remembers its size."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.size_by_reference: dict[str, tuple[int, int]] = {}

    def write(self, illustration: Illustration) -> tuple[int, int]:
        """Width and height in pixels of the illustration's file, which is there afterwards."""
        reference = illustration.reference
        if reference not in self.size_by_reference:
            picture = illustration.figure.draw()
            (self.folder / reference).write_bytes(encode(picture, illustration.figure.suffix))
            self.size_by_reference[reference] = picture.size
        return self.size_by_reference[reference]


def encode(picture: Image.Image, suffix: str) -> bytes:
    """The file of a picture: JPEG for painted scenes, PNG for flat drawings."""
    buffer = io.BytesIO()
    if suffix == "jpg":
        picture.save(buffer, "JPEG", quality=JPEG_QUALITY)
    else:
        picture.save(buffer, "PNG")
    return buffer.getvalue()


def to_row(page: Delivered, crawl: str, pictures: PictureWriter) -> dict[str, Any]:
    """The OBELICS row of a page; draws the pictures that are not drawn yet."""
    images: list[str | None] = []
    texts: list[str | None] = []
    metadata: list[dict[str, Any] | None] = []
    for piece in page.pieces:
        if isinstance(piece, str):
            images.append(None)
            texts.append(piece)
            metadata.append(None)
            continue
        path = piece.reference if isinstance(piece, Illustration) else piece.path
        words: dict[str, Any] = {
            "document_url": page.page.url,
            "src": path,
            "unformatted_src": path,
            "alt_text": piece.alt_text,
        }
        if isinstance(piece, Illustration):
            width, height = pictures.write(piece)
            words |= {"caption": piece.caption, "original_width": width, "original_height": height}
        images.append(path)
        texts.append(None)
        metadata.append(words)
    general = {
        "url": page.page.url,
        "doc_id": f"{crawl}/{page.page.url.rsplit('/', 1)[1]}",
        "title": page.page.title,
        "language": page.page.language,
        "licence": "Apache-2.0",
        "source": "sample_crawl",
    }
    return {
        "images": images,
        "texts": texts,
        "metadata": json.dumps(metadata, ensure_ascii=False),
        "general_metadata": json.dumps(general, ensure_ascii=False),
    }


def _draw_damaged(folder: Path) -> None:
    """The icon, and two picture files that break off in the middle."""
    view = Tower(3, "red", 2, "left").draw()
    for reference, suffix in ((DAMAGED_PNG, "png"), (DAMAGED_JPG, "jpg")):
        whole = encode(view, suffix)
        (folder / reference.path).write_bytes(whole[: len(whole) // 2])
    icon = Canvas(16, 16)
    icon.polygon([(1, 8), (8, 1), (15, 8)], COLOURS["red"])
    icon.rectangle((3, 8, 13, 15), COLOURS["grey"])
    (folder / ICON.path).write_bytes(encode(icon.picture(), "png"))
