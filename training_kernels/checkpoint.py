"""Checkpoint folders: weights or an adapter, what reads documents, resolved recipe, metrics, model card, manifest last.

Three doors besides this project's own: `transformers` loads fully tuned weights, `peft` an adapter on its base, and
`sentence-transformers` either, with the same vectors.
"""

import json
import os
import tempfile
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from training_kernels.adapters import put_lora_on, rename_dora_lengths, require_same_lora, tune_fully
from training_kernels.backbones.backbone import Backbone
from training_kernels.backbones.registry import open_backbone
from training_kernels.config import LoraTuning, Precision, TrainConfig
from training_kernels.device import pick_dtype
from training_kernels.errors import DataError, IncompleteArtifact
from training_kernels.manifest import (
    MODEL_CARD,
    RUN_RECORD,
    WEIGHTS_HERE,
    Manifest,
    committed_folder,
    identity,
    read_manifest,
    write_manifest,
)
from training_kernels.memory import is_out_of_memory
from training_kernels.model_card import model_card
from training_kernels.sentence_transformers_files import write_sentence_transformers_files


def load_backbone(
    folder: Path, *, device: torch.device, precision: Precision | None = None
) -> tuple[Backbone, Manifest]:
    """The weights of a checkpoint or backbone folder, ready to encode.

    Args:
        precision: instead of the manifest's.

    Raises IncompleteArtifact without its manifest, or where the base under an adapter is not the one it was trained on,
    and DataError where the weights are not what the manifest says.
    """
    manifest = read_manifest(folder)
    dtype = pick_dtype(precision or manifest.precision, device)
    return _open(folder, manifest, dtype=dtype, device=device, is_trainable=False), manifest


def load_for_training(folder: Path, config: TrainConfig, *, device: torch.device) -> Backbone:
    """The weights of a folder with what the recipe tunes ready to learn, and all else frozen, in the recipe's precision.

    An adapter goes on learning where the recipe asks for LoRA, and is merged into its base where it asks for full
    tuning. Raises ConfigError where the recipe's LoRA differs from the adapter's, and where the folder lacks a file that
    the trained checkpoint would have to hold.
    """
    manifest = read_manifest(folder)
    dtype = pick_dtype(config.precision, device)
    backbone = _open(folder, manifest, dtype=dtype, device=device, is_trainable=True)
    with tempfile.TemporaryDirectory() as trial:  # what would fail after the last step fails before the first
        backbone.save_reading_files(Path(trial), config.inputs)
    if not isinstance(config.tuning, LoraTuning):
        tune_fully(backbone, config.tuning)
    elif manifest.kind == "adapter":
        require_same_lora(backbone, config.tuning)
    else:
        put_lora_on(backbone, config.tuning)
    return backbone


def write_checkpoint(
    out: Path,
    backbone: Backbone,
    config: TrainConfig,
    metrics: dict[str, Any],
    *,
    start_from: Path,
    data_identity: str = "",
) -> None:
    """Writes the folder whole or not at all; an older checkpoint at `out` is replaced.

    Args:
        data_identity: SHA-256 of what it was trained on and chosen by (training_kernels.data_identity).
    """
    start = read_manifest(start_from)
    is_adapter = isinstance(config.tuning, LoraTuning)
    base = _base_folder(start_from, start)
    base_manifest = read_manifest(base)
    manifest = Manifest(
        kind="adapter" if is_adapter else "full",
        backbone=start.backbone,
        weights=os.path.relpath(base, out) if is_adapter else WEIGHTS_HERE,
        base_identity=identity(base) if is_adapter else "",
        dim=backbone.dim,
        dims=config.loss.dims,
        inputs=config.inputs,
        precision=config.precision,
        revision=start.revision,
        data_identity=data_identity,
    )
    if is_adapter:
        adapter = backbone.model.peft_config["default"]
        adapter.base_model_name_or_path = _base_name(base, base_manifest)
        adapter.revision = base_manifest.revision or None
    with committed_folder(out) as draft:
        write_checkpoint_files(draft, backbone, manifest, asdict(config), metrics, base=_base_name(base, base_manifest))


def write_checkpoint_files(
    draft: Path,
    backbone: Backbone,
    manifest: Manifest,
    recipe: dict[str, Any],
    metrics: dict[str, Any],
    *,
    base: str,
) -> None:
    """Fills an empty folder, the manifest last.

    Args:
        base: what an adapter stands on, or the weights that training started from, as libraries name it.
    """
    backbone.model.save_pretrained(draft)
    if manifest.kind == "adapter":
        rename_dora_lengths(draft)
    if manifest.kind == "full" and len(manifest.dims) > 1:
        _note_dims(draft / "config.json", manifest.dims)
    backbone.save_reading_files(draft, manifest.inputs)
    write_sentence_transformers_files(
        draft, dim=manifest.dim, inputs=manifest.inputs, template_settings=dict(backbone.template_settings)
    )
    (draft / "recipe.json").write_text(json.dumps(recipe, indent=1) + "\n", encoding="utf-8")
    (draft / RUN_RECORD).write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    (draft / MODEL_CARD).write_text(model_card(manifest, metrics, base=base), encoding="utf-8")
    write_manifest(draft, manifest)


def _note_dims(config_json: Path, dims: tuple[int, ...]) -> None:
    """Says under the keys that vLLM reads which prefixes of an embedding stand alone."""
    config = json.loads(config_json.read_text(encoding="utf-8"))
    config |= {"is_matryoshka": True, "matryoshka_dimensions": list(dims)}
    config_json.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _open(
    folder: Path, manifest: Manifest, *, dtype: torch.dtype, device: torch.device, is_trainable: bool
) -> Backbone:
    if manifest.kind == "adapter":
        backbone = _open_adapter(folder, manifest, dtype=dtype, device=device, is_trainable=is_trainable)
    else:
        backbone = open_backbone(manifest.weights_folder(folder), dtype=dtype, device=device)
    if backbone.dim != manifest.dim:
        raise DataError(
            f"checkpoint {folder} says width {manifest.dim} of backbone {manifest.backbone!r}, but its weights have "
            f"{backbone.dim}: they are of another backbone; copy the folder again or train again"
        )
    return backbone


def _open_adapter(
    folder: Path, manifest: Manifest, *, dtype: torch.dtype, device: torch.device, is_trainable: bool
) -> Backbone:
    from peft import PeftModel

    base = manifest.weights_folder(folder)
    if not base.is_dir():
        raise IncompleteArtifact(
            f"checkpoint {folder} is an adapter on {base}, which is not there; move both together, or merge them where "
            "they are (python -m training_kernels.export) and copy the result"
        )
    if identity(base) != manifest.base_identity:
        raise IncompleteArtifact(
            f"checkpoint {folder} is an adapter on {base}, which has changed since; train again from it"
        )
    backbone = open_backbone(read_manifest(base).weights_folder(base), dtype=dtype, device=device)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Found missing adapter keys")
            backbone.model = PeftModel.from_pretrained(backbone.model, str(folder), is_trainable=is_trainable).eval()
    except (RuntimeError, ValueError, UserWarning) as error:
        if is_out_of_memory(error):
            raise
        raise DataError(
            f"the adapter in {folder} does not fit backbone {manifest.backbone!r}: {str(error)[:300]}; train again"
        ) from error
    return backbone


def _base_folder(folder: Path, manifest: Manifest) -> Path:
    """The folder that an adapter trained from here stands on."""
    return manifest.weights_folder(folder) if manifest.kind == "adapter" else folder.resolve()


def _base_name(base: Path, manifest: Manifest) -> str:
    """What other libraries load the base by: the hub's name, else the folder of its weights."""
    return (
        manifest.backbone if manifest.revision and manifest.kind == "backbone" else str(manifest.weights_folder(base))
    )
