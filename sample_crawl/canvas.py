"""A drawing surface in picture pixels, drawn three times as large and shrunk, so that edges are smooth."""

import math
from collections.abc import Sequence
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

Point = tuple[float, float]
Box = tuple[float, float, float, float]

OVERSAMPLING = 3
"""Drawn pixels to a picture pixel and side: 9 grey levels at an edge, at 9 times the area."""

INK, SOFT_INK, PAPER, GRID = "#2E3440", "#6B7280", "#FBF8F1", "#E4DFD3"

COLOURS = {
    "red": "#C8453B",
    "orange": "#E08A3C",
    "yellow": "#EBC54E",
    "green": "#5B9A5F",
    "blue": "#3F6FB0",
    "purple": "#7B5BA6",
    "pink": "#DE93AE",
    "brown": "#8A5F43",
    "grey": "#8C9196",
    "black": "#2B2D33",
    "white": "#FFFFFF",
}
"""Every colour that a text may name. Far enough apart that a person gives each the same name."""

BRIGHT = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
"""Colours that stand out on paper."""


@lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


class Canvas:
    """A picture under construction. All lengths are pixels of the finished picture; y grows downwards."""

    def __init__(self, width: int, height: int, *, background: str = PAPER) -> None:
        self.width, self.height = width, height
        self._large = Image.new("RGB", (width * OVERSAMPLING, height * OVERSAMPLING), background)
        self._draw = ImageDraw.Draw(self._large)

    def rectangle(
        self, box: Box, fill: str | None = None, *, outline: str | None = None, width: float = 1, radius: float = 0
    ) -> None:
        """A box (left, top, right, bottom) with corners of that radius."""
        left, top, right, bottom = _scaled(box)
        # Pillow's right and bottom edges are included, ours are not.
        self._draw.rounded_rectangle(
            (left, top, max(left, right - 1), max(top, bottom - 1)),
            radius=radius * OVERSAMPLING,
            fill=fill,
            outline=outline,
            width=_pen(width),
        )

    def circle(
        self, centre: Point, radius: float, fill: str | None = None, *, outline: str | None = None, width: float = 1
    ) -> None:
        x, y = centre
        box = _scaled((x - radius, y - radius, x + radius, y + radius))
        self._draw.ellipse(box, fill=fill, outline=outline, width=_pen(width))

    def polygon(self, points: Sequence[Point], fill: str, *, outline: str | None = None, width: float = 1) -> None:
        self._draw.polygon(_flat(points), fill=fill)
        if outline:
            self.line([*points, points[0]], outline, width=width)

    def line(self, points: Sequence[Point], colour: str, *, width: float = 1.5) -> None:
        """A line through the points with round joints and ends."""
        self._draw.line(_flat(points), fill=colour, width=_pen(width), joint="curve")
        if width >= 3:
            for point in points:
                self.circle(point, width / 2, colour)

    def dashes(self, start: Point, end: Point, colour: str, *, width: float, dash: float = 7) -> None:
        """A straight dashed line; dashes and gaps are equally long."""
        length = math.dist(start, end)
        along = ((end[0] - start[0]) / length, (end[1] - start[1]) / length)
        for step in range(0, int(length / dash) + 1, 2):
            near, far = step * dash, min((step + 1) * dash, length)
            self.line(
                [
                    (start[0] + along[0] * near, start[1] + along[1] * near),
                    (start[0] + along[0] * far, start[1] + along[1] * far),
                ],
                colour,
                width=width,
            )

    def sector(self, centre: Point, radius: float, start: float, end: float, fill: str) -> None:
        """A slice of a disc between two angles in degrees, 0 at three o'clock and growing clockwise."""
        x, y = centre
        box = _scaled((x - radius, y - radius, x + radius, y + radius))
        self._draw.pieslice(box, start, end, fill=fill, outline=PAPER, width=_pen(1.5))

    def text(self, at: Point, words: str, *, size: int = 13, colour: str = INK, anchor: str = "mm") -> None:
        """Words on one line; `anchor` as in Pillow: l, m or r, then a, m or s."""
        x, y = at
        self._draw.text(
            (x * OVERSAMPLING, y * OVERSAMPLING), words, fill=colour, font=_font(size * OVERSAMPLING), anchor=anchor
        )

    def picture(self) -> Image.Image:
        """The finished picture in RGB."""
        return self._large.resize((self.width, self.height), Image.Resampling.BOX)


def on_circle(centre: Point, radius: float, degrees: float) -> Point:
    """The point of a circle at an angle, 0 at twelve o'clock and growing clockwise."""
    angle = math.radians(degrees)
    return centre[0] + radius * math.sin(angle), centre[1] - radius * math.cos(angle)


def _scaled(box: Box) -> Box:
    left, top, right, bottom = (round(side * OVERSAMPLING) for side in box)
    return left, top, right, bottom


def _flat(points: Sequence[Point]) -> list[tuple[float, float]]:
    return [(x * OVERSAMPLING, y * OVERSAMPLING) for x, y in points]


def _pen(width: float) -> int:
    return max(1, round(width * OVERSAMPLING))
