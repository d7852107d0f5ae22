"""The backbone seam: a VLM that turns token sequences with pictures into hidden states."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image
from torch import Tensor

from training_kernels.collate import TokenSequence
from training_kernels.tokenizer import TextTokenizer


class Backbone(Protocol):
    """Weights, tokenizer and picture processing of one VLM.

    Shape letters: B sequences, T tokens of the longest, D width.
    """

    model: Any
    """The torch module, bare or wrapped by an adapter of peft; from_pretrained of either kind loads what it saves."""
    tokenizer: TextTokenizer
    lora_targets: str
    """Regex of the names of the modules that a LoRA adapter goes on: the language model's linear layers."""

    @property
    def dim(self) -> int:
        """Width of a hidden state."""
        ...

    @property
    def embedding_token(self) -> int:
        """Id of the token that is appended to every sequence; its last hidden state is the embedding."""
        ...

    def fit_picture(self, picture: Image.Image, *, min_pixels: int, max_pixels: int) -> np.ndarray:
        """uint8 [height, width, 3]: the picture scaled into the pixel budget."""
        ...

    def picture_tokens(self, pixels: np.ndarray) -> tuple[list[int], int]:
        """Token ids that stand for a fitted picture, and the position of its first visual token among them."""
        ...

    def max_picture_tokens(self, max_pixels: int) -> int:
        """Tokens of the largest picture that the pixel budget allows."""
        ...

    def hidden_states(self, sequences: Sequence[TokenSequence]) -> Tensor:
        """Last-layer hidden states [B, T, D], with the gradient graph where gradients are on; padding on the right."""
        ...

    def save_reading_files(self, folder: Path) -> None:
        """Writes tokenizer and picture processor, so that the folder loads without the one it came from."""
        ...
