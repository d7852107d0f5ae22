"""What a rule can say of a picture: its format and its colours. Stands in for a VLM's caption where there is none.

Shape letters: P pixels, C colour terms.
"""

from typing import Any

import numpy as np

SIDE = 32
"""Pixels a side that are looked at. Choice: a colour that covers a hundredth of the picture still counts."""
MIN_SHARE = 0.08
"""Choice: a colour below this share is a detail; less than one in the number of terms, so that one is always named."""
MAX_COLOURS = 4

COLOURS = {
    "black": (0, 0, 0),
    "grey": (128, 128, 128),
    "white": (255, 255, 255),
    "red": (200, 30, 30),
    "orange": (240, 140, 30),
    "yellow": (240, 220, 60),
    "green": (50, 150, 60),
    "turquoise": (60, 190, 190),
    "blue": (40, 80, 190),
    "purple": (130, 60, 160),
    "pink": (240, 150, 180),
    "brown": (120, 75, 40),
}
"""The basic colour terms, each by an RGB value in its middle."""


def in_words(picture: Any) -> str:
    """One sentence about a Pillow picture, e.g. "A wide picture, mostly blue, with white and green."."""
    width, height = picture.size
    shape = "wide" if width > 1.2 * height else "tall" if height > 1.2 * width else "square"
    pixel_P3 = np.asarray(picture.convert("RGB").resize((SIDE, SIDE)), dtype=np.int64).reshape(-1, 3)
    distance_PC = ((pixel_P3[:, None] - np.array(list(COLOURS.values()))) ** 2).sum(axis=2)
    number_C = np.bincount(distance_PC.argmin(axis=1), minlength=len(COLOURS))
    most = np.argsort(-number_C, kind="stable")[:MAX_COLOURS]
    names = [list(COLOURS)[place] for place in most if number_C[place] >= MIN_SHARE * len(pixel_P3)]
    others = f", with {' and '.join(names[1:])}" if names[1:] else ""
    return f"A {shape} picture, mostly {names[0]}{others}."
