"""Which weights learn: an adapter put on by regex, all of them, or all but the vision tower's."""

import re
from pathlib import Path
from typing import Any

import torch

from training_kernels.backbones.backbone import Backbone
from training_kernels.config import FullTuning, LoraTuning
from training_kernels.errors import ConfigError


def put_lora_on(backbone: Backbone, tuning: LoraTuning) -> None:
    """Wraps the backbone's model in a fresh adapter, the only thing that learns from then on.

    Raises ConfigError where the targets match nothing, no linear layer, or the vision tower without saying so.
    """
    from peft import LoraConfig, get_peft_model

    targets = target_regex(backbone, tuning)
    _require_sound_targets(backbone, targets, tuning)
    lora = LoraConfig(
        r=tuning.rank,
        lora_alpha=tuning.alpha,
        lora_dropout=tuning.dropout,
        target_modules=targets,
        use_dora=tuning.is_dora,
        init_lora_weights="gaussian" if tuning.is_dora else True,
    )
    backbone.model = get_peft_model(backbone.model, lora)


def require_same_lora(backbone: Backbone, tuning: LoraTuning) -> None:
    """Raises ConfigError where the adapter to go on from is not the one that the recipe describes."""
    adapter = backbone.model.peft_config["default"]
    has = {
        "rank": adapter.r,
        "alpha": adapter.lora_alpha,
        "dropout": adapter.lora_dropout,
        "targets": adapter.target_modules,
        "is_dora": adapter.use_dora,
    }
    asked = {
        "rank": tuning.rank,
        "alpha": tuning.alpha,
        "dropout": tuning.dropout,
        "targets": target_regex(backbone, tuning),
        "is_dora": tuning.is_dora,
    }
    differing = [name for name in has if has[name] != asked[name]]
    if differing:
        raise ConfigError(
            f"the adapter to go on from has {_listed(has, differing)}, the recipe asks for {_listed(asked, differing)}; "
            "make them the same, or start from the base"
        )


def tune_fully(backbone: Backbone, tuning: FullTuning) -> None:
    """Lets the weights learn, in float32; an adapter is merged into them first."""
    if hasattr(backbone.model, "merge_and_unload"):
        backbone.model = backbone.model.merge_and_unload()
    backbone.model.float().requires_grad_(True)
    if not tuning.tunes_vision:
        backbone.vision.requires_grad_(False)


def rename_dora_lengths(folder: Path) -> None:
    """Renames DoRA's lengths in a folder that peft has written, so that transformers finds them too.

    transformers 5.23 looks for `lora_magnitude_vector.weight`, peft 0.21 writes it without `.weight` and reads either; where
    the name is missed, AutoModel and sentence-transformers go on with the lengths of the base, silently.
    """
    from safetensors.torch import load_file, save_file

    path = folder / "adapter_model.safetensors"
    weights = {
        f"{name}.weight" if name.endswith("lora_magnitude_vector") else name: weight
        for name, weight in load_file(path).items()
    }
    save_file(weights, path, {"format": "pt"})


def target_regex(backbone: Backbone, tuning: LoraTuning) -> str:
    """Regex of the whole names of the modules to adapt."""
    if tuning.targets:
        return tuning.targets
    return f"{backbone.lora_targets}|{backbone.vision_targets}" if tuning.tunes_vision else backbone.lora_targets


def _require_sound_targets(backbone: Backbone, targets: str, tuning: LoraTuning) -> None:
    matched = {name: module for name, module in backbone.model.named_modules() if re.fullmatch(targets, name)}
    if not matched:
        raise ConfigError(
            f"targets {targets!r} match no module of the backbone, such as {_some_linear(backbone.model)}"
        )
    others = [name for name, module in matched.items() if not isinstance(module, torch.nn.Linear)]
    if others:
        raise ConfigError(f"targets {targets!r} match {others[0]}, which is no linear layer; narrow the expression")
    of_vision = {id(module) for module in backbone.vision.modules()}
    seeing = [name for name, module in matched.items() if id(module) in of_vision]
    if seeing and not tuning.tunes_vision:
        raise ConfigError(
            f"targets {targets!r} match {len(seeing)} modules of the vision tower, such as {seeing[0]}; set tunes_vision "
            "if they shall learn, or narrow the expression"
        )


def _some_linear(model: torch.nn.Module) -> str:
    return next(name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear))


def _listed(values: dict[str, Any], names: list[str]) -> str:
    return ", ".join(f"{name} {values[name]!r}" for name in names)
