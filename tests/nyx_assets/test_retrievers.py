"""A retriever's name stands for one checkpoint."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from nyx_assets.retrievers import DENSE_RETRIEVERS, FINETUNED, PROMOTED, UNTRAINED, dense_retriever
from resources.artifacts import MANIFEST
from resources.embedder import Embedder
from resources.home import Home
from resources.tables import Commit, Provenance
from training_kernels.errors import ConfigError, IncompleteArtifact


@dataclass
class NoEmbedders:
    """Knows where the untrained backbone is, and opens nothing."""

    def untrained(self) -> str:
        return "the backbone"

    def open(self, folder: str) -> Embedder:
        raise AssertionError(f"asked for {folder}, a name is enough")


def test_each_name_is_found_and_once() -> None:
    assert [dense_retriever(retriever.name) for retriever in DENSE_RETRIEVERS] == list(DENSE_RETRIEVERS)
    assert len({retriever.name for retriever in DENSE_RETRIEVERS}) == len(DENSE_RETRIEVERS)
    checkpoints = [retriever.checkpoint for retriever in DENSE_RETRIEVERS]
    assert len(set(checkpoints)) == len(checkpoints)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match="'trace' is unknown; known: bm25, untrained, pretrained, finetuned, promoted"
    ):
        dense_retriever("trace")


def test_the_folder_is_that_of_the_current_checkpoint(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    assert UNTRAINED.folder(home, NoEmbedders()) == "the backbone"
    with pytest.raises(IncompleteArtifact, match="promoted_checkpoint has not been made"):
        PROMOTED.folder(home, NoEmbedders())
    folder = home.artifacts.folder("finetuned_checkpoint", "v")
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text("{}")
    commit = Commit(data_version="v", num_rows=1, provenance=Provenance(code_version="1"), written_at="")
    home.artifacts.publish("finetuned_checkpoint", folder, commit)
    assert FINETUNED.folder(home, NoEmbedders()) == str(folder)
