"""Checkpoint folders: weights or an adapter, tokenizer and picture processor, resolved recipe, metrics, manifest last.

`transformers` loads the folder of fully tuned weights, `peft` that of an adapter.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from training_kernels.backbones.backbone import Backbone
from training_kernels.backbones.registry import open_backbone
from training_kernels.config import LoraTuning, TrainConfig
from training_kernels.device import pick_dtype
from training_kernels.errors import ConfigError, IncompleteArtifact
from training_kernels.manifest import (
    RUN_RECORD,
    WEIGHTS_HERE,
    Manifest,
    committed_folder,
    identity,
    read_manifest,
    write_manifest,
)


def load_backbone(folder: Path, *, device: torch.device) -> tuple[Backbone, Manifest]:
    """The weights of a checkpoint or backbone folder, ready to encode.

    Raises IncompleteArtifact without its manifest, or where the base under an adapter is not the one it was trained on.
    """
    manifest = read_manifest(folder)
    return _open(folder, manifest, device=device, is_trainable=False), manifest


def load_for_training(folder: Path, config: TrainConfig, *, device: torch.device) -> Backbone:
    """The weights of a folder with what the recipe tunes ready to learn, and all else frozen.

    An adapter goes on learning where the recipe asks for LoRA, and is merged into its base where it asks for full
    tuning. Raises ConfigError where the recipe's LoRA differs from the adapter's.
    """
    manifest = read_manifest(folder)
    backbone = _open(folder, manifest, device=device, is_trainable=True)
    if isinstance(config.tuning, LoraTuning):
        if manifest.kind == "adapter":
            _require_same_lora(backbone, config.tuning)
        else:
            _put_lora_on(backbone, config.tuning)
    else:
        if manifest.kind == "adapter":
            backbone.model = backbone.model.merge_and_unload()
        backbone.model.float().requires_grad_(True)
    return backbone


def write_checkpoint(
    out: Path, backbone: Backbone, config: TrainConfig, metrics: dict[str, Any], *, start_from: Path
) -> None:
    """Writes the folder whole or not at all; an older checkpoint at `out` is replaced."""
    start = read_manifest(start_from)
    with committed_folder(out) as draft:
        backbone.model.save_pretrained(draft)
        backbone.save_reading_files(draft)
        (draft / "recipe.json").write_text(json.dumps(asdict(config), indent=1) + "\n", encoding="utf-8")
        (draft / RUN_RECORD).write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
        is_adapter = isinstance(config.tuning, LoraTuning)
        base = _base_folder(start_from, start)
        manifest = Manifest(
            kind="adapter" if is_adapter else "full",
            backbone=start.backbone,
            weights=os.path.relpath(base, out) if is_adapter else WEIGHTS_HERE,
            base_identity=identity(base) if is_adapter else "",
            dim=backbone.dim,
            dims=config.loss.dims,
            inputs=config.inputs,
            precision=config.precision,
        )
        write_manifest(draft, manifest)


def _open(folder: Path, manifest: Manifest, *, device: torch.device, is_trainable: bool) -> Backbone:
    dtype = pick_dtype(manifest.precision, device)
    if manifest.kind != "adapter":
        return open_backbone(manifest.weights_folder(folder), dtype=dtype, device=device)
    from peft import PeftModel

    base = manifest.weights_folder(folder)
    if identity(base) != manifest.base_identity:
        raise IncompleteArtifact(
            f"checkpoint {folder} is an adapter on {base}, which has changed since; train again from it"
        )
    backbone = open_backbone(read_manifest(base).weights_folder(base), dtype=dtype, device=device)
    backbone.model = PeftModel.from_pretrained(backbone.model, str(folder), is_trainable=is_trainable).eval()
    return backbone


def _base_folder(folder: Path, manifest: Manifest) -> Path:
    """The folder that an adapter trained from here stands on."""
    return manifest.weights_folder(folder) if manifest.kind == "adapter" else folder.resolve()


def _put_lora_on(backbone: Backbone, tuning: LoraTuning) -> None:
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(
        r=tuning.rank, lora_alpha=tuning.alpha, lora_dropout=tuning.dropout, target_modules=backbone.lora_targets
    )
    backbone.model = get_peft_model(backbone.model, lora)


def _require_same_lora(backbone: Backbone, tuning: LoraTuning) -> None:
    adapter = backbone.model.peft_config["default"]
    got = LoraTuning(rank=adapter.r, alpha=adapter.lora_alpha, dropout=adapter.lora_dropout)
    if got != tuning:
        raise ConfigError(f"the adapter to go on from has {got}, the recipe asks for {tuning}; make them the same")
