"""Embedders from checkpoint folders, by the training kernels, on the device of this process."""

import gc
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from resources.embedder import Side
from training_kernels.documents import Document
from training_kernels.images import PictureFolder

if TYPE_CHECKING:
    from training_kernels.encoder import Encoder


class CheckpointEmbedder:
    """One opened folder; its pictures come from one content-addressed folder."""

    reads_pictures = True

    def __init__(self, encoder: "Encoder", pictures: PictureFolder) -> None:
        self.encoder, self.pictures = encoder, pictures

    @property
    def dim(self) -> int:
        return self.encoder.dim

    @property
    def dims(self) -> tuple[int, ...]:
        return self.encoder.dims

    def embed(self, documents: Sequence[Document], *, side: Side) -> np.ndarray:
        return self.encoder.encode(documents, self.pictures, side=side)


class CheckpointEmbedders:
    """Opens checkpoint and backbone folders.

    Args:
        cache_root: local folder under which backbones are made or noted.
        backbone: name known to training_kernels.backbones, a folder in the hub's layout, or a hub name.
        images_root: root of the content-addressed picture folder.
        vision_cache_bytes: most bytes under `cache_root` for what vision towers made of pictures; 0: nothing is kept.
        take_device: called before anything is loaded, to choose this process's device.
    """

    def __init__(
        self,
        cache_root: str,
        backbone: str,
        images_root: str,
        *,
        vision_cache_bytes: int = 0,
        take_device: Callable[[], None] = lambda: None,
    ) -> None:
        self.cache_root, self.backbone, self.images_root = cache_root, backbone, images_root
        self.vision_cache_bytes, self.take_device = vision_cache_bytes, take_device
        self._last: tuple[tuple[str, str], CheckpointEmbedder] | None = None

    @cached_property
    def pictures(self) -> PictureFolder:
        """Where the pictures of all documents lie."""
        return PictureFolder(self.images_root)

    def untrained(self) -> str:
        from training_kernels.backbones.registry import backbone_folder

        return str(backbone_folder(self.backbone, self.cache_root))

    def open(self, folder: str) -> CheckpointEmbedder:
        """The embedder of a folder; the one opened last stays loaded, since partitions come one after the other."""
        from training_kernels.device import pick_device
        from training_kernels.encoder import Encoder
        from training_kernels.vision_cache import opened_cache

        self.take_device()
        wanted = (folder, str(pick_device()))
        if self._last is None or self._last[0] != wanted:
            self.release()  # before the next is loaded: two backbones may not fit the device
            vision_cache = opened_cache(Path(self.cache_root), max_bytes=self.vision_cache_bytes)
            self._last = (wanted, CheckpointEmbedder(Encoder.load(folder, vision_cache=vision_cache), self.pictures))
        return self._last[1]

    def release(self) -> None:
        if self._last is None:
            return
        import torch

        self._last = None
        gc.collect()  # of what refers to itself
        torch.cuda.empty_cache()  # for other processes too, as torchrun's are
