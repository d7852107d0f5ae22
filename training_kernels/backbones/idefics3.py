"""Idefics3 and SmolVLM (256M to 8B) as a backbone, by transformers' own model and PIL picture rules.

A picture is one square tile: splitting into tiles is off. Choice: SmolVLM's 512 x 512 are 64 visual tokens; its own
splitting makes up to 17 tiles, 1,100 tokens, of one picture, beyond what the recipes' pixel budgets allow.

Shape letters: B sequences, T tokens of the longest, V visual tokens of one picture, D width.
"""

from collections.abc import Mapping, Sequence
from math import isqrt
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from training_kernels.backbones.loading import bare_model, load_model
from training_kernels.backbones.reading_files import write_reading_files
from training_kernels.collate import TokenSequence, pad_right
from training_kernels.config import InputConfig
from training_kernels.errors import ConfigError
from training_kernels.tokenizer import load_text_tokenizer

EMBEDDING_TOKEN = "<end_of_utterance>"
"""Choice: these models end a turn with it; their end-of-text token is not the same in every size."""


class Idefics3Backbone:
    """Loaded by from_pretrained from a folder in the hub's layout."""

    lora_targets = r".*text_model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"
    vision_targets = (
        r".*vision_model\.encoder\.layers\.\d+\.(self_attn\.([qkv]|out)_proj|mlp\.fc[12])"
        r"|.*connector\.modality_projection\.proj"
    )

    template_settings: Mapping[str, bool] = MappingProxyType({})
    """Nothing: this processor cannot tell a literal "<image>" on a page from a picture."""

    def __init__(self, folder: Path, *, dtype: torch.dtype, device: torch.device) -> None:
        self.folder = folder
        self.model: Any = load_model(folder, dtype=dtype, device=device)
        self.config: Any = self.model.config
        self.device = device
        self.tokenizer = load_text_tokenizer(str(folder))
        self.processor = Idefics3ImageProcessorPil.from_pretrained(folder)
        self.embedding_token = self.tokenizer.special_id(EMBEDDING_TOKEN)
        self.image_token = self.tokenizer.special_id("<image>")
        self.around_picture = self.tokenizer.special_id("<fake_token_around_image>")
        self.whole_picture = self.tokenizer.special_id("<global-img>")

    @property
    def dim(self) -> int:
        return self.config.text_config.hidden_size

    @property
    def token_side(self) -> int:
        """Pixels along one side of a visual token: the connector shuffles a square of patches into one token."""
        return self.config.vision_config.patch_size * self.config.scale_factor

    @property
    def vision(self) -> torch.nn.Module:
        bare = bare_model(self.model)
        return torch.nn.ModuleList([bare.vision_model, bare.connector])

    def tile_side(self, *, min_pixels: int, max_pixels: int) -> int:
        """Side of every picture in pixels: the largest whole number of visual tokens in the pixel budget.

        Never beyond the side that the vision tower was made for. Raises ConfigError where the budget has no room.
        """
        largest = self.config.vision_config.image_size // self.token_side
        side = min(isqrt(max_pixels) // self.token_side, largest) * self.token_side
        if side == 0 or side**2 < min_pixels:
            raise ConfigError(
                f"the pixel budget {min_pixels} to {max_pixels} has no square of at most {largest * self.token_side} "
                f"pixels a side and a multiple of {self.token_side}, which {self.config.model_type} reads; change "
                "min_pixels or max_pixels"
            )
        return side

    def fitted_size(self, height: int, width: int, *, min_pixels: int, max_pixels: int) -> tuple[int, int]:
        side = self.tile_side(min_pixels=min_pixels, max_pixels=max_pixels)
        return side, side

    def fit_picture(self, picture: Image.Image, *, min_pixels: int, max_pixels: int) -> np.ndarray:
        side = self.tile_side(min_pixels=min_pixels, max_pixels=max_pixels)
        return np.asarray(picture.convert("RGB").resize((side, side), Image.Resampling(self.processor.resample)))

    def picture_tokens(self, height: int, width: int) -> tuple[list[int], int]:
        num_tokens = height * width // self.token_side**2
        tile = [self.whole_picture, *[self.image_token] * num_tokens]
        return [self.around_picture, *tile, self.around_picture], 2

    def max_picture_tokens(self, *, min_pixels: int, max_pixels: int) -> int:
        return self.tile_side(min_pixels=min_pixels, max_pixels=max_pixels) ** 2 // self.token_side**2 + 3

    def vision_features(self, pictures: Sequence[np.ndarray]) -> list[Tensor]:
        if not pictures:
            return []
        pixels_N3HW = torch.stack([self._normalised(pixels) for pixels in pictures])
        output = bare_model(self.model).get_image_features(pixels_N3HW.unsqueeze(1), return_dict=True)
        return list(output.pooler_output)

    def last_hidden_states(self, sequences: Sequence[TokenSequence], features: Sequence[Tensor]) -> Tensor:
        token_ids_BT, length_B = pad_right(sequences, pad_id=self.embedding_token)
        by_picture: Any = tuple(features)
        vision = {"image": BaseModelOutputWithPooling(pooler_output=by_picture)} if features else {}
        # No attention mask: padding stands on the right and attention is causal, so no real token ever sees it.
        hidden_BTD = self.model(
            input_ids=token_ids_BT.to(self.device), use_cache=False, mm_encoder_outputs=vision
        ).last_hidden_state
        return hidden_BTD[torch.arange(len(sequences), device=self.device), length_B.to(self.device) - 1]

    def save_reading_files(self, folder: Path, inputs: InputConfig) -> None:
        side = self.tile_side(min_pixels=inputs.min_pixels, max_pixels=inputs.max_pixels)
        write_reading_files(
            folder,
            source=self.folder,
            processor_class="Idefics3Processor",
            picture_processor={
                "image_processor_type": "Idefics3ImageProcessorPil",
                "do_convert_rgb": True,
                "do_resize": True,
                "size": {"height": side, "width": side},
                "max_image_size": {"longest_edge": side},
                "do_image_splitting": False,
                "resample": int(self.processor.resample),
                "do_rescale": True,
                "rescale_factor": self.processor.rescale_factor,
                "do_normalize": True,
                "image_mean": list(self.processor.image_mean),
                "image_std": list(self.processor.image_std),
                "do_pad": True,
            },
            processor_settings={"image_seq_len": (side // self.token_side) ** 2},
            picture="<image>",
            embedding_token=EMBEDDING_TOKEN,
            named_tokens={},
        )

    def _normalised(self, pixels: np.ndarray) -> Tensor:
        """float32 [3, height, width], on the model's device."""
        mean_3 = torch.tensor(self.processor.image_mean, device=self.device)
        std_3 = torch.tensor(self.processor.image_std, device=self.device)
        scaled_HW3 = torch.tensor(pixels, device=self.device) * self.processor.rescale_factor
        return ((scaled_HW3 - mean_3) / std_3).permute(2, 0, 1)
