"""Qwen3-VL (2B upwards) as a backbone: Qwen2.5-VL's reading of documents, with features of several vision layers.

Interleaved M-RoPE and the adding of the deeper features between language layers are transformers' own forward.

Shape letters: P pictures, V visual tokens of one picture, D width, L levels: the last vision layer and the deeper features.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures
from transformers.vision_utils import get_vision_interpolation_indices_and_weights, get_vision_position_ids

from training_kernels.backbones.loading import bare_model
from training_kernels.backbones.qwen2_5_vl import Qwen25VLBackbone


class Qwen3VLBackbone(Qwen25VLBackbone):
    """A picture's features are [V, L x D]: what the language model's input gets, then what its first layers get."""

    vision_targets = (
        r".*visual\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.linear_fc[12])"
        r"|.*visual\.(merger|deepstack_merger_list\.\d+)\.linear_fc[12]"
    )

    def vision_features(self, pictures: Sequence[np.ndarray]) -> list[Tensor]:
        if not pictures:
            return []
        output = self._vision_output(pictures)
        levels = [output.pooler_output, *output.deepstack_features]
        return [torch.cat(level, dim=-1) for level in zip(*levels, strict=True)]

    def _vision_layout(self, grids: Sequence[tuple[int, int]]) -> dict[str, Any]:
        tower = bare_model(self.model).visual
        grid_P3 = torch.tensor([(1, *grid) for grid in grids])
        indices, weights = get_vision_interpolation_indices_and_weights(
            grid_P3,
            num_grid_per_side=tower.num_grid_per_side,
            mode=tower.interpolation_mode,
            align_corners=tower.interpolation_align_corners,
            spatial_merge_size=tower.spatial_merge_size,
        )
        positions = get_vision_position_ids(grid_P3, tower.spatial_merge_size)
        return {
            "interp_indices": indices.to(self.device),
            "interp_weights": weights.to(self.device),
            "position_ids": positions.to(self.device),
        }  # no windows; of where a picture ends only numbers are read

    def _as_vision_output(self, features: Sequence[Tensor]) -> Any:
        split = [picture_VD.split(self.dim, dim=-1) for picture_VD in features]
        levels: Any = (tuple(level) for level in zip(*split, strict=True))
        first, *deeper = levels
        return BaseModelOutputWithDeepstackFeatures(pooler_output=first, deepstack_features=deeper)
