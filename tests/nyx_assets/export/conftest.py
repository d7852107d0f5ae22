"""A small home with NyxQA in it: five chunks of two pages, pictures, three pairs, one a split."""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from nyx_assets import records
from nyx_assets.funnels import COUNTS
from nyx_assets.recipes import tiny
from resources.home import Home
from resources.tables import Provenance
from training_kernels.documents import Document, Segment


def write(home: Home, name: str, schema: pa.Schema, rows: Iterable[Mapping[str, Any]], partition: str | None) -> None:
    """Rows of a table; columns that a test does not care about are null."""
    with home.tables.write(name, schema, partition=partition, provenance=Provenance(code_version="1")) as writer:
        writer.append([dict.fromkeys(schema.names) | dict(row) for row in rows])


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, str]:
    """Digests of three stored pictures by colour."""
    store = Home.at(tmp_path / "home").images
    digests = {}
    for place, colour in enumerate(("red", "green", "blue")):
        data = io.BytesIO()
        Image.new("RGB", (60 + place, 40), colour).save(data, "PNG")
        digests[colour] = store.put(data.getvalue(), limits=tiny().pictures).digest
    return digests


@pytest.fixture
def home(tmp_path: Path, pictures: dict[str, str]) -> Home:
    home = Home.at(tmp_path / "home")
    red, green, blue = (Segment(image=pictures[colour]) for colour in ("red", "green", "blue"))
    chunks = {
        "c1": ("p1", Document.of("A red door", red, "and a green one", green)),
        "c2": ("p1", Document.of("Plain text with a literal <image> mark | and a pipe")),
        "c3": ("p2", Document.of(blue)),
        "c4": ("p2", Document.of("Plain text with a literal <image> mark | and a pipe")),
        "c5": ("p2", Document.of("[1] a footnote")),
    }
    pages = [("p1", "https://one.example/a", "CC BY 4.0"), ("p2", "https://two.example/b", None)]
    write(
        home,
        "crawl_documents",
        records.CRAWL_DOCUMENTS,
        [
            {"doc_id": doc_id, "url": url, "title": f"Page {doc_id}", "licence": licence}
            for doc_id, url, licence in pages
        ],
        "one",
    )
    write(
        home,
        "chunked_corpus",
        records.CHUNKED_CORPUS,
        [
            {"chunk_id": chunk_id, "doc_id": doc_id, "segments": document.to_rows()}
            for chunk_id, (doc_id, document) in chunks.items()
        ],
        "one",
    )
    pairs = [
        ("q1", "c1", Document.of("Which door is this?", green), "the green one", "train"),
        ("q2", "c2", Document.of("What is literal?"), "a mark", "test"),
        ("q3", "c3", Document.of("What is blue?"), "the picture", "dev"),
    ]
    write(
        home,
        "filtered_qa",
        records.FILTERED_QA,
        [
            {
                "qa_id": qa_id,
                "chunk_id": chunk_id,
                "question": question.to_rows(),
                "answer": answer,
                "options": ["w", answer, "x", "y"],
                "right_option": 1,
                "split": split,
                "teacher": "offline-extractive" if qa_id == "q3" else "some-vlm",
                "is_stand_in": qa_id == "q3",
            }
            for qa_id, chunk_id, question, answer, split in pairs
        ],
        "one",
    )
    again = home.tables.read("filtered_qa", partition="one").to_pylist()[2:]
    write(home, "filtered_qa", records.FILTERED_QA, again, "two")  # the page of q3 came again
    digests = ["w1", "w1", "w2", None]
    drafts = [{"qa_id": f"d{number}", "request_digest": digest} for number, digest in enumerate(digests)]
    write(home, "raw_qa", records.RAW_QA, drafts, "one")
    write(home, "raw_qa", records.RAW_QA, [{"qa_id": "d9", "request_digest": "w1"}], "two")
    funnel = dict.fromkeys(COUNTS, 0) | {
        "unit": "pair",
        "is_stand_in": False,
        "rejected_by_rule": [],
        "request_digests": [],
    }
    for partition, num_in, digests in (("one", 9, ["j1", "w2"]), ("two", 2, ["j1", "j2"])):
        counts = {"num_in": num_in, "num_out": num_in - 1, "num_rejected": 1}
        steps = [
            funnel | {"step": 1, "check": "write", "unit": "chunk", "num_in": num_in, "num_out": num_in},
            funnel | counts | {"step": 2, "check": "empty", "threshold": 1.0,
                               "rejected_by_rule": [{"rule": "empty", "number": 1}]},
            funnel | counts | {"step": 3, "check": "judged_unfit", "threshold": 7.0, "request_digests": digests,
                               "rejected_by_rule": [{"rule": "refused_call", "number": 1}]},
        ]  # fmt: skip
        write(home, "qa_funnel", records.QA_FUNNEL, steps, partition)
    negatives = [("c5", 0.7), ("c3", 0.6), ("c1", 0.1)]
    write(
        home,
        "negatives",
        records.NEGATIVES,
        [
            {"qa_id": "q1", "rank": rank, "chunk_id": chunk_id, "score": score, "miner": "bm25"}
            for rank, (chunk_id, score) in list(enumerate(negatives[:2], start=1))[::-1]
        ],
        None,
    )
    refused = [{"qa_id": "q1", "chunk_id": "c2", "reason": "contains_answer"}]
    write(home, "refused_negatives", records.REFUSED_NEGATIVES, refused, None)
    return home
