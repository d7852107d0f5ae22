"""A picture's size is told from its header as a person sees it, turned pictures included."""

import numpy as np
import pytest
from PIL import ExifTags, Image

from training_kernels.errors import DataError
from training_kernels.images import PictureFolder, SizedPictureSource


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
def test_the_size_is_that_of_the_opened_picture(tmp_path, orientation):
    digest = "ab" * 32
    (tmp_path / "ab").mkdir()
    picture = Image.fromarray(np.zeros((30, 50, 3), dtype=np.uint8))
    exif = Image.Exif()
    if orientation is not None:
        exif[ExifTags.Base.Orientation] = orientation
    picture.save(tmp_path / "ab" / f"{digest}.jpg", exif=exif)
    folder = PictureFolder(str(tmp_path))
    opened = folder.open(digest)
    assert folder.size(digest) == (opened.height, opened.width)
    assert isinstance(folder, SizedPictureSource)


def test_a_missing_picture_is_named(tmp_path):
    with pytest.raises(DataError, match="picture cdcd"):
        PictureFolder(str(tmp_path)).size("cd" * 32)


def test_a_file_that_is_cut_off_is_named_when_its_pixels_are_wanted(tmp_path):
    digest = "ab" * 32
    path = tmp_path / "ab" / f"{digest}.jpg"
    path.parent.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (30, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-500])
    folder = PictureFolder(str(tmp_path))
    assert folder.size(digest) == (30, 50)
    with pytest.raises(
        DataError, match=f"picture {digest} cannot be read from {path}: OSError: image file is truncated"
    ):
        folder.open(digest)
