"""Floating-point operations that a training step asks for, counted from the model's layers and the documents' sizes.

What is counted is what any implementation must do: one forward pass; a backward pass by activations where something
learns further down; one by weights for those that learn. Not counted: padding, what is computed again to save memory,
normalisation, rotation and activations (under one per cent). A multiplication with its addition is two.

Attention is counted over all pairs of tokens, causal or not, as arXiv:2204.02311 (appendix B) and torch's FlopCounterMode
do. The last language layer is counted at the embedding token alone but for its keys and values, since no other of its
outputs is read.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from training_kernels.backbones.vision_windows import vision_layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the backbone reads in one step, each document once."""

    num_tokens: Sequence[int]
    """Of each document, visual tokens included."""
    grids: Sequence[tuple[int, int]]
    """Of each picture, patches down and across."""


def info_nce_flops(num_queries: int, num_candidates: int, width: int) -> int:
    """Of Matryoshka InfoNCE, forward and back: one product of full width, and its two gradients.

    Narrower dims are partial sums of the same product.
    """
    return 3 * 2 * num_queries * num_candidates * width


def step_flops(model: Any, reading: Reading) -> int:
    """Of one pass forward and back through a Qwen2.5-VL whose learning weights require gradients, bare or with adapters.

    Exact where the vision tower is frozen or all weights learn; an adapter on the tower is taken to reach its first layer.
    """
    return sum(_linear_flops(model, reading)) + _attention_flops(model, reading)


def _linear_flops(model: Any, reading: Reading) -> list[int]:
    vision_learns = _learns(model.visual)
    inputs_learn = vision_learns or _learns(model.language_model.embed_tokens)
    num_layers = len(model.language_model.layers)
    num_patches = sum(height * width for height, width in reading.grids)
    num_visual_tokens = num_patches // model.visual.spatial_merge_unit
    flops = []
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear | torch.nn.Conv3d):
            continue
        if name.startswith("visual.merger"):
            rows, back = num_visual_tokens, vision_learns
        elif name.startswith("visual."):
            rows, back = num_patches, vision_learns and not isinstance(module, torch.nn.Conv3d)
        else:
            layer = int(re.findall(r"layers\.(\d+)\.", name)[0])
            is_key_or_value = bool(re.search(r"\.[kv]_proj", name))
            rows = sum(reading.num_tokens) if layer < num_layers - 1 or is_key_or_value else len(reading.num_tokens)
            reads_inputs = layer == 0 and bool(re.search(r"\.[qkv]_proj", name)) and "lora_B" not in name
            back = inputs_learn or not reads_inputs
        flops.append(2 * rows * module.weight.numel() * (1 + back + module.weight.requires_grad))
    return flops


def _attention_flops(model: Any, reading: Reading) -> int:
    """Scores and sums of values: twice two products a pair of tokens; going back, twice as much."""
    text = model.config.text_config
    pairs = (text.num_hidden_layers - 1) * sum(length**2 for length in reading.num_tokens) + sum(reading.num_tokens)
    vision = model.config.vision_config
    vision_pairs = 0
    if reading.grids:
        layout = vision_layout(reading.grids, vision, device=torch.device("cpu"))
        num_whole = len(vision.fullatt_block_indexes)
        for ends, num_blocks in (("cu_seqlens", num_whole), ("cu_window_seqlens", vision.depth - num_whole)):
            vision_pairs += num_blocks * int(layout[ends].diff().long().square().sum())
    vision_factor = 3 if _learns(model.visual) else 1
    return 4 * (3 * pairs * text.hidden_size + vision_factor * vision_pairs * vision.hidden_size)


def _learns(module: torch.nn.Module) -> bool:
    return any(weight.requires_grad for weight in module.parameters())
