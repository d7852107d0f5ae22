"""Checks of pages and chunks: silent on good tables, and naming each planted fault."""

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nyx_assets.corpus.checks import (
    chunks_hold_their_page_whole,
    every_page_is_a_document_or_rejected,
    every_picture_is_stored,
    no_chunk_is_over_its_limits,
)
from nyx_assets.recipes import PictureRecipe
from nyx_assets.records import CHUNKED_CORPUS, CRAWL_DOCUMENTS, LANDED_CRAWL, REJECTED_DOCUMENTS
from resources.home import Home
from resources.tables import ROWS_PER_GROUP, Provenance
from training_kernels.errors import IncompleteArtifact

TEXT = "A bridge of stone.\n\nIt was opened in 1931."


@pytest.fixture
def picture(home: Home, tmp_path: Path) -> str:
    """SHA-256 of a picture that is stored."""
    Image.new("RGB", (64, 48), "green").save(tmp_path / "p.png")
    limits = PictureRecipe(max_bytes=10_000, max_pixels=10_000, min_side_pixels=8)
    return home.images.put((tmp_path / "p.png").read_bytes(), limits=limits).digest


def write(home: Home, asset: str, schema: Any, *rows: dict[str, Any]) -> None:
    empty = dict.fromkeys(schema.names)
    with home.tables.write(asset, schema, partition="p", provenance=Provenance(code_version="1")) as table:
        table.append({**empty, **row} for row in rows)


def text(words: str) -> dict[str, Any]:
    return {"kind": "text", "text": words, "image": None}


def image(digest: str) -> dict[str, Any]:
    return {"kind": "image", "text": None, "image": digest}


def chunk(
    chunk_id: str, position: int, *segments: dict[str, Any], tokens: int = 9, doc_id: str = "d1"
) -> dict[str, Any]:
    return {
        "chunk_id": chunk_id, "doc_id": doc_id, "position": position, "segments": list(segments), "text_tokens": tokens,
        "num_images": sum(segment["image"] is not None for segment in segments),
    }  # fmt: skip


def landed(home: Home, *, num_rows: int) -> None:
    write(home, "landed_crawl", LANDED_CRAWL, {"num_rows": num_rows - 1}, {"num_rows": 1})


def test_a_page_that_vanished_or_stands_twice_is_found(home: Home) -> None:
    write(home, "crawl_documents", CRAWL_DOCUMENTS, {"doc_id": "d1"}, {"doc_id": "d2"})
    write(home, "rejected_documents", REJECTED_DOCUMENTS, {"kind": "page"}, {"kind": "picture"}, {"kind": "picture"})
    landed(home, num_rows=3)
    assert every_page_is_a_document_or_rejected(home, "p") == []
    landed(home, num_rows=4)
    assert every_page_is_a_document_or_rejected(home, "p") == ["4 pages landed, 2 became documents and 1 were rejected"]
    landed(home, num_rows=3)
    write(home, "crawl_documents", CRAWL_DOCUMENTS, {"doc_id": "d1"}, {"doc_id": "d1"})
    assert every_page_is_a_document_or_rejected(home, "p") == ["doc_id d1 stands 2 times"]


def test_a_picture_that_is_not_stored_is_found(home: Home, picture: str) -> None:
    write(home, "crawl_documents", CRAWL_DOCUMENTS, {"doc_id": "d1", "segments": [text(TEXT), image(picture)]})
    assert every_picture_is_stored(home, "p") == []
    lost = "f" * 64
    write(home, "crawl_documents", CRAWL_DOCUMENTS, {"doc_id": "d1", "segments": [image(picture), image(lost)]})
    (fault,) = every_picture_is_stored(home, "p")
    assert fault.startswith(f"picture {lost} is missing")


GOOD = [
    chunk("c1", 0, text("A bridge of stone.\n\n"), image("1" * 64)),
    chunk("c2", 1, text("It was opened in 1931."), image("2" * 64)),
]


@pytest.mark.parametrize(
    ("chunks", "faults"),
    [
        (GOOD, []),
        (GOOD[:1], ["page d1 differs from its chunks put together"]),
        ([GOOD[0], GOOD[0], GOOD[1]], ["page d1 differs from its chunks put together"]),
        ([chunk("c1", 0, text("A bridge of stone. "), image("2" * 64)), chunk("c2", 1, text("It was opened in 1931."), image("1" * 64))],
         ["page d1 differs from its chunks put together"]),
        ([*GOOD, chunk("c3", 0, text("x"), doc_id="d9")], ["chunks name page d9, which is not in crawl_documents"]),
    ],
    ids=["whole", "a chunk lost", "a chunk doubled", "pictures swapped", "a page too many"],
)  # fmt: skip
def test_chunks_that_are_not_their_page_are_found(home: Home, chunks: list[dict[str, Any]], faults: list[str]) -> None:
    page = {
        "doc_id": "d1",
        "segments": [text("A bridge of stone."), image("1" * 64), text(" It was opened in 1931."), image("2" * 64)],
    }
    write(home, "crawl_documents", CRAWL_DOCUMENTS, page)
    write(home, "chunked_corpus", CHUNKED_CORPUS, *chunks)
    assert chunks_hold_their_page_whole(home, "p") == faults


def test_chunks_of_a_page_that_stand_apart_are_found(home: Home) -> None:
    pages = [{"doc_id": doc_id, "segments": [text("One. Two.")]} for doc_id in ("d1", "d2")]
    write(home, "crawl_documents", CRAWL_DOCUMENTS, *pages)
    first, second = chunk("c1", 0, text("One.")), chunk("c2", 1, text("Two."))
    between = chunk("c3", 0, text("One. Two."), doc_id="d2")
    write(home, "chunked_corpus", CHUNKED_CORPUS, first, second, between)
    assert chunks_hold_their_page_whole(home, "p") == []
    write(home, "chunked_corpus", CHUNKED_CORPUS, first, between, second)
    assert chunks_hold_their_page_whole(home, "p") == [
        "chunks of page d1 stand apart from its others",
        "page d1 differs from its chunks put together",
    ]


@pytest.mark.parametrize("check", [chunks_hold_their_page_whole, no_chunk_is_over_its_limits])
def test_memory_of_a_check_does_not_grow_with_the_texts_of_a_partition(home: Home, check: Any) -> None:
    def peak_bytes(num_pages: int) -> int:
        says = [text(f"{number}" + "x" * 4_000) for number in range(num_pages)]
        pages = ({"doc_id": f"d{number}", "segments": [said]} for number, said in enumerate(says))
        write(home, "crawl_documents", CRAWL_DOCUMENTS, *pages)
        chunks = (chunk(f"c{number}", 0, said, doc_id=f"d{number}") for number, said in enumerate(says))
        write(home, "chunked_corpus", CHUNKED_CORPUS, *chunks)
        del says
        tracemalloc.start()
        try:
            assert check(home, "p") == []
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak_bytes(4 * ROWS_PER_GROUP) < 1.5 * peak_bytes(ROWS_PER_GROUP)


def test_a_check_of_a_quarantined_table_does_not_pass_for_want_of_rows(home: Home) -> None:
    write(home, "chunked_corpus", CHUNKED_CORPUS, *GOOD)
    home.tables.quarantine("chunked_corpus", "p", "nobody looked at it")
    with pytest.raises(IncompleteArtifact, match="nobody looked at it"):
        no_chunk_is_over_its_limits(home, "p")


def test_a_chunk_over_its_limits_empty_or_doubled_is_found(home: Home) -> None:
    write(
        home,
        "chunked_corpus",
        CHUNKED_CORPUS,
        chunk("c1", 0, text("a"), tokens=200),
        chunk("c2", 1, *[image("1" * 64)] * 5),
    )
    assert no_chunk_is_over_its_limits(home, "p") == []
    write(
        home, "chunked_corpus", CHUNKED_CORPUS,
        chunk("c1", 0, text("a"), tokens=201), chunk("c2", 1, *[image("1" * 64)] * 6), chunk("c3", 2, text(" \n")),
        chunk("c4", 3, text("b")), chunk("c4", 4, text("b")),
    )  # fmt: skip
    assert no_chunk_is_over_its_limits(home, "p") == [
        "chunk_id c4 stands 2 times",
        "chunk c1: 201 text tokens (200 allowed), 0 pictures (5 allowed)",
        "chunk c2: 9 text tokens (200 allowed), 6 pictures (5 allowed)",
        "chunk c3 is empty",
    ]
