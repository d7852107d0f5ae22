"""Qwen2.5-VL of any size as a backbone, by transformers' own model and PIL picture rules (no torchvision, no video).

Shape letters: B sequences, T tokens of the longest, D width, P patches of all pictures, N pictures of one size H x W.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil, smart_resize

from training_kernels.backbones.last_token import pool_in_last_layer
from training_kernels.backbones.loading import bare_model, load_model
from training_kernels.backbones.reading_files import write_reading_files
from training_kernels.backbones.vision_windows import attend_to_windows_together, vision_layout
from training_kernels.collate import TokenSequence, pad_right
from training_kernels.config import InputConfig
from training_kernels.errors import DataError
from training_kernels.tokenizer import load_text_tokenizer

PROCESSOR_CLASS = "PaddleOCRVLProcessor"
"""Class of transformers that fills a placeholder with a picture's visual tokens exactly as Qwen's own does, but asks for
no video processor. Choice: Qwen's own cannot be opened without torchvision (transformers 5.23)."""

EMBEDDING_TOKEN = "<|im_end|>"
"""The vocabulary's end-of-sequence token, as the paper says; its code appends none."""

MAX_ASPECT_RATIO = 200
"""Longer side over shorter side at which Qwen2.5-VL's own rule refuses a picture (transformers: smart_resize)."""


class Qwen25VLBackbone:
    """Loaded by from_pretrained from a folder in the hub's layout."""

    lora_targets = r".*language_model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"
    vision_targets = r".*visual\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.(gate|up|down)_proj)|.*visual\.merger\.mlp\.[02]"

    template_settings: Mapping[str, bool] = MappingProxyType({"sanitize_control_tokens": True})
    """A literal "<|image_pad|>" on a page is text, as the encoder reads it."""

    def __init__(self, folder: Path, *, dtype: torch.dtype, device: torch.device) -> None:
        self.folder = folder
        self.model: Any = load_model(folder, dtype=dtype, device=device)
        self.config: Any = self.model.config
        pool_in_last_layer(self.model)
        attend_to_windows_together(self.model)
        self.device = device
        self.tokenizer = load_text_tokenizer(str(folder))
        self.processor = Qwen2VLImageProcessorPil.from_pretrained(folder)
        self.embedding_token = self.tokenizer.special_id(EMBEDDING_TOKEN)
        self.pad_token = self.tokenizer.special_id("<|endoftext|>")
        self.image_token = self.tokenizer.special_id("<|image_pad|>")
        self.vision_start = self.tokenizer.special_id("<|vision_start|>")
        self.vision_end = self.tokenizer.special_id("<|vision_end|>")

    @property
    def dim(self) -> int:
        return self.config.text_config.hidden_size

    @property
    def token_side(self) -> int:
        """Pixels along one side of a visual token."""
        return self.processor.patch_size * self.processor.merge_size

    @property
    def vision(self) -> torch.nn.Module:
        return bare_model(self.model).visual

    def fitted_size(self, height: int, width: int, *, min_pixels: int, max_pixels: int) -> tuple[int, int]:
        if max(height, width) > MAX_ASPECT_RATIO * min(height, width):
            raise DataError(
                f"a picture of {width} x {height} pixels is more than {MAX_ASPECT_RATIO} times as long as wide; leave it "
                "out of the document"
            )
        return smart_resize(height, width, self.token_side, min_pixels, max_pixels)

    def fit_picture(self, picture: Image.Image, *, min_pixels: int, max_pixels: int) -> np.ndarray:
        height, width = self.fitted_size(picture.height, picture.width, min_pixels=min_pixels, max_pixels=max_pixels)
        fitted = picture.convert("RGB").resize((width, height), Image.Resampling(self.processor.resample))
        return np.asarray(fitted)

    def picture_tokens(self, height: int, width: int) -> tuple[list[int], int]:
        num_tokens = height * width // self.token_side**2
        return [self.vision_start, *[self.image_token] * num_tokens, self.vision_end], 1

    def max_picture_tokens(self, *, min_pixels: int, max_pixels: int) -> int:
        """The model's own rule keeps a picture's shape, no side shorter than a visual token, and rounds sides up where it
        enlarges: so the longest pictures take more than the budget where that is below MAX_ASPECT_RATIO tokens, 56 of 16
        and 113 of 64. Choice: left so, since every library that opens a checkpoint reads pictures by that rule.
        """
        least, most = (pixels / self.token_side**2 for pixels in (min_pixels, max_pixels))
        longest = math.sqrt(MAX_ASPECT_RATIO * most)  # one token high
        enlarged = (math.sqrt(least * MAX_ASPECT_RATIO) + 1) * (math.sqrt(least / MAX_ASPECT_RATIO) + 1)
        return math.floor(max(most, longest, enlarged)) + 2

    def vision_features(self, pictures: Sequence[np.ndarray]) -> list[Tensor]:
        return list(self._vision_output(pictures).pooler_output) if pictures else []

    def last_hidden_states(self, sequences: Sequence[TokenSequence], features: Sequence[Tensor]) -> Tensor:
        token_ids_BT, length_B = pad_right(sequences, pad_id=self.pad_token)
        position_ids_3BT = torch.zeros(3, *token_ids_BT.shape, dtype=torch.int64)
        for row, sequence in enumerate(sequences):
            position_ids_3BT[:, row, : length_B[row]] = torch.from_numpy(self.positions(sequence))
        vision = {"image": self._as_vision_output(features)} if features else {}
        # No attention mask: padding stands on the right and attention is causal, so no real token ever sees it.
        last_B = (length_B - 1).to(self.device)
        hidden_BTD = self.model(
            input_ids=token_ids_BT.to(self.device),
            position_ids=position_ids_3BT.to(self.device),
            use_cache=False,
            mm_encoder_outputs=vision,
            last_B=last_B,
        ).last_hidden_state
        if hidden_BTD.shape[1] == 1:  # pooled in the last layer
            return hidden_BTD[:, 0]
        return hidden_BTD[torch.arange(len(sequences), device=self.device), last_B]

    def positions(self, sequence: TokenSequence) -> np.ndarray:
        """M-RoPE positions int64 [3, T] of time, row and column.

        Text counts on in all three; a picture's tokens stand at one time, spread over rows and columns, and text goes
        on after its longer side. Source: Qwen2-VL, arXiv:2409.12191, section 2.1; equal to get_rope_index.
        """
        grids = [self._token_grid(picture.height, picture.width) for picture in sequence.pictures]
        position_3T = np.empty((3, len(sequence)), dtype=np.int64)
        token, position = 0, 0
        for start, (height, width) in zip(sequence.picture_starts, grids, strict=True):
            position_3T[:, token:start] = np.arange(position, position + start - token)
            position += start - token
            token = start + height * width
            row, column = np.divmod(np.arange(height * width), width)
            position_3T[:, start:token] = position + np.stack([np.zeros_like(row), row, column])
            position += max(height, width)
        position_3T[:, token:] = np.arange(position, position + len(sequence) - token)
        return position_3T

    def patches(self, pixels_NHW3: np.ndarray) -> Tensor:
        """float32 [P, channels x time x 14 x 14]: normalised patches of pictures of one size, 2 x 2 neighbours together.

        Normalised here, on the model's device, so that pictures are kept and moved as bytes.
        """
        patch, merge = self.processor.patch_size, self.processor.merge_size
        height, width = self._token_grid(*pixels_NHW3.shape[1:3])
        mean_3 = torch.tensor(self.processor.image_mean, device=self.device)
        std_3 = torch.tensor(self.processor.image_std, device=self.device)
        scaled_NHW3 = torch.tensor(pixels_NHW3, device=self.device) * self.processor.rescale_factor
        normal_NHW3 = (scaled_NHW3 - mean_3) / std_3
        blocks = normal_NHW3.reshape(-1, height, merge, patch, width, merge, patch, 3).permute(0, 1, 4, 2, 5, 7, 3, 6)
        repeats = self.processor.temporal_patch_size
        still = blocks.unsqueeze(6).expand(*[-1] * 6, repeats, -1, -1)  # a still picture fills every frame
        return still.reshape(len(pixels_NHW3) * height * width * merge**2, -1)

    def save_reading_files(self, folder: Path, inputs: InputConfig) -> None:
        write_reading_files(
            folder,
            source=self.folder,
            processor_class=PROCESSOR_CLASS,
            picture_processor={
                "image_processor_type": "Qwen2VLImageProcessorPil",
                "do_convert_rgb": True,
                "do_resize": True,
                "size": {"shortest_edge": inputs.min_pixels, "longest_edge": inputs.max_pixels},  # areas, by their rule
                "resample": int(self.processor.resample),
                "do_rescale": True,
                "rescale_factor": self.processor.rescale_factor,
                "do_normalize": True,
                "image_mean": list(self.processor.image_mean),
                "image_std": list(self.processor.image_std),
                "patch_size": self.processor.patch_size,
                "merge_size": self.processor.merge_size,
                "temporal_patch_size": self.processor.temporal_patch_size,
            },
            processor_settings={},
            picture="<|vision_start|><|image_pad|><|vision_end|>",
            embedding_token=EMBEDDING_TOKEN,
            named_tokens={"image_token": "<|image_pad|>"},
        )

    def _vision_output(self, pictures: Sequence[np.ndarray]) -> Any:
        side = self.processor.patch_size
        grids = [(pixels.shape[0] // side, pixels.shape[1] // side) for pixels in pictures]
        alike = [np.stack(list(group)) for _, group in groupby(pictures, key=np.shape)]
        return bare_model(self.model).get_image_features(
            torch.cat([self.patches(pixels_NHW3) for pixels_NHW3 in alike]),
            torch.tensor([(1, *grid) for grid in grids]),  # only its numbers are read, so it stays here
            **self._vision_layout(grids),
        )

    def _vision_layout(self, grids: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """What the tower need not work out of the pictures' sizes, patches down and across."""
        return vision_layout(grids, self.config.vision_config, device=self.device)

    def _as_vision_output(self, features: Sequence[Tensor]) -> Any:
        """What the model's own vision tower would have put out for pictures of these features."""
        by_picture: Any = tuple(features)
        return BaseModelOutputWithPooling(pooler_output=by_picture)

    def _token_grid(self, height: int, width: int) -> tuple[int, int]:
        return height // self.token_side, width // self.token_side
