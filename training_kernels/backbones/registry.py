"""Which backbones there are, and the folder that each is loaded from."""

import hashlib
import json
from pathlib import Path

import torch
from transformers.utils.logging import disable_progress_bar

from training_kernels.backbones.backbone import Backbone
from training_kernels.backbones.cpu_linear import use_fast_linears
from training_kernels.backbones.qwen2_5_vl import Qwen25VLBackbone, is_qwen2_5_vl
from training_kernels.backbones.tiny import TINY_SEED, ensure_tiny
from training_kernels.errors import ConfigError, IncompleteArtifact
from training_kernels.manifest import Manifest, committed_once, read_manifest, write_manifest
from training_kernels.recipes import nyx_paper
from training_kernels.tokenizer import TINY

disable_progress_bar()  # a bar redrawn thousands of times fills captured logs; weights load in seconds


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
    """The backbone in a folder of the hub's layout. Raises ConfigError for an architecture that is not known."""
    _require_known(weights)
    backbone = Qwen25VLBackbone(weights, dtype=dtype, device=device)
    use_fast_linears(backbone.model)
    return backbone


def _require_known(weights: Path) -> None:
    if not (weights / "config.json").is_file() or not is_qwen2_5_vl(weights):
        raise ConfigError(f"{weights} has no config.json of a known backbone; known: qwen2_5_vl")


def _pretrained_manifest(name: str, weights: Path) -> Manifest:
    """A pretrained backbone reads as the paper's recipe says, until a training recipe says otherwise."""
    _require_known(weights)
    config = json.loads((weights / "config.json").read_text(encoding="utf-8"))
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
    )


def _hub_snapshot(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.jinja"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise ConfigError(
            f"backbone {name!r} is neither {TINY!r}, a folder, nor a model of the hub that can be reached: {error}"
        ) from error
