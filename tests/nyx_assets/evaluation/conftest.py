"""Checkpoints that are written down instead of trained: what an embedder would say, by number, in two dims."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from nyx_assets.records import chunk_embeddings_schema
from resources.artifacts import MANIFEST
from resources.embedder import Side
from resources.home import Home
from resources.tables import Commit, Provenance
from training_kernels.documents import Document

NUMBERS = 36


def on_circle(number: float) -> np.ndarray:
    """The unit vector at that hour of a clock of NUMBERS hours."""
    angle = 2 * np.pi * number / NUMBERS
    return np.array([np.cos(angle), np.sin(angle)], dtype=np.float32)


@dataclass
class ClockEmbedder:
    """Embeds a document whose text ends in a number at that hour; queries too late by `error` hours."""

    error: float
    asked: list[tuple[Side, str]] = field(default_factory=list)
    dim = 2
    dims = (2,)

    def embed(self, documents: Sequence[Document], *, side: Side) -> np.ndarray:
        self.asked += [(side, document.text) for document in documents]
        late = self.error if side == "query" else 0.0
        return np.stack([on_circle(int(document.text.split()[-1]) + late) for document in documents])


@dataclass
class ClockEmbedders:
    """Opens the embedder that a test wrote down for a checkpoint folder, by the folder's name."""

    by_name: Mapping[str, ClockEmbedder]

    def untrained(self) -> str:
        return "untrained"

    def open(self, folder: str) -> ClockEmbedder:
        return self.by_name[Path(folder).name]


@pytest.fixture
def clock_embedders() -> Callable[..., ClockEmbedders]:
    """Embedders by checkpoint name and the error of each, in hours."""
    return lambda **errors: ClockEmbedders({name: ClockEmbedder(error) for name, error in errors.items()})


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.at(tmp_path / "home")


@pytest.fixture
def publish() -> Callable[[Home, str, str], None]:
    """Make the checkpoint of that name the current one of an asset; its data version is its name."""

    def publish_checkpoint(home: Home, asset: str, name: str) -> None:
        folder = home.root / "checkpoints" / asset / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).write_text("{}")
        commit = Commit(data_version=name, num_rows=3, provenance=Provenance(code_version="1"), written_at="now")
        home.artifacts.publish(asset, folder, commit)

    return publish_checkpoint


@pytest.fixture
def store_embeddings() -> Callable[..., None]:
    """Write a partition of a retriever's chunk_embeddings as a checkpoint of that version would have made it."""

    def store(
        home: Home, retriever: str, partition: str, embedding_by_id: Mapping[str, np.ndarray], *, made_with: str
    ) -> None:
        provenance = Provenance(code_version="1", inputs={f"{retriever}_checkpoint": made_with})
        schema = chunk_embeddings_schema(2)
        values = pa.array(np.concatenate(list(embedding_by_id.values())), pa.float32())
        column = pa.FixedSizeListArray.from_arrays(values, 2)
        table = pa.Table.from_arrays([pa.array(list(embedding_by_id)), column], schema=schema)
        asset = f"{retriever}/chunk_embeddings"
        with home.tables.write(asset, schema, partition=partition, provenance=provenance) as writer:
            writer.append_table(table)

    return store
