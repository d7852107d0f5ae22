"""Pictures of made things: cloth, beads, gears, a triangle with its measures."""

import math
from dataclasses import dataclass
from typing import ClassVar

from PIL import Image

from sample_crawl.canvas import BRIGHT, COLOURS, INK, PAPER, SOFT_INK, Canvas, Point, on_circle

GAME_COLOURS = tuple(colour for colour in BRIGHT if colour != "brown")
"""Colours of things that lie on wood or paper."""


@dataclass(frozen=True, slots=True)
class Cloth:
    """A woven swatch: `rows` is the repeat, '#' where the warp lies on top and '.' where the weft does."""

    suffix: ClassVar[str] = "png"
    rows: tuple[str, ...]
    warp: str
    weft: str

    def draw(self) -> Image.Image:
        canvas = Canvas(268, 268)
        side = 20
        for y in range(12):
            for x in range(12):
                is_warp = self.rows[y % len(self.rows)][x % len(self.rows[0])] == "#"
                left, top = 14 + x * side, 14 + y * side
                canvas.rectangle((left, top, left + side, top + side), COLOURS[self.weft if is_warp else self.warp])
                # The thread on top is drawn a little raised: long along its own direction, short across.
                inset = (2.5, 0, -2.5, 0) if is_warp else (0, 2.5, 0, -2.5)
                box = (left + inset[0], top + inset[1], left + side + inset[2], top + side + inset[3])
                canvas.rectangle(box, COLOURS[self.warp if is_warp else self.weft], radius=3)
        canvas.rectangle((12, 12, 256, 256), outline=SOFT_INK, width=2)
        return canvas.picture()


@dataclass(frozen=True, slots=True)
class BeadString:
    """Beads on a cord, colours from left to right."""

    suffix: ClassVar[str] = "jpg"
    colours: tuple[str, ...]

    def draw(self) -> Image.Image:
        gap = 34
        canvas = Canvas(gap * len(self.colours) + 60, 160)
        points = [
            (30 + gap * (place + 0.5), 54 + 40 * math.sin(math.pi * (place + 0.5) / len(self.colours)))
            for place in range(len(self.colours))
        ]
        canvas.line([(6, 40), *points, (canvas.width - 6, 40)], COLOURS["brown"], width=2.5)
        for point, colour in zip(points, self.colours, strict=True):
            canvas.circle(point, 16, COLOURS[colour], outline=INK, width=1.2)
            canvas.circle((point[0] - 5, point[1] - 6), 3.6, "#FFFFFF")
        return canvas.picture()


@dataclass(frozen=True, slots=True)
class GearTrain:
    """Gears in mesh from left to right, each with its number of teeth; the first one is driven."""

    suffix: ClassVar[str] = "png"
    teeth: tuple[int, ...]
    colours: tuple[str, ...]

    def draw(self) -> Image.Image:
        width, margin, tooth = 440, 26, 7
        pitch = (width - 2 * margin - 2 * tooth) / (2 * sum(self.teeth))  # radius of the pitch circle per tooth
        height = round(2 * pitch * max(self.teeth) + 2 * tooth + 64)
        canvas = Canvas(width, height)
        x, turn = margin + tooth + pitch * self.teeth[0], 0.0
        for place, (teeth, colour) in enumerate(zip(self.teeth, self.colours, strict=True)):
            centre, radius = (x, height / 2), pitch * teeth
            self._draw_gear(canvas, centre, radius, teeth, turn, COLOURS[colour])
            canvas.circle(centre, 5, INK)
            canvas.text((x, height / 2 + 19), str(teeth), size=15, colour=PAPER)
            if place + 1 < len(self.teeth):
                following = self.teeth[place + 1]
                # The tooth that points right must meet a gap: half a tooth off at the next gear's left side.
                phase = ((90 - turn) * teeth / 360) % 1
                turn = 270 + (phase + 0.5) * 360 / following
                x += pitch * (teeth + following)
        return canvas.picture()

    @staticmethod
    def _draw_gear(canvas: Canvas, centre: Point, radius: float, teeth: int, turn: float, colour: str) -> None:
        outline = []
        for tooth in range(teeth):
            for at, offset in ((-0.28, -5), (-0.15, 5), (0.15, 5), (0.28, -5)):
                outline.append(on_circle(centre, radius + offset, turn + (tooth + at) * 360 / teeth))
        canvas.polygon(outline, colour)


@dataclass(frozen=True, slots=True)
class RightTriangle:
    """A right-angled triangle drawn to scale, with the lengths of some sides written beside them."""

    suffix: ClassVar[str] = "png"
    base: int
    height: int
    hypotenuse: int
    is_hypotenuse_labelled: bool
    colour: str

    def draw(self) -> Image.Image:
        scale = min(280 / self.base, 200 / self.height)
        width, height = self.base * scale, self.height * scale
        canvas = Canvas(round(width) + 120, round(height) + 84)
        left, floor = 62, height + 36
        corners = [(left, floor), (left + width, floor), (left, floor - height)]
        canvas.polygon(corners, "#EFE6D0", outline=COLOURS[self.colour], width=3.5)
        canvas.rectangle((left, floor - 16, left + 16, floor), outline=COLOURS[self.colour], width=1.5)
        canvas.text((left + width / 2, floor + 20), f"{self.base} cm", size=16)
        canvas.text((left - 32, floor - height / 2), f"{self.height} cm", size=16)
        label = f"{self.hypotenuse} cm" if self.is_hypotenuse_labelled else "?"
        canvas.text((left + width / 2 + 30, floor - height / 2 - 16), label, size=16)
        return canvas.picture()
