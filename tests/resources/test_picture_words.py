"""A picture's format and colours in words."""

import pytest
from PIL import Image

from resources.picture_words import COLOURS, in_words


@pytest.mark.parametrize("name", COLOURS)
def test_a_plain_picture_is_called_by_its_colour(name: str) -> None:
    assert in_words(Image.new("RGB", (50, 50), COLOURS[name])) == f"A square picture, mostly {name}."


def test_colours_come_by_their_share_and_details_are_left_out() -> None:
    picture = Image.new("RGB", (32, 64), COLOURS["blue"])
    picture.paste(COLOURS["white"], (0, 0, 32, 20))
    picture.paste(COLOURS["red"], (0, 60, 8, 64))
    assert in_words(picture) == "A tall picture, mostly blue, with white."
