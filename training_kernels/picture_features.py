"""What a frozen vision tower made of a batch's pictures, for both passes: so much of it on the device, the rest beside."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from training_kernels.collate import RenderedPicture

FeaturesByPicture = dict[RenderedPicture, Tensor]
"""What the vision tower makes of each picture, [V, F]."""


class SharedFeatures:
    """Features of pictures; each is found on the device where it was made, with the bits that it had.

    Args:
        max_bytes: most bytes that stay on the device; features beyond wait in host memory, and whoever asks for them gets
            a copy that goes with its last use. On a CPU device and host are one memory.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self.max_bytes, self.device_bytes = max_bytes, 0
        self.on_device: FeaturesByPicture = {}
        self.on_host: dict[RenderedPicture, tuple[Tensor, torch.device]] = {}

    def of(self, pictures: Iterable[RenderedPicture]) -> FeaturesByPicture:
        """What is known of these pictures, on the device."""
        found = {}
        for picture in dict.fromkeys(pictures):
            if picture in self.on_device:
                found[picture] = self.on_device[picture]
            elif picture in self.on_host:
                features, device = self.on_host[picture]
                found[picture] = features.to(device, non_blocking=True)
        return found

    def keep(self, made: Mapping[RenderedPicture, Tensor]) -> None:
        """Takes up features of pictures that were not known."""
        for picture, features in made.items():
            if self.device_bytes + features.nbytes <= self.max_bytes:
                self.device_bytes += features.nbytes
                self.on_device[picture] = features.clone()  # a slice would hold those of its whole pass
            else:
                self.on_host[picture] = on_host(features), features.device


def on_host(features: Tensor) -> Tensor:
    """A copy in host memory; of what lies on a GPU in pinned memory, from which it is brought back fastest."""
    return torch.empty(features.shape, dtype=features.dtype, pin_memory=features.is_cuda).copy_(features)
