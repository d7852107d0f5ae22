"""The backbone seam: a VLM that turns pictures into features, and token sequences with features into hidden states."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from training_kernels.collate import TokenSequence
from training_kernels.config import InputConfig
from training_kernels.tokenizer import TextTokenizer


class Backbone(Protocol):
    """Weights, tokenizer and picture processing of one VLM.

    Shape letters: B sequences, D width, V visual tokens of one picture, F width of its features.
    """

    model: Any
    """The torch module, bare or wrapped by an adapter of peft; from_pretrained of either kind loads what it saves."""
    tokenizer: TextTokenizer
    lora_targets: str
    """Regex of the names of the modules that a LoRA adapter goes on: the language model's linear layers."""
    vision_targets: str
    """Regex of the linear layers of `vision`, which an adapter goes on as well where the recipe says so."""
    template_settings: Mapping[str, bool]
    """What transformers' processor of this backbone is told whenever it fills the folder's chat template."""

    @property
    def dim(self) -> int:
        """Width of a hidden state."""
        ...

    @property
    def embedding_token(self) -> int:
        """Id of the token that is appended to every sequence; its last hidden state is the embedding."""
        ...

    @property
    def vision(self) -> torch.nn.Module:
        """The vision tower with its projector: all that stands between pixels and `vision_features`."""
        ...

    def fitted_size(self, height: int, width: int, *, min_pixels: int, max_pixels: int) -> tuple[int, int]:
        """Height and width that `fit_picture` scales a picture of this size to, known without its pixels.

        Raises DataError for a shape that the backbone cannot read.
        """
        ...

    def fit_picture(self, picture: Image.Image, *, min_pixels: int, max_pixels: int) -> np.ndarray:
        """uint8 [height, width, 3]: the picture scaled into the pixel budget."""
        ...

    def picture_tokens(self, height: int, width: int) -> tuple[list[int], int]:
        """Token ids that stand for a picture of this fitted size, and the place of its first visual token among them."""
        ...

    def max_picture_tokens(self, *, min_pixels: int, max_pixels: int) -> int:
        """Most tokens that a picture takes at this pixel budget, whatever its shape."""
        ...

    def vision_features(self, pictures: Sequence[np.ndarray]) -> list[Tensor]:
        """What the vision tower makes of each fitted picture, [V, F], with the gradient graph where gradients are on.

        A picture's features do not depend on the others. A backbone that hands several levels to its language model
        puts them side by side in F.
        """
        ...

    def last_hidden_states(self, sequences: Sequence[TokenSequence], features: Sequence[Tensor]) -> Tensor:
        """Last-layer hidden state [B, D] of each sequence's last token, with the gradient graph where gradients are on.

        Args:
            features: `vision_features` of every picture of every sequence, in order.
        """
        ...

    def save_reading_files(self, folder: Path, inputs: InputConfig) -> None:
        """Writes tokenizer, picture processor and chat template, by which other libraries read documents the same."""
        ...
