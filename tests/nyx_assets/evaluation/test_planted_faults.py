"""Faults that make an evaluation worthless, planted one by one, and what catches each."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nyx_assets.evaluation.given_away import given_away
from nyx_assets.evaluation.retrieval import measure
from nyx_assets.evaluation.retrievers import DenseRetriever
from nyx_assets.evaluation.suites import Suite, SuiteQuery, read_suite, suite_of_qa, with_options, write_suite
from nyx_assets.recipes import tiny
from resources.embedder_checkpoint import CheckpointEmbedders
from resources.images import FolderImageStore
from training_kernels.documents import Document, Segment
from training_kernels.errors import DataError

LIMITS = tiny().pictures


def text(name: str, words: str) -> dict:
    return {"id": name, "segments": [{"type": "text", "text": words}]}


def picture(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((96, 96), Image.Resampling.NEAREST).save(file, "PNG")
    path.write_bytes(file.getvalue())


def test_a_suite_whose_golds_are_missing_is_refused_by_name(tmp_path: Path) -> None:
    store = FolderImageStore("memory://planted")
    write_suite(
        tmp_path / "gone",
        corpus=[text("c1", "one")],
        queries=[text("q1", "?"), text("q2", "?")],
        golds=[("q1", "c1", 1)],
    )
    with pytest.raises(DataError, match=r"queries\.jsonl, line 2: query 'q2' has no gold"):
        read_suite(tmp_path / "gone", store, limits=LIMITS)
    write_suite(
        tmp_path / "cut",
        corpus=[text("c1", "one")],
        queries=[text("q1", "?")],
        golds=[("q1", "c1", 1), ("q1", "c9", 1)],
    )
    with pytest.raises(DataError, match=r"qrels\.tsv, line 3: candidate 'c9' is not in corpus\.jsonl"):
        read_suite(tmp_path / "cut", store, limits=LIMITS)
    pair = {"qa_id": "q", "chunk_id": "gone", "question": Document.of("?").to_rows()}
    with pytest.raises(DataError, match="golden chunk gone is not in chunked_corpus"):
        suite_of_qa("nyxqa", [pair], {"c1": Document.of("one")})


def test_swapped_pictures_make_another_document_and_another_embedding(tmp_path: Path) -> None:
    folder, store = tmp_path / "two", FolderImageStore(str(tmp_path / "images"))
    folder.mkdir()
    picture(folder / "a.png", 1)
    picture(folder / "b.png", 2)

    def shown(name: str, *paths: str) -> dict:
        segments = [{"type": "text", "text": "first"}, {"type": "image", "path": paths[0]}]
        return {
            "id": name,
            "segments": [*segments, {"type": "text", "text": "then"}, {"type": "image", "path": paths[1]}],
        }

    write_suite(
        folder,
        corpus=[shown("right", "a.png", "b.png"), shown("swapped", "b.png", "a.png")],
        queries=[shown("q", "a.png", "b.png")],
        golds=[("q", "right", 1)],
    )
    suite = read_suite(folder, store, limits=LIMITS)
    right, swapped = suite.candidates["right"], suite.candidates["swapped"]
    assert right.images == swapped.images[::-1]
    embedders = CheckpointEmbedders(str(tmp_path / "backbones"), "tiny-qwen2.5-vl", store.root)
    embedder = embedders.open(embedders.untrained())
    one_D, other_D = embedder.embed([right, swapped], side="candidate")
    assert one_D @ other_D < 1 - 1e-4


def test_a_query_that_holds_its_answer_is_counted_and_options_stay_out_of_the_main_suite() -> None:
    candidates = {
        "town": Document.of("Kelunholm"),
        "page": Document.of("Kelunholm is a town by the sea."),
        "clock": Document.of(Segment(image="clock")),
        "short": Document.of("no"),
    }
    queries = (
        SuiteQuery("leaks", Document.of("Is it Kelunholm, or not?"), {"town": 1}),
        SuiteQuery("same picture", Document.of("what is it", Segment(image="clock")), {"clock": 1}),
        SuiteQuery("fair", Document.of("which town is by the sea"), {"page": 1}),
        SuiteQuery("too short to tell", Document.of("is it no town"), {"short": 1}),
        SuiteQuery("told", Document.of("Which town is it? (The KELUNHOLM.)"), {"page": 1}, answers=("x", "Kelunholm")),
        SuiteQuery("yes or no", Document.of("is there no town, yes?"), {"page": 1}, answers=("no", "yes")),
    )
    found = dict(given_away(Suite("s", candidates, queries)))
    assert list(found) == ["leaks", "same picture", "told"]
    assert found["told"] == "its text holds its answer 'Kelunholm'"
    pair = {
        "qa_id": "q", "chunk_id": "town", "question": Document.of("Which town?").to_rows(),
        "options": ["Kelunholm", "Harlow"],
    }  # fmt: skip
    bare, shown = (suite_of_qa("s", [row], candidates) for row in (pair, with_options(pair)))
    assert given_away(bare) == []
    assert [name for name, _ in given_away(shown)] == ["q"]
    assert "Kelunholm" not in json.dumps(bare.queries[0].document.to_rows())


@dataclass
class Numbers:
    """Embeds a document as the number that it ends with, which may be none."""

    reads_pictures = True
    dim = 2
    dims = (2,)

    def embed(self, documents: Sequence[Document], *, side: str) -> np.ndarray:
        return np.array([[1.0, float(document.text.split()[-1])] for document in documents], np.float32)


@pytest.mark.parametrize("among", [(), ("gold", "other")])
@pytest.mark.parametrize(
    ("query", "gold", "said"),
    [("query nan", "1", "1 of 1 query"), ("query 1", "nan", "1 of 2 candidate"), ("query inf", "nan", "1 of 1 query")],
)
def test_a_model_that_gives_no_numbers_is_named_and_not_scored(query: str, gold: str, said: str, among: tuple) -> None:
    candidates = {"gold": Document.of(gold), "other": Document.of("0.5")}
    suite = Suite("s", candidates, (SuiteQuery("q", Document.of(query), {"gold": 1}, among=frozenset(among)),))
    with pytest.raises(
        DataError, match=f"broken embedded {said} documents as what is no number, the first is number 0"
    ):
        measure(DenseRetriever("broken", Numbers()), suite, split="test", recipe=tiny().evaluation)
