"""What was embedded before is not embedded again, and only what the very same weights made is taken."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from nyx_assets.miners import EmbeddingMiner, open_miner
from nyx_assets.records import chunk_embeddings_schema
from resources.embedder import Side
from resources.embedder_checkpoint import CheckpointEmbedders
from resources.home import Home
from resources.tables import Provenance
from training_kernels.documents import Document
from training_kernels.manifest import identity

CHUNKS = {
    f"c{number}": Document.of(f"The {name} moon of Jupiter was seen in {1600 + number}.")
    for number, name in enumerate(("first", "second", "third", "fourth", "fifth", "sixth"))
}
QUERY = [Document.of("Which moon of Jupiter was seen in 1603?")]


class Counting:
    """Another embedder, and how many candidates it was handed."""

    reads_pictures = True

    def __init__(self, inner) -> None:
        self.inner, self.num_candidates = inner, 0

    @property
    def dim(self) -> int:
        return self.inner.dim

    @property
    def dims(self) -> tuple[int, ...]:
        return self.inner.dims

    def embed(self, documents: Sequence[Document], *, side: Side) -> np.ndarray:
        self.num_candidates += len(documents) if side == "candidate" else 0
        return self.inner.embed(documents, side=side)


class CountingEmbedders(CheckpointEmbedders):
    """Opens each folder with a counter around it."""

    def open(self, folder: str) -> Counting:  # type: ignore[override]
        self.opened = Counting(super().open(folder))
        return self.opened


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backbones")


@pytest.fixture
def embedders(home: Home, backbones: Path) -> CountingEmbedders:
    return CountingEmbedders(str(backbones), "tiny-qwen2.5-vl", home.images.root)


def store(home: Home, name: str, embedding_by_id: dict[str, np.ndarray], inputs: dict[str, str], partition="a") -> None:
    dim = len(next(iter(embedding_by_id.values())))
    with home.tables.write(
        f"{name}/chunk_embeddings",
        chunk_embeddings_schema(dim),
        partition=partition,
        provenance=Provenance(code_version="1", inputs=inputs),
    ) as table:
        table.append({"chunk_id": one, "embedding": row.tolist()} for one, row in embedding_by_id.items())


def mined(name: str, home: Home, embedders: CountingEmbedders) -> tuple[int, int, list]:
    """Chunks reused, chunks embedded, and the ranking."""
    miner = open_miner(name, CHUNKS, home=home, embedders=embedders, foreign_embedders={}, asset="negatives")
    assert isinstance(miner, EmbeddingMiner)
    return miner.num_reused, embedders.opened.num_candidates, miner.mine(QUERY, ["c3"], top_k=6)[0].hits


def embedded(embedders: CountingEmbedders, ids: Sequence[str]) -> dict[str, np.ndarray]:
    rows = embedders.open(embedders.untrained()).embed([CHUNKS[one] for one in ids], side="candidate")
    return dict(zip(ids, rows, strict=True))


def test_a_checkpoints_stored_embeddings_are_taken_and_the_ranking_is_the_same(
    home: Home, embedders: CountingEmbedders
) -> None:
    folder = home.artifacts.folder("pretrained_checkpoint", "v1")
    shutil.copytree(embedders.untrained(), folder)
    version = identity(folder)[:32]
    nothing_stored = mined("pretrained/v1", home, embedders)
    assert nothing_stored[:2] == (0, 6)
    store(home, "promoted", embedded(embedders, ["c1", "c4"]), {"promoted_checkpoint": version})
    store(home, "pretrained", embedded(embedders, ["c2"]), {"pretrained_checkpoint": version}, partition="b")
    reused, new, hits = mined("pretrained/v1", home, embedders)
    assert (reused, new) == (3, 3)
    assert [one for one, _ in hits] == [one for one, _ in nothing_stored[2]]
    assert [score for _, score in hits] == pytest.approx([score for _, score in nothing_stored[2]], abs=2e-6)
    assert mined(f"checkpoint:{folder}", home, embedders)[:2] == (3, 3)


def test_embeddings_of_another_version_or_in_quarantine_are_not_taken(home: Home, embedders: CountingEmbedders) -> None:
    folder = home.artifacts.folder("pretrained_checkpoint", "v1")
    shutil.copytree(embedders.untrained(), folder)
    rows = embedded(embedders, ["c1", "c4"])
    store(home, "pretrained", rows, {"pretrained_checkpoint": "another"})
    assert mined("pretrained/v1", home, embedders)[:2] == (0, 6)
    store(home, "pretrained", rows, {"pretrained_checkpoint": identity(folder)[:32]})
    home.tables.quarantine("pretrained/chunk_embeddings", "a", "not of unit norm")
    assert mined("pretrained/v1", home, embedders)[:2] == (0, 6)


def test_of_the_untrained_backbone_a_few_are_embedded_again_before_the_rest_is_believed(
    home: Home, embedders: CountingEmbedders
) -> None:
    rows = embedded(embedders, list(CHUNKS))
    store(home, "untrained", rows, {})
    reused, new, _ = mined("untrained", home, embedders)
    assert (reused, new) == (6, 4)
    other_weights = {one: np.roll(row, 1) for one, row in rows.items()}
    store(home, "untrained", other_weights, {})
    assert mined("untrained", home, embedders)[0] == 0
