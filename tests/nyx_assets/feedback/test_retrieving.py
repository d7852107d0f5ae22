"""Which training questions are tried, and that each comes once with what is nearest to it, however many blocks there are."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nyx_assets.feedback import retrieving
from nyx_assets.feedback.retrieving import drawn_ids, retrieved
from nyx_assets.rag.dense import DenseCorpus
from nyx_assets.recipes import FEEDBACK_RECIPES
from nyx_assets.records import FILTERED_QA
from resources.home import Home
from resources.tables import Provenance
from training_kernels.documents import Document

RECIPE = replace(FEEDBACK_RECIPES["guarded"], top_k=2)
NUM_PAIRS = 30


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home.at(tmp_path)
    empty: dict[str, Any] = dict.fromkeys(FILTERED_QA.names)
    rows = [
        empty
        | {
            "qa_id": f"q{number}",
            "split": ("train", "test", "dev")[number % 3],
            "chunk_id": f"c{number // 6}",
            "question": Document.of(str(number)).to_rows(),
        }
        for number in range(NUM_PAIRS)
    ]
    with home.tables.write("filtered_qa", FILTERED_QA, partition="p", provenance=Provenance(code_version="1")) as table:
        table.append([*rows, *rows[:9]])
    return home


class ByNumber:
    """Embeds the number that a text is, as a direction."""

    dim, dims, reads_pictures = 2, (2,), True

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def embed(self, documents: Sequence[Document], *, side: str) -> np.ndarray:
        self.sizes.append(len(documents))
        angle_B = np.array([float(document.text) for document in documents]) / NUM_PAIRS
        return np.stack([np.cos(angle_B), np.sin(angle_B)], axis=1).astype(np.float32)


def test_only_training_pairs_are_drawn_each_once_by_hash_of_their_id(home: Home) -> None:
    training = [f"q{number}" for number in range(0, NUM_PAIRS, 3)]
    by_hash = sorted(training, key=lambda qa_id: hashlib.sha256(f"7\0{qa_id}".encode()).hexdigest())
    assert drawn_ids(home, "p", at_most=4, seed=7) == sorted(by_hash[:4])
    assert drawn_ids(home, "p", at_most=100, seed=7) == sorted(training)


def test_each_pair_comes_once_with_what_is_nearest_to_it_block_by_block(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieving, "BLOCK_QUERIES", 4)
    embedder = ByNumber()
    names = [f"n{number}" for number in range(NUM_PAIRS)]
    corpus = DenseCorpus(names, embedder.embed([Document.of(name[1:]) for name in names], side="candidate"))
    embedder.sizes.clear()
    wanted = drawn_ids(home, "p", at_most=100, seed=7)
    queries = list(retrieved(home, "p", wanted, embedder, corpus, RECIPE))
    assert sorted(query.pair["qa_id"] for query in queries) == wanted
    assert all(query.windows[0] == (f"n{query.pair['qa_id'][1:]}",) and len(query.windows) == 2 for query in queries)
    assert embedder.sizes == [4, 4, 2]
