"""Exactly the modules that a recipe names are adapted, and one step changes nothing else."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from training_kernels.backbones.registry import backbone_folder
from training_kernels.checkpoint import load_for_training, write_checkpoint
from training_kernels.config import FullTuning, LoraTuning
from training_kernels.documents import Document, Segment
from training_kernels.encoder import Encoder
from training_kernels.errors import ConfigError, DataError
from training_kernels.manifest import read_manifest, write_manifest
from training_kernels.recipes import tiny

CPU = torch.device("cpu")
LORA = LoraTuning(rank=2, alpha=4, dropout=0.0)
BLOCK = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
MLP = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
DOCUMENTS = [Document.of("a moon", Segment(image="io"), "with volcanoes"), Document.of("an egg")]

LANGUAGE = {
    "qwen2_5_vl": {f"language_model.layers.0.{kind}" for kind in BLOCK + MLP},
    "qwen3_vl": {f"language_model.layers.{i}.{kind}" for i in range(3) for kind in BLOCK + MLP},
    "idefics3": {f"text_model.layers.{i}.{kind}" for i in range(2) for kind in BLOCK + MLP},
    "smolvlm": {f"text_model.layers.{i}.{kind}" for i in range(2) for kind in BLOCK + MLP},
}
SIGLIP = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "mlp.fc1", "mlp.fc2")
IDEFICS_VISION = {
    *(f"vision_model.encoder.layers.{i}.{kind}" for i in range(2) for kind in SIGLIP),
    "connector.modality_projection.proj",
}
VISION = {
    "qwen2_5_vl": {
        *(f"visual.blocks.{i}.{kind}" for i in range(2) for kind in ("attn.qkv", "attn.proj", *MLP)),
        "visual.merger.mlp.0",
        "visual.merger.mlp.2",
    },
    "qwen3_vl": {
        *(
            f"visual.blocks.{i}.{kind}"
            for i in range(3)
            for kind in ("attn.qkv", "attn.proj", "mlp.linear_fc1", "mlp.linear_fc2")
        ),
        *(
            f"visual.{merger}.linear_fc{i}"
            for merger in ("merger", "deepstack_merger_list.0", "deepstack_merger_list.1")
            for i in (1, 2)
        ),
    },
    "idefics3": IDEFICS_VISION,
    "smolvlm": IDEFICS_VISION,
}
VISION_PREFIXES = ("visual.", "vision_model.", "connector.")

PUBLISHED_NAMES = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj", "k_proj", "q_proj", "out_proj", "v_proj")
"""The target list of the published training code, matched there by the end of a module's name."""
PUBLISHED_TARGETS = rf".*\.({'|'.join(PUBLISHED_NAMES)})"


@pytest.fixture
def base(hub_folder, tmp_path):
    return backbone_folder(str(hub_folder), tmp_path / "backbones")


def tuned(base, tuning):
    return load_for_training(base, replace(tiny(), tuning=tuning), device=CPU)


def adapted(backbone) -> set[str]:
    names = (name for name, _ in backbone.model.named_parameters() if "lora_A" in name)
    return {name.split(".lora_A")[0].removeprefix("base_model.model.") for name in names}


def step(backbone, pictures) -> set[str]:
    """Names of the weights that one training step changed."""
    before = {name: weight.detach().clone() for name, weight in backbone.model.named_parameters()}
    encoder = Encoder(backbone, tiny().inputs, dims=(64,))
    learning = [weight for weight in backbone.model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=0.01)
    for _ in range(2):  # a fresh adapter's second factor is zero, so its first gets no gradient in the first step
        optimizer.zero_grad()
        embedding_BD = encoder.embed(encoder.render(DOCUMENTS, pictures, side="query"))
        (embedding_BD[0] * embedding_BD[1]).sum().backward()
        optimizer.step()
    return {name for name, weight in backbone.model.named_parameters() if not torch.equal(weight, before[name])}


def test_lora_adapts_the_language_models_linear_layers(base, hub_folder, pictures):
    backbone = tuned(base, LORA)
    assert adapted(backbone) == LANGUAGE[hub_folder.name]
    changed = step(backbone, pictures)
    assert changed == {name for name, _ in backbone.model.named_parameters() if "lora_" in name}


def test_lora_reaches_the_vision_tower_where_it_is_said(base, hub_folder, pictures):
    backbone = tuned(base, replace(LORA, tunes_vision=True))
    assert adapted(backbone) == LANGUAGE[hub_folder.name] | VISION[hub_folder.name]
    changed = step(backbone, pictures)
    assert all("lora_" in name for name in changed)
    assert any("vision_model" in name or "visual" in name for name in changed)


def test_targets_that_reach_the_vision_tower_unsaid_are_refused(hub_folders, tmp_path):
    base = backbone_folder(str(hub_folders["qwen2_5_vl"]), tmp_path)
    published = replace(LORA, targets=PUBLISHED_TARGETS, is_dora=True)
    with pytest.raises(
        ConfigError, match=r"match 2 modules of the vision tower, such as visual\.blocks\.0\.mlp\.down_proj"
    ):
        tuned(base, published)
    backbone = tuned(base, replace(published, tunes_vision=True))
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel

    theirs = get_peft_model(
        AutoModel.from_pretrained(hub_folders["qwen2_5_vl"]), LoraConfig(target_modules=list(PUBLISHED_NAMES))
    )
    names = {
        name.split(".lora_A")[0].removeprefix("base_model.model.")
        for name, _ in theirs.named_parameters()
        if "lora_A" in name
    }
    assert adapted(backbone) == names
    assert {name for name in names if name.startswith("visual")} == {
        "visual.blocks.0.mlp.down_proj",
        "visual.blocks.1.mlp.down_proj",
    }


def test_dora_learns_directions_and_lengths_and_comes_back_as_it_was(base, tmp_path, pictures):
    tuning = replace(LORA, is_dora=True)
    backbone = tuned(base, tuning)
    assert all(adapter.use_dora for adapter in backbone.model.peft_config.values())
    changed = step(backbone, pictures)
    assert {name.split(".default")[0].rsplit(".", 1)[1] for name in changed} == {
        "lora_A",
        "lora_B",
        "lora_magnitude_vector",
    }
    config = replace(tiny(), tuning=tuning, loss=replace(tiny().loss, weight_by_dim=((64, 1.0),)))
    write_checkpoint(tmp_path / "dora", backbone, config, {}, start_from=base)
    expected = Encoder(backbone, config.inputs, dims=(64,)).encode(DOCUMENTS, pictures, side="query")
    np.testing.assert_allclose(
        Encoder.load(tmp_path / "dora").encode(DOCUMENTS, pictures, side="query"), expected, atol=1e-6
    )


def test_full_tuning_changes_every_kind_of_weight_or_all_but_the_vision_tower(base, pictures):
    changed = step(tuned(base, FullTuning()), pictures)
    assert any(name.startswith(VISION_PREFIXES) for name in changed)
    backbone = tuned(base, FullTuning(tunes_vision=False))
    changed = step(backbone, pictures)
    assert changed
    assert not any(name.startswith(VISION_PREFIXES) for name in changed)
    language = {name for name, _ in backbone.model.named_parameters() if not name.startswith(VISION_PREFIXES)}
    # a bias of keys moves every score of a query alike, so its gradient is zero but for rounding
    assert {name for name in language - changed if not name.endswith("k_proj.bias")} == set()


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (r".*\.q_projection", "match no module"),
        (r"language_model\.layers\.0", r"match language_model\.layers\.0, which is no linear layer"),
    ],
)
def test_targets_without_a_linear_layer_are_refused(tiny_folder, targets, message):
    with pytest.raises(ConfigError, match=message):
        tuned(tiny_folder, replace(LORA, targets=targets))


def test_a_broken_expression_is_refused_when_it_is_described():
    with pytest.raises(ConfigError, match="is no regular expression"):
        LoraTuning(rank=2, alpha=4, dropout=0.0, targets="(")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"is_dora": True}, "has is_dora False, the recipe asks for is_dora True"),
        ({"rank": 3}, "has rank 2, the recipe asks for rank 3"),
        ({"targets": r".*language_model.*q_proj"}, "the recipe asks for targets '.*language_model"),
        ({"tunes_vision": True}, "the recipe asks for targets"),
    ],
)
def test_an_adapter_goes_on_with_its_own_settings_only(tiny_folder, tmp_path, change, message):
    config = replace(tiny(), tuning=LORA)
    write_checkpoint(tmp_path / "a", tuned(tiny_folder, LORA), config, {}, start_from=tiny_folder)
    tuned(tmp_path / "a", LORA)
    with pytest.raises(ConfigError, match=re.escape(message)):
        tuned(tmp_path / "a", replace(LORA, **change))


def test_an_adapter_of_another_backbone_is_refused(hub_folders, tiny_folder, tmp_path):
    config = replace(tiny(), tuning=LORA)
    write_checkpoint(tmp_path / "a", tuned(tiny_folder, LORA), config, {}, start_from=tiny_folder)
    other = backbone_folder(str(hub_folders["smolvlm"]), tmp_path / "backbones")
    narrow = replace(config, loss=replace(config.loss, weight_by_dim=((64, 1.0),)))
    write_checkpoint(tmp_path / "b", tuned(other, LORA), narrow, {}, start_from=other)
    shutil.copyfile(tmp_path / "b" / "adapter_model.safetensors", tmp_path / "a" / "adapter_model.safetensors")
    write_manifest(tmp_path / "a", read_manifest_unchecked(tmp_path / "a"))
    with pytest.raises(DataError, match="does not fit backbone 'tiny-qwen2.5-vl'"):
        Encoder.load(tmp_path / "a")
    write_manifest(tmp_path / "b", replace(read_manifest(tmp_path / "b"), dim=128))
    with pytest.raises(DataError, match="says width 128 .* its weights have 64: they are of another backbone"):
        Encoder.load(tmp_path / "b")


def read_manifest_unchecked(folder):
    """The manifest of a folder whose files were changed."""
    import json

    path = folder / "manifest.json"
    row = json.loads(path.read_text())
    row["files"] = {}
    path.write_text(json.dumps(row))
    return read_manifest(folder)
