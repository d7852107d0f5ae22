"""Pictures as a backbone reads them: their fitted size before their pixels, and the pixels last used kept."""

from collections import OrderedDict

import numpy as np

from training_kernels.backbones.backbone import Backbone
from training_kernels.collate import RenderedPicture
from training_kernels.config import InputConfig
from training_kernels.images import PictureSource, SizedPictureSource

PICTURE_CACHE_BYTES = 256 * 2**20
"""Fitted pictures kept. Choice: 7,000 at the tiny pixel budget, 280 at the paper's."""


class FittedPictures:
    """Pictures scaled into the pixel budget, by one rule for training, indexing and search."""

    def __init__(self, backbone: Backbone, inputs: InputConfig) -> None:
        self.backbone, self.inputs = backbone, inputs
        self._pixels_by_digest: OrderedDict[str, np.ndarray] = OrderedDict()
        self._bytes = 0

    def render(self, digest: str, source: PictureSource) -> RenderedPicture:
        """The picture at its fitted size; only its header is read where the source can tell sizes.

        Raises DataError if the source lacks it or the backbone cannot read its shape.
        """
        if digest not in self._pixels_by_digest and isinstance(source, SizedPictureSource):
            height, width = self.backbone.fitted_size(
                *source.size(digest), min_pixels=self.inputs.min_pixels, max_pixels=self.inputs.max_pixels
            )
        else:
            height, width = self._pixels(digest, source).shape[:2]
        return RenderedPicture(digest, height, width, source)

    def pixels(self, picture: RenderedPicture) -> np.ndarray:
        """uint8 [height, width, 3]. Raises DataError if the source lacks the picture."""
        return self._pixels(picture.digest, picture.source)

    def _pixels(self, digest: str, source: PictureSource) -> np.ndarray:
        pixels = self._pixels_by_digest.pop(digest, None)
        if pixels is None:
            pixels = self.backbone.fit_picture(
                source.open(digest), min_pixels=self.inputs.min_pixels, max_pixels=self.inputs.max_pixels
            )
            self._bytes += pixels.nbytes
        self._pixels_by_digest[digest] = pixels
        while self._bytes > PICTURE_CACHE_BYTES:
            _, oldest = self._pixels_by_digest.popitem(last=False)
            self._bytes -= oldest.nbytes
        return pixels
