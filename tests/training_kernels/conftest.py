"""A tiny backbone made once, and pictures that are drawn where they are asked for."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from training_kernels.backbones.registry import backbone_folder
from training_kernels.tokenizer import TINY

torch.set_num_threads(1)


class DrawnPictures:
    """A picture source without files: each digest is a picture of its own size and noise, a function of the digest."""

    def open(self, digest: str) -> Image.Image:
        generator = np.random.default_rng(int.from_bytes(hashlib.sha256(digest.encode()).digest()[:8]))
        width, height = generator.integers(20, 300, size=2)
        return Image.fromarray(generator.integers(0, 255, (height, width, 3), dtype=np.uint8))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    return backbone_folder(TINY, tmp_path_factory.mktemp("backbones"))


@pytest.fixture(scope="session")
def pictures() -> DrawnPictures:
    return DrawnPictures()
