"""The checks before training, on the tables of a home: planted leaks are caught, sound tables pass."""

import random

import pytest

from nyx_assets.evaluation.checks import (
    no_page_or_near_copy_stands_in_two_splits,
    no_picture_stands_in_two_splits,
    no_suite_stands_in_training,
)
from nyx_assets.evaluation.suites import write_suite
from nyx_assets.records import (
    CHUNKED_CORPUS,
    FILTERED_QA,
    NEAR_DUPLICATES,
    PAGE_CLUSTERS,
    PAGE_FURNITURE,
    PICTURE_SIGNATURES,
    PUBLIC_EXAMPLES,
)
from resources.home import Home
from resources.tables import Provenance
from training_kernels.documents import Document, Segment

HASHES = {"a" * 64: "00" * 32, "b" * 64: "ff" * 32}


def words(seed: int) -> str:
    drawn = random.Random(seed)
    return " ".join(f"w{drawn.randrange(4000)}" for _ in range(50))


class Tables:
    """A home with three pages of one chunk and one pair each: train, dev and test."""

    def __init__(self, root):
        self.home = Home.at(root)
        self.splits = ["train", "dev", "test"]
        self.pictures = ["a" * 64, "b" * 64, None]
        self.near: list[dict] = []
        self.furniture: list[dict] = []
        self.clusters = ["k0", "k1", "k2"]
        self.public: list[tuple[Document, Document]] = []

    def write(self, name, schema, rows, partition=None):
        made = Provenance(code_version="test")
        with self.home.tables.write(name, schema, partition=partition, provenance=made) as table:
            table.append({column: row.get(column) for column in schema.names} for row in rows)

    def build(self) -> Home:
        chunks, pairs = [], []
        for number, (split, image) in enumerate(zip(self.splits, self.pictures, strict=True)):
            parts = [words(number), *([Segment(image=image)] if image else [])]
            row = {"doc_id": f"d{number}", "chunk_id": f"k{number}"}
            chunks.append(row | {"segments": Document.of(*parts).to_rows()})
            question = Document.of(f"Which of the {number} gates opens at noon?").to_rows()
            pairs.append(row | {"qa_id": f"q{number}", "question": question, "split": split})
        self.write("chunked_corpus", CHUNKED_CORPUS, chunks, "a")
        self.write("filtered_qa", FILTERED_QA, pairs, "a")
        shown = [{"doc_id": "d", "image": image, "phash": phash} for image, phash in HASHES.items()]
        self.write("picture_signatures", PICTURE_SIGNATURES, shown, "a")
        self.write("near_duplicates", NEAR_DUPLICATES, self.near)
        clusters = [{"doc_id": f"d{number}", "cluster": key} for number, key in enumerate(self.clusters)]
        self.write("page_clusters", PAGE_CLUSTERS, clusters)
        self.write("page_furniture", PAGE_FURNITURE, self.furniture)
        public = [
            {"example_id": f"p{number}", "query": query.to_rows(), "positive": positive.to_rows(), "negatives": []}
            for number, (query, positive) in enumerate(self.public)
        ]
        self.write("public_examples", PUBLIC_EXAMPLES, public)
        return self.home


@pytest.fixture
def tables(tmp_path):
    return Tables(tmp_path / "home")


def near(kind: str, *ids: str) -> list[dict]:
    return [{"kind": kind, "id": one, "cluster": ids[0]} for one in ids]


def num_faults(home: Home) -> tuple[int, int, int]:
    checks = (
        no_page_or_near_copy_stands_in_two_splits,
        no_picture_stands_in_two_splits,
        no_suite_stands_in_training,
    )
    return tuple(len(check(home, None)) for check in checks)


def test_sound_tables_pass(tables):
    tables.public = [(Document.of("What else is there to ask of it?"), Document.of(words(77)))]
    assert num_faults(tables.build()) == (0, 0, 0)


@pytest.mark.parametrize("kind", ["page", "chunk"])
def test_a_near_copy_in_another_split_is_caught(tables, kind):
    letter = {"page": "d", "chunk": "k"}[kind]
    tables.near = near(kind, f"{letter}0", f"{letter}2")
    assert num_faults(tables.build()) == (1, 0, 0)


def test_pages_that_belong_together_by_address_in_two_splits_are_caught(tables):
    tables.clusters = ["site/a", "site/b", "site/a"]
    home = tables.build()
    assert num_faults(home) == (1, 0, 0)
    assert no_page_or_near_copy_stands_in_two_splits(home, None)[0].startswith(
        "cluster site/a stands in test and train"
    )


def test_the_same_picture_in_another_split_is_caught(tables):
    tables.pictures = ["a" * 64, None, "a" * 64]
    home = tables.build()
    assert num_faults(home) == (0, 1, 0)
    assert "stands in test and train" in no_picture_stands_in_two_splits(home, None)[0]


def test_a_near_copy_of_a_picture_in_another_split_is_caught_unless_it_is_furniture(tables):
    tables.near = near("picture", "a" * 64, "b" * 64)
    assert num_faults(tables.build()) == (0, 1, 0)
    tables.furniture = [{"kind": "picture", "id": "a" * 64, "num_pages": 99}]
    assert num_faults(tables.build()) == (0, 0, 0)


def test_a_public_example_that_asks_or_answers_a_held_out_question_is_caught(tables):
    other = Document.of("What else is there to ask of it?")
    for public in (
        (Document.of("which of the 2 gates opens at noon"), Document.of(words(77))),
        (other, Document.of(words(1))),
        (other, Document.of(words(78), Segment(image="b" * 64))),
    ):
        tables.public = [(other, Document.of(words(76))), public]
        assert num_faults(tables.build()) == (0, 0, 1)
    tables.public = [
        (Document.of("which of the 0 gates opens at noon"), Document.of(words(0)))
    ]  # it is trained on anyway
    assert num_faults(tables.build()) == (0, 0, 0)


def test_a_suite_in_the_home_that_is_trained_on_is_caught(tables):
    home = tables.build()

    def suite(query: str, gold: str) -> None:
        def row(name: str, text: str) -> dict:
            return {"id": name, "segments": [{"type": "text", "text": text}]}

        corpus, queries = [row("c1", gold), row("c2", words(0))], [row("s1", query)]
        write_suite(home.root / "suites" / "mine", corpus=corpus, queries=queries, golds=[("s1", "c1", 1)])

    suite("Who wrote it down?", words(50))  # c2 is a training chunk, and no gold: corpora may share what is not asked
    assert num_faults(home) == (0, 0, 0)
    suite("Which of the 0 gates opens at noon?", words(50))
    (fault,) = no_suite_stands_in_training(home, None)
    assert fault.startswith("mine: query s1 stands in training as q0")
    suite("Who wrote it down?", words(0))
    (fault,) = no_suite_stands_in_training(home, None)
    assert fault.startswith("mine: answer c1 stands in training as k0")
