"""Pictures as a backbone reads them: their fitted size before their pixels, and the pixels last used kept."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from training_kernels.backbones.backbone import Backbone
from training_kernels.collate import RenderedPicture
from training_kernels.config import InputConfig
from training_kernels.errors import DataError
from training_kernels.images import NamingPictureSource, PictureSource, SizedPictureSource

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

        Raises DataError, with the picture and, where the source knows them, the documents that hold it, if the source
        lacks it or the backbone cannot read its shape.
        """
        if digest not in self._pixels_by_digest and isinstance(source, SizedPictureSource):
            with _named(digest, source):
                size = source.size(digest)
                height, width = self.backbone.fitted_size(
                    *size, min_pixels=self.inputs.min_pixels, max_pixels=self.inputs.max_pixels
                )
        else:
            height, width = self._pixels(digest, source).shape[:2]
        return RenderedPicture(digest, height, width, source)

    def pixels(self, picture: RenderedPicture) -> np.ndarray:
        """uint8 [height, width, 3]. Raises DataError if the source lacks the picture."""
        return self._pixels(picture.digest, picture.source)

    def forget(self) -> None:
        """Lets go of all pixels kept."""
        self._pixels_by_digest.clear()
        self._bytes = 0

    def _pixels(self, digest: str, source: PictureSource) -> np.ndarray:
        pixels = self._pixels_by_digest.pop(digest, None)
        if pixels is None:
            with _named(digest, source):
                pixels = self.backbone.fit_picture(
                    source.open(digest), min_pixels=self.inputs.min_pixels, max_pixels=self.inputs.max_pixels
                )
            self._bytes += pixels.nbytes
        self._pixels_by_digest[digest] = pixels
        while self._bytes > PICTURE_CACHE_BYTES:
            _, oldest = self._pixels_by_digest.popitem(last=False)
            self._bytes -= oldest.nbytes
        return pixels


@contextmanager
def _named(digest: str, source: PictureSource) -> Iterator[None]:
    """Has an error say which picture it is about, and whose."""
    try:
        yield
    except DataError as error:
        told = str(error) if digest in str(error) else f"picture {digest}: {error}"
        holders = f"{source.holders(digest)}: " if isinstance(source, NamingPictureSource) else ""
        raise DataError(f"{holders}{told}") from error
