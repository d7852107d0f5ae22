"""A checkpoint folder is whole or absent, and loads by the libraries' own doors."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModel, Qwen2_5_VLModel

from training_kernels import checkpoint
from training_kernels.backbones.registry import backbone_folder
from training_kernels.backbones.tiny import ensure_tiny
from training_kernels.checkpoint import load_backbone, load_for_training, write_checkpoint
from training_kernels.config import FullTuning, LoraTuning
from training_kernels.documents import Document, Segment
from training_kernels.encoder import Encoder
from training_kernels.errors import ConfigError, DataError, IncompleteArtifact
from training_kernels.manifest import committed_folder, committed_once, identity, read_manifest
from training_kernels.recipes import tiny

CPU = torch.device("cpu")
LORA = LoraTuning(rank=4, alpha=8, dropout=0.0)
DOCUMENTS = [Document.of("a moon", Segment(image="io"), "with volcanoes"), Document.of("an egg")]


@pytest.fixture
def tuned(tiny_folder, tmp_path):
    """A checkpoint folder whose tuned weights were moved a little, for a kind of tuning."""

    def write(tuning, *, start_from=tiny_folder, name="checkpoint"):
        config = replace(tiny(), tuning=tuning)
        backbone = load_for_training(start_from, config, device=CPU)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weight in backbone.model.parameters():
                if weight.requires_grad:
                    weight += 0.05 * torch.randn(weight.shape, generator=generator)
        write_checkpoint(tmp_path / name, backbone, config, {"last_loss": 1.5}, start_from=start_from)
        return tmp_path / name

    return write


def embeddings(folder, pictures):
    return Encoder.load(folder).encode(DOCUMENTS, pictures, side="candidate")


def last_hidden(model, folder, pictures):
    encoder = Encoder.load(folder)
    encoder.backbone.model = model.eval()
    return encoder.encode(DOCUMENTS, pictures, side="candidate")


def test_fully_tuned_weights_load_by_from_pretrained(tuned, tiny_folder, pictures):
    folder = tuned(FullTuning())
    expected = last_hidden(AutoModel.from_pretrained(folder), folder, pictures)
    np.testing.assert_allclose(embeddings(folder, pictures), expected, atol=1e-6)
    assert np.abs(expected - embeddings(tiny_folder, pictures)).max() > 0.01
    assert json.loads((folder / "metrics.json").read_text()) == {"last_loss": 1.5}
    assert json.loads((folder / "recipe.json").read_text())["loss"]["temperature"] == tiny().loss.temperature


def test_an_adapter_loads_by_peft_and_touches_the_language_model_only(tuned, tiny_folder, pictures):
    folder = tuned(LORA)
    model = PeftModel.from_pretrained(Qwen2_5_VLModel.from_pretrained(tiny_folder), str(folder))
    expected = last_hidden(model, folder, pictures)
    np.testing.assert_allclose(embeddings(folder, pictures), expected, atol=1e-6)
    assert np.abs(expected - embeddings(tiny_folder, pictures)).max() > 0.01
    adapted = {name.split(".lora_")[0] for name, _ in model.named_parameters() if "lora_" in name}
    kinds = {name.rsplit(".", 1)[1] for name in adapted}
    assert kinds == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert all("language_model" in name for name in adapted)
    assert not (folder / "model.safetensors").exists()


def test_an_adapter_goes_on_from_itself_and_merges_into_full_tuning(tuned, pictures):
    first = tuned(LORA)
    again = load_for_training(first, replace(tiny(), tuning=LORA), device=CPU)
    assert {name for name, weight in again.model.named_parameters() if weight.requires_grad} == {
        name for name, _ in again.model.named_parameters() if "lora_" in name
    }
    second = tuned(LORA, start_from=first, name="second")
    assert read_manifest(second).weights_folder(second) == read_manifest(first).weights_folder(first)
    merged = load_for_training(first, replace(tiny(), tuning=FullTuning()), device=CPU)
    assert all(weight.requires_grad for weight in merged.model.parameters())
    np.testing.assert_allclose(last_hidden(merged.model, first, pictures), embeddings(first, pictures), atol=1e-5)
    with pytest.raises(ConfigError, match="the adapter to go on from has"):
        load_for_training(first, replace(tiny(), tuning=replace(LORA, rank=2)), device=CPU)


def test_the_recipe_says_in_what_precision_weights_learn_whatever_the_folder_says(tuned, tiny_folder, monkeypatch):
    """As on a GPU, which computes in bfloat16."""
    monkeypatch.setattr(checkpoint, "pick_dtype", lambda precision, device: getattr(torch, precision))
    lora = replace(tiny(), tuning=LORA, precision="bfloat16")
    frozen = load_for_training(tiny_folder, lora, device=CPU).model.get_input_embeddings().weight
    assert frozen.dtype == torch.bfloat16
    adapter = tuned(LORA)
    record = json.loads((adapter / "manifest.json").read_text()) | {"precision": "bfloat16"}
    (adapter / "manifest.json").write_text(json.dumps(record))
    whole = load_for_training(adapter, replace(tiny(), tuning=FullTuning()), device=CPU)
    base = Qwen2_5_VLModel.from_pretrained(tiny_folder)
    assert torch.equal(whole.model.visual.patch_embed.proj.weight, base.visual.patch_embed.proj.weight)
    assert load_backbone(adapter, device=CPU)[0].model.dtype == torch.bfloat16


def test_checkpoint_and_base_may_move_together(tuned, tiny_folder, tmp_path, pictures):
    (tmp_path / "home").mkdir()
    base = shutil.copytree(tiny_folder, tmp_path / "home" / "base")
    folder = tuned(LORA, start_from=base, name="home/adapter")
    expected = embeddings(folder, pictures)
    (tmp_path / "home").rename(tmp_path / "elsewhere")
    np.testing.assert_array_equal(embeddings(tmp_path / "elsewhere" / "adapter", pictures), expected)


def test_a_folder_that_is_not_whole_is_refused(tuned, tiny_folder, tmp_path):
    base = shutil.copytree(tiny_folder, tmp_path / "base")
    adapter = tuned(LORA, start_from=base, name="adapter")
    base.rename(tmp_path / "away")
    with pytest.raises(IncompleteArtifact, match="is an adapter on .*, which is not there; move both together"):
        Encoder.load(adapter)
    (tmp_path / "away").rename(base)
    (base / "manifest.json").write_text((base / "manifest.json").read_text() + " ")
    with pytest.raises(IncompleteArtifact, match="has changed since"):
        Encoder.load(adapter)
    (base / "tokenizer.json").write_text("cut off")
    with pytest.raises(IncompleteArtifact, match=r"tokenizer\.json is missing or not"):
        Encoder.load(base)
    (base / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match="is no manifest"):
        Encoder.load(base)
    (base / "manifest.json").unlink()
    with pytest.raises(IncompleteArtifact, match=r"has no manifest\.json"):
        Encoder.load(base)


def test_equal_weights_have_equal_identities_however_the_run_went(tuned, tmp_path, tiny_folder):
    first = tuned(FullTuning(), name="first")
    second = tuned(FullTuning(), name="second")
    (second / "metrics.json").write_text("{}")
    assert identity(first) == identity(second) != identity(tiny_folder)


def test_a_writer_that_fails_leaves_the_old_folder_and_no_other(tmp_path):
    def fill(text, *, fail=False):
        with committed_folder(tmp_path / "out") as draft:
            (draft / "file").write_text(text)
            if fail:
                raise OSError("disk full")

    fill("old")
    with pytest.raises(OSError, match="disk full"):
        fill("half", fail=True)
    assert (tmp_path / "out" / "file").read_text() == "old"
    fill("new")
    assert (tmp_path / "out" / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_second_of_two_first_writers_gives_way(tmp_path, tiny_folder):
    with committed_once(tmp_path / "out") as late:
        shutil.copytree(tiny_folder, tmp_path / "out")
        (late / "file").write_text("late")
    assert not (tmp_path / "out" / "file").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_one_seed_makes_one_backbone_and_another_another(tmp_path, tiny_folder):
    state = torch.get_rng_state()
    assert identity(ensure_tiny(tmp_path / "tiny", seed=1)) != identity(tiny_folder)
    assert identity(ensure_tiny(tmp_path / "again", seed=0)) == identity(tiny_folder)
    assert torch.equal(state, torch.get_rng_state())


def test_a_folder_in_the_hubs_layout_is_a_backbone_without_being_copied(tmp_path, tiny_folder, pictures):
    weights = shutil.copytree(tiny_folder, tmp_path / "weights", ignore=shutil.ignore_patterns("manifest.json"))
    folder = backbone_folder(str(weights), tmp_path / "cache")
    assert [path.name for path in folder.iterdir()] == ["manifest.json"]
    assert read_manifest(folder).inputs.max_pixels == 400 * 784
    assert Encoder.load(folder).dims == (128,)
    assert backbone_folder(str(weights), tmp_path / "cache") == folder
    (weights / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(
        ConfigError,
        match="model_type 'bert', which is no known backbone; known: idefics3, qwen2_5_vl, qwen3_vl, smolvlm",
    ):
        backbone_folder(str(weights), tmp_path / "other_cache")
    (weights / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        backbone_folder(str(weights), tmp_path / "other_cache")


def test_a_hub_name_that_cannot_be_reached_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match="neither 'tiny-qwen2.5-vl', a folder, nor a model") as raised:
        backbone_folder("nobody/nothing-of-this-name", tmp_path / "cache")
    assert "run `hf download nobody/nothing-of-this-name`" in str(raised.value)


HUB_PROGRAM = """
import json, sys
from dataclasses import replace
from pathlib import Path
import numpy as np, torch
from sentence_transformers import SentenceTransformer
from training_kernels.backbones.registry import backbone_folder
from training_kernels.checkpoint import load_for_training, write_checkpoint
from training_kernels.config import LoraTuning
from training_kernels.documents import Document
from training_kernels.encoder import Encoder
from training_kernels.manifest import read_manifest
from training_kernels.recipes import tiny

root = Path(sys.argv[1])
base = backbone_folder("someone/small-vlm", root / "backbones")
config = replace(tiny(), tuning=LoraTuning(rank=2, alpha=4, dropout=0.0))
backbone = load_for_training(base, config, device=torch.device("cpu"))
write_checkpoint(root / "a", backbone, config, {}, start_from=base)
expected = Encoder.load(root / "a").encode([Document.of("an egg")], None, side="query")
np.testing.assert_allclose(SentenceTransformer(str(root / "a"), device="cpu").encode_query(["an egg"]), expected, atol=1e-5)
adapter = json.loads((root / "a" / "adapter_config.json").read_text())
print(json.dumps([adapter["base_model_name_or_path"], adapter["revision"], read_manifest(root / "a").revision]))
"""


def test_an_adapter_on_a_model_of_the_hub_names_it_with_its_commit(tmp_path, tiny_folder):
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--someone--small-vlm"
    shutil.copytree(tiny_folder, repository / "snapshots" / commit, ignore=shutil.ignore_patterns("manifest.json"))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", HUB_PROGRAM, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == ["someone/small-vlm", commit, commit]
    assert f"revision='{commit}'" in (tmp_path / "a" / "README.md").read_text()
