"""Folders with a pointer to the current one: complete or absent, and named when they are damaged."""

from pathlib import Path

import pytest

from resources.artifacts import MANIFEST, Artifacts
from resources.tables import Commit, Provenance
from training_kernels.errors import IncompleteArtifact


def commit(version: str) -> Commit:
    provenance = Provenance(code_version="2", inputs={"training_manifest": "m1", "negatives": ""})
    return Commit(data_version=version, num_rows=7, provenance=provenance, written_at="2026-11-21T02:00:00+00:00")


def complete_folder(artifacts: Artifacts, version: str) -> Path:
    folder = artifacts.folder("finetuned_checkpoint", version)
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text("{}")
    return folder


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path / "home")


def test_the_current_folder_comes_back_with_what_it_was_made_from(artifacts: Artifacts) -> None:
    assert artifacts.current("finetuned_checkpoint") is None
    artifacts.publish("finetuned_checkpoint", complete_folder(artifacts, "v1"), commit("v1"))
    artifacts.publish("finetuned_checkpoint", complete_folder(artifacts, "v2"), commit("v2"))
    found = artifacts.require("finetuned_checkpoint")
    assert found.folder == artifacts.folder("finetuned_checkpoint", "v2")
    assert found.commit == commit("v2")
    assert artifacts.current("pretrained_checkpoint") is None


def test_one_asset_may_point_at_the_folder_of_another(artifacts: Artifacts) -> None:
    folder = complete_folder(artifacts, "v1")
    artifacts.publish("promoted_checkpoint", folder, commit("v1"))
    assert artifacts.require("promoted_checkpoint").folder == folder


def test_a_home_that_was_moved_finds_its_folders(artifacts: Artifacts, tmp_path: Path) -> None:
    artifacts.publish("finetuned_checkpoint", complete_folder(artifacts, "v1"), commit("v1"))
    artifacts.root.rename(tmp_path / "elsewhere")
    moved = Artifacts(tmp_path / "elsewhere")
    assert moved.require("finetuned_checkpoint").folder == tmp_path / "elsewhere/checkpoints/finetuned_checkpoint/v1"


def test_a_folder_without_its_manifest_is_not_published(artifacts: Artifacts) -> None:
    artifacts.publish("finetuned_checkpoint", complete_folder(artifacts, "v1"), commit("v1"))
    half = artifacts.folder("finetuned_checkpoint", "v2")
    half.mkdir()
    with pytest.raises(IncompleteArtifact, match=r"v2 has no manifest.json.*materialize finetuned_checkpoint again"):
        artifacts.publish("finetuned_checkpoint", half, commit("v2"))
    assert artifacts.require("finetuned_checkpoint").commit == commit("v1")


def test_a_folder_that_was_damaged_since_is_named(artifacts: Artifacts) -> None:
    folder = complete_folder(artifacts, "v1")
    artifacts.publish("finetuned_checkpoint", folder, commit("v1"))
    (folder / MANIFEST).unlink()
    with pytest.raises(IncompleteArtifact, match="v1 has no manifest.json"):
        artifacts.current("finetuned_checkpoint")


def test_what_was_never_made_is_named_with_its_remedy(artifacts: Artifacts) -> None:
    with pytest.raises(
        IncompleteArtifact, match="^promoted_checkpoint has not been made; materialize promoted_checkpoint$"
    ):
        artifacts.require("promoted_checkpoint")
