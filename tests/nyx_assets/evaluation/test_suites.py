"""Suite folders: what is read, and how each fault is named."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nyx_assets.evaluation.suites import draw_by_modality, read_suite, suite_of_qa, write_suite
from nyx_assets.recipes import nyx_paper
from resources.images import FolderImageStore
from training_kernels.documents import Document, Segment
from training_kernels.errors import DataError

CORPUS = [
    {
        "id": "c1",
        "segments": [{"type": "text", "text": "Ein Uhrturm\n东京"}, {"type": "image", "path": "images/red.png"}],
    },
    {"id": "c2", "segments": [{"type": "image", "path": "images/red.png"}]},
    {"id": "c3", "segments": [{"type": "text", "text": "A boat"}]},
]
QUERIES: list[dict[str, Any]] = [
    {"id": "q1", "segments": [{"type": "text", "text": "tower?"}], "exclude": ["c3", "not in this pool"]},
    {"id": "q2", "segments": [{"type": "image", "path": "images/blue.png"}, {"type": "text", "text": "boat?"}]},
]
GOLDS = [("q1", "c1", 2), ("q1", "c2", 1), ("q2", "c3", 1), ("q2", "c1", 0)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good suite folder."""
    place = tmp_path / "towers"
    write_suite(place, corpus=CORPUS, queries=QUERIES, golds=GOLDS)
    (place / "images").mkdir()
    for colour in ("red", "blue"):
        Image.new("RGB", (40, 50), colour).save(place / "images" / f"{colour}.png")
    return place


@pytest.fixture
def store(tmp_path: Path) -> FolderImageStore:
    return FolderImageStore(str(tmp_path / "store"))


def read(folder: Path, store: FolderImageStore) -> Any:
    return read_suite(folder, store, limits=nyx_paper().pictures)


def test_a_suite_comes_back_as_it_was_written(folder: Path, store: FolderImageStore) -> None:
    suite = read(folder, store)
    assert suite.name == "towers"
    assert list(suite.candidates) == ["c1", "c2", "c3"]
    text, picture = suite.candidates["c1"].segments
    assert text == Segment(text="Ein Uhrturm\n东京")
    assert store.open(picture.image).getpixel((3, 3)) == (255, 0, 0)
    assert suite.candidates["c2"] == Document((picture,))
    first, second = suite.queries
    assert (first.query_id, first.document, first.exclude) == (
        "q1",
        Document.of("tower?"),
        {"c3", "not in this pool"},
    )
    assert first.grade_by_id == {"c1": 2, "c2": 1}
    assert (second.document.modality, second.exclude, second.grade_by_id) == ("mixed", frozenset(), {"c3": 1})


def test_a_header_may_be_missing(folder: Path, store: FolderImageStore) -> None:
    lines = (folder / "qrels.tsv").read_text().splitlines(keepends=True)
    with_header = read(folder, store)
    (folder / "qrels.tsv").write_text("".join(lines[1:]))
    assert read(folder, store).queries == with_header.queries


def change(folder: Path, name: str, line: int, text: str | bytes) -> None:
    """Put another line (counted from 1) in its place, or at the end."""
    lines = (folder / name).read_bytes().splitlines(keepends=True)
    lines[line - 1 : line] = [(text if isinstance(text, bytes) else text.encode()) + b"\n"]
    (folder / name).write_bytes(b"".join(lines))


def row(row_id: str, *segments: Any, **more: Any) -> str:
    return json.dumps({"id": row_id, "segments": list(segments), **more})


@pytest.mark.parametrize(
    ("name", "line", "text", "message"),
    [
        ("qrels.tsv", 3, "q1\tc9\t1", "qrels.tsv, line 3: candidate 'c9' is not in corpus.jsonl"),
        ("qrels.tsv", 5, "q9\tc1\t1", "qrels.tsv, line 5: query 'q9' is not in queries.jsonl"),
        ("qrels.tsv", 4, "q2 c3 1", "qrels.tsv, line 4: a line is query id"),
        ("qrels.tsv", 4, "q2\tc3\tyes", "qrels.tsv, line 4: a line is query id"),
        ("qrels.tsv", 5, "q1\tc1\t1", "qrels.tsv, line 5: query 'q1' and candidate 'c1' stand here twice"),
        ("qrels.tsv", 4, "q2\tc3\t0", "queries.jsonl, line 2: query 'q2' has no gold"),
        ("corpus.jsonl", 2, row("c1", {"type": "text", "text": "x"}), "line 2: id 'c1' stands on line 1 already"),
        ("corpus.jsonl", 3, row("c3", {"type": "video", "path": "x"}), "corpus.jsonl, line 3: a segment is"),
        ("corpus.jsonl", 3, row("c3", {"type": "text", "text": None}), "corpus.jsonl, line 3: a segment is"),
        ("corpus.jsonl", 3, row("c3"), "line 3: 'c3' needs a list of segments that is not empty"),
        ("corpus.jsonl", 2, '{"id": "c2", ', "corpus.jsonl, line 2: not JSON"),
        ("corpus.jsonl", 2, '["c2"]', "corpus.jsonl, line 2: a row is an object"),
        ("corpus.jsonl", 2, '{"id": 2}', "corpus.jsonl, line 2: a row is an object"),
        ("corpus.jsonl", 2, b'{"id": "\xff"}', "corpus.jsonl, line 2: not UTF-8"),
        (
            "corpus.jsonl",
            2,
            row("c2", {"type": "image", "path": "images/no.png"}),
            "'images/no.png' is not in the suite",
        ),
        ("corpus.jsonl", 2, row("c2", {"type": "image", "path": "../t.png"}), "line 2: picture '../t.png' leaves"),
        ("corpus.jsonl", 2, row("c2", {"type": "image", "path": "/etc/passwd"}), "'/etc/passwd' leaves the suite"),
        ("corpus.jsonl", 2, row("c2", {"type": "image", "path": "qrels.tsv"}), "line 2: picture 'qrels.tsv': "),
        ("queries.jsonl", 1, row("q1", {"type": "text", "text": "x"}, exclude=["c1"]), "excludes its own gold 'c1'"),
        ("queries.jsonl", 1, row("q1", {"type": "text", "text": "x"}, exclude="c3"), '"exclude" is a list'),
    ],
)
def test_a_fault_is_named_with_its_file_and_line(
    folder: Path, store: FolderImageStore, name: str, line: int, text: str | bytes, message: str
) -> None:
    change(folder, name, line, text)
    with pytest.raises(DataError) as caught:
        read(folder, store)
    assert message in str(caught.value)
    assert name in str(caught.value) or "queries.jsonl" in str(caught.value)


def test_a_link_that_leaves_the_folder_is_refused(folder: Path, store: FolderImageStore, tmp_path: Path) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "outside.png")
    (folder / "images" / "red.png").unlink()
    os.symlink(tmp_path / "outside.png", folder / "images" / "red.png")
    with pytest.raises(DataError, match=r"line 1: picture 'images/red\.png' leaves the suite folder"):
        read(folder, store)


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels.tsv"])
def test_a_missing_or_empty_file_is_named(folder: Path, store: FolderImageStore, name: str) -> None:
    (folder / name).write_text("\n\n")
    with pytest.raises(DataError, match=f"{name} is empty"):
        read(folder, store)
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"{name} is missing: a suite folder holds"):
        read(folder, store)


def test_filtered_qa_makes_a_suite_of_bare_questions_with_copies_of_the_golden_chunk_as_golds() -> None:
    chunks = {"k1": Document.of("tower"), "k2": Document.of("boat"), "k3": Document.of("tower")}
    question = Document.of("What stands?", Segment(image="ab"))
    query = {"qa_id": "q1", "chunk_id": "k3", "question": question.to_rows(), "options": ["tower", "boat"]}
    suite = suite_of_qa("nyxqa", [query], chunks)
    assert suite.candidates == chunks
    (made,) = suite.queries
    assert (made.query_id, made.document) == ("q1", question)
    assert made.grade_by_id == {"k1": 1, "k3": 1}
    with pytest.raises(DataError, match="query q1: its golden chunk k3 is not in chunked_corpus"):
        suite_of_qa("nyxqa", [query], {"k1": Document.of("tower")})


def test_near_copies_of_the_golden_chunk_are_taken_out_of_the_ranking_and_its_copies_stay_golds() -> None:
    chunks = {
        f"k{number}": Document.of(text) for number, text in enumerate(("tower", "boat", "tower", "a tower", "gate"))
    }
    query = {"qa_id": "q1", "chunk_id": "k2", "question": Document.of("What stands?").to_rows()}
    near_copies = {"k0": "k0", "k2": "k0", "k3": "k0", "k1": "k1", "k4": "k1", "gone": "k0"}
    (made,) = suite_of_qa("nyxqa", [query], chunks, near_copies=near_copies).queries
    assert made.grade_by_id == {"k0": 1, "k2": 1}
    assert made.exclude == {"k3"}


def test_as_many_questions_are_drawn_of_each_group_of_pictures_whatever_else_is_there() -> None:
    chunks = {
        f"k{number}": Document.of("x", *[Segment(image=f"{number}-{place}") for place in range(number % 4)])
        for number in range(40)
    }
    pairs = [{"qa_id": f"q{number}", "chunk_id": f"k{number}"} for number in range(40)]
    drawn = draw_by_modality(pairs, chunks, limit=6, seed=1)
    assert [min(int(pair["qa_id"][1:]) % 4, 2) for pair in drawn].count(2) == 6
    assert [int(pair["qa_id"][1:]) % 4 for pair in drawn].count(0) == 6
    assert [pair["qa_id"] for pair in drawn] == sorted(pair["qa_id"] for pair in drawn)
    assert draw_by_modality(pairs[:20], chunks, limit=100, seed=1) == sorted(pairs[:20], key=lambda one: one["qa_id"])
    assert draw_by_modality(pairs, chunks, limit=6, seed=2) != drawn
    with pytest.raises(DataError, match="query q1: its golden chunk k1 is not in chunked_corpus"):
        draw_by_modality(pairs[1:2], {}, limit=6, seed=1)
