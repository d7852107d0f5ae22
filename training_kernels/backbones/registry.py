"""Which backbones there are, and the folder that each is loaded from."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from training_kernels.backbones.backbone import Backbone
from training_kernels.backbones.cpu_linear import use_fast_linears
from training_kernels.backbones.idefics3 import Idefics3Backbone
from training_kernels.backbones.qwen2_5_vl import Qwen25VLBackbone
from training_kernels.backbones.qwen3_vl import Qwen3VLBackbone
from training_kernels.backbones.tiny import TINY_SEED, ensure_tiny
from training_kernels.errors import ConfigError, IncompleteArtifact
from training_kernels.manifest import Manifest, committed_once, read_manifest, write_manifest
from training_kernels.recipes import nyx_paper
from training_kernels.tokenizer import TINY

disable_progress_bar()  # a bar redrawn thousands of times fills captured logs; weights load in seconds

BACKBONE_BY_MODEL_TYPE: dict[str, Callable[..., Backbone]] = {
    "qwen2_5_vl": Qwen25VLBackbone,
    "qwen3_vl": Qwen3VLBackbone,
    "idefics3": Idefics3Backbone,
    "smolvlm": Idefics3Backbone,
}
"""By `model_type` in config.json. To add one: a file beside this one behind the Protocol in backbone.py, and a line."""


def backbone_folder(name: str, cache_root: str | Path) -> Path:
    """The complete folder of an untrained backbone under `cache_root`: the tiny one, a folder in the hub's layout, or a
    hub name.

    Weights that lie elsewhere already are named by the manifest, not copied. Raises ConfigError for a name that is
    neither, and for an architecture that is not known.
    """
    root = Path(cache_root)
    if name == TINY:
        return ensure_tiny(root / TINY, seed=TINY_SEED)
    weights = Path(name).resolve() if Path(name).is_dir() else _hub_snapshot(name)
    folder = root / f"{weights.name}-{hashlib.sha256(str(weights).encode()).hexdigest()[:8]}"
    try:
        read_manifest(folder)
    except IncompleteArtifact:
        with committed_once(folder) as draft:
            write_manifest(draft, _pretrained_manifest(name, weights))
    return folder


def open_backbone(weights: Path, *, dtype: torch.dtype, device: torch.device) -> Backbone:
    """The backbone in a folder of the hub's layout, by the model_type of its config.json.

    Raises ConfigError for an architecture that is not known, DataError where the weights do not fill it.
    """
    backbone = BACKBONE_BY_MODEL_TYPE[_config(weights)["model_type"]](weights, dtype=dtype, device=device)
    use_fast_linears(backbone.model)
    return backbone


def _config(weights: Path) -> dict[str, Any]:
    """config.json of a known architecture."""
    known = ", ".join(sorted(BACKBONE_BY_MODEL_TYPE))
    path = weights / "config.json"
    if not path.is_file():
        raise ConfigError(f"{weights} has no config.json, so it is no backbone in the hub's layout; known: {known}")
    config = json.loads(path.read_text(encoding="utf-8"))
    model_type = config.get("model_type")
    if model_type not in BACKBONE_BY_MODEL_TYPE:
        raise ConfigError(f"{path} is of model_type {model_type!r}, which is no known backbone; known: {known}")
    return config


def _pretrained_manifest(name: str, weights: Path) -> Manifest:
    """A pretrained backbone reads as the paper's recipe says, until a training recipe says otherwise."""
    config = _config(weights)
    dim = config.get("text_config", config)["hidden_size"]
    paper = nyx_paper()
    return Manifest(
        kind="backbone",
        backbone=name,
        weights=str(weights),
        base_identity="",
        dim=dim,
        dims=(dim,),
        inputs=paper.inputs,
        precision=paper.precision,
        revision="" if Path(name).is_dir() else weights.name,  # the hub's cache names a snapshot by its commit
    )


def _hub_snapshot(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.jinja"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise ConfigError(
            f"backbone {name!r} is neither {TINY!r}, a folder, nor a model of the hub that can be reached: {error}; where "
            f"there is a network run `hf download {name}`, then copy the folder that it prints here and give its path"
        ) from error
