"""Pictures of places: lighthouses, flags, islands with a marked route, tram lines, figures of stars."""

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

from PIL import Image

from sample_crawl.canvas import COLOURS, INK, PAPER, SOFT_INK, Canvas, Point


@dataclass(frozen=True, slots=True)
class Tower:
    """A lighthouse at dusk: painted bands on white, lit windows, one beam to the left or right."""

    suffix: ClassVar[str] = "jpg"
    num_bands: int
    colour: str
    num_lit_windows: int
    beam: str

    def draw(self) -> Image.Image:
        canvas = Canvas(272, 384, background="#2F4A6D")
        for step in range(48):
            mix = step / 47
            sky = tuple(round(a + (b - a) * mix) for a, b in ((47, 226), (74, 160), (109, 128)))
            canvas.rectangle((0, step * 6, 272, step * 6 + 6), "#{:02X}{:02X}{:02X}".format(*sky))
        side = -1 if self.beam == "left" else 1
        canvas.polygon([(136, 68), (136 + side * 150, 34), (136 + side * 150, 104)], "#F2DFA0")
        canvas.rectangle((0, 286, 272, 384), "#35597A")
        for wave in range(5):
            canvas.line(
                [(20 + 54 * wave, 306 + 14 * (wave % 2)), (48 + 54 * wave, 306 + 14 * (wave % 2))], "#5F84A3", width=2
            )
        canvas.polygon([(44, 384), (82, 336), (122, 326), (178, 332), (216, 352), (240, 384)], "#4A4540")
        self._draw_shaft(canvas)
        canvas.rectangle((94, 88, 178, 95), INK, radius=2)
        canvas.rectangle((112, 52, 160, 88), "#FBE7A2", outline=INK, width=2)
        canvas.line([(136, 52), (136, 88)], INK, width=1.5)
        canvas.polygon([(106, 52), (136, 26), (166, 52)], COLOURS[self.colour], outline=INK, width=1.5)
        return canvas.picture()

    def _draw_shaft(self, canvas: Canvas) -> None:
        """The shaft narrows from 88 pixels at its foot to 56 under the gallery."""
        num_stripes = 2 * self.num_bands + 1
        height = (334 - 95) / num_stripes

        def half_width(y: float) -> float:
            return 28 + 16 * (y - 95) / (334 - 95)

        for stripe in range(num_stripes):
            top, bottom = 95 + stripe * height, 95 + (stripe + 1) * height
            corners = [
                (136 - half_width(top), top),
                (136 + half_width(top), top),
                (136 + half_width(bottom), bottom),
                (136 - half_width(bottom), bottom),
            ]
            canvas.polygon(corners, COLOURS[self.colour] if stripe % 2 else "#F7F3EA")
        for window in range(4):
            y = 120 + 46 * window
            fill = "#FFD85E" if window < self.num_lit_windows else "#394150"
            canvas.rectangle((128, y, 144, y + 22), fill, outline=INK, width=1.5, radius=4)
        canvas.rectangle((123, 304, 149, 334), "#5B3F2C", radius=4)


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag of stripes from the top or from the hoist at the left, or a cross whose upright stands near the hoist."""

    suffix: ClassVar[str] = "png"
    design: str
    """'horizontal', 'vertical' or 'cross' (field colour, then cross colour)."""
    paints: tuple[str, ...]
    """Paints as hexadecimal colours, in the order of the design."""

    def draw(self) -> Image.Image:
        canvas = Canvas(324, 224, background="#E9EDF0")
        left, top, width, height = 24, 22, 276, 180
        canvas.rectangle((left + 4, top + 5, left + width + 4, top + height + 5), "#C5CCD3")
        if self.design == "cross":
            canvas.rectangle((left, top, left + width, top + height), self.paints[0])
            canvas.rectangle((left + 84, top, left + 120, top + height), self.paints[1])
            canvas.rectangle((left, top + 72, left + width, top + 108), self.paints[1])
        for place, paint in enumerate(self.paints if self.design != "cross" else ()):
            if self.design == "horizontal":
                stripe = height / len(self.paints)
                canvas.rectangle((left, top + place * stripe, left + width, top + (place + 1) * stripe), paint)
            else:
                stripe = width / len(self.paints)
                canvas.rectangle((left + place * stripe, top, left + (place + 1) * stripe, top + height), paint)
        canvas.rectangle((left, top, left + width, top + height), outline="#9AA3AD", width=1)
        return canvas.picture()


@dataclass(frozen=True, slots=True)
class IslandMap:
    """An island with named places and a dashed route that visits some of them in order."""

    suffix: ClassVar[str] = "jpg"
    places: tuple[tuple[str, float, float], ...]
    """Name and position of each place, both coordinates from 0 to 1."""
    route: tuple[str, ...]
    route_colour: str
    shore: tuple[float, ...]
    """Radius of the shore in equal steps of angle, as a share of the largest."""

    def draw(self) -> Image.Image:
        canvas = Canvas(432, 336, background="#B9D6E3")
        canvas.polygon(self._shore(1.06), "#CFE4EC")
        canvas.polygon(self._shore(1.0), "#E6DFB8", outline="#A79C6E", width=2)
        canvas.polygon(self._shore(0.86), "#D5DDAE")
        at = {name: (76 + x * 280, 64 + y * 206) for name, x, y in self.places}
        for start, end in itertools.pairwise(self.route):
            canvas.dashes(at[start], at[end], COLOURS[self.route_colour], width=4)
        for name, point in at.items():
            is_start = name == self.route[0]
            canvas.circle(
                point, 7 if is_start else 5.5, COLOURS[self.route_colour] if is_start else PAPER, outline=INK, width=1.8
            )
            canvas.text((point[0], point[1] + 16), name, size=14)
        canvas.polygon([(404, 18), (412, 44), (404, 38), (396, 44)], INK)
        canvas.text((404, 56), "N", size=14)
        return canvas.picture()

    def _shore(self, share: float) -> list[Point]:
        """A closed curve through the shore's radii, smoothed by a cosine between neighbours."""
        points = []
        for degree in range(0, 360, 3):
            place = degree / 360 * len(self.shore)
            near, mix = int(place), (1 - math.cos(math.pi * (place % 1))) / 2
            radius = self.shore[near] * (1 - mix) + self.shore[(near + 1) % len(self.shore)] * mix
            angle = math.radians(degree)
            points.append((216 + 204 * share * radius * math.cos(angle), 168 + 154 * share * radius * math.sin(angle)))
        return points


@dataclass(frozen=True, slots=True)
class TramMap:
    """Two tram lines that cross at one stop: one drawn from left to right, one from top to bottom."""

    suffix: ClassVar[str] = "png"
    across: tuple[str, ...]
    down: tuple[str, ...]
    across_colour: str
    down_colour: str

    @property
    def interchange(self) -> str:
        """The stop that both lines serve."""
        return next(stop for stop in self.across if stop in self.down)

    def draw(self) -> Image.Image:
        canvas = Canvas(448, 336, background="#FFFFFF")
        step_x, step_y = 372 / (len(self.across) - 1), 264 / (len(self.down) - 1)
        crossing_x = 38 + step_x * self.across.index(self.interchange)
        crossing_y = 36 + step_y * self.down.index(self.interchange)
        canvas.line([(38, crossing_y), (410, crossing_y)], COLOURS[self.across_colour], width=9)
        canvas.line([(crossing_x, 36), (crossing_x, 300)], COLOURS[self.down_colour], width=9)
        for place, stop in enumerate(self.down):
            if stop != self.interchange:
                y = 36 + step_y * place
                canvas.circle((crossing_x, y), 6.5, "#FFFFFF", outline=INK, width=2)
                canvas.text((crossing_x + 14, y), stop, size=13, anchor="lm")
        for place, stop in enumerate(self.across):
            x = 38 + step_x * place
            if stop != self.interchange:
                canvas.circle((x, crossing_y), 6.5, "#FFFFFF", outline=INK, width=2)
                canvas.text((x, crossing_y + (22 if place % 2 else -22)), stop, size=13)
        canvas.circle((crossing_x, crossing_y), 11, "#FFFFFF", outline=INK, width=3)
        canvas.text((crossing_x + 15, crossing_y - 15), self.interchange, size=14, anchor="lm")
        return canvas.picture()


@dataclass(frozen=True, slots=True)
class StarFigure:
    """Stars joined into a figure; positions from 0 to 1; one star is larger and coloured."""

    suffix: ClassVar[str] = "png"
    stars: tuple[tuple[float, float], ...]
    joins: tuple[tuple[int, int], ...]
    brightest: int
    colour: str

    def draw(self) -> Image.Image:
        canvas = Canvas(320, 288, background="#1B2440")
        at = [(34 + x * 252, 32 + y * 224) for x, y in self.stars]
        for start, end in self.joins:
            canvas.line([at[start], at[end]], SOFT_INK, width=1.5)
        for place, point in enumerate(at):
            if place == self.brightest:
                canvas.circle(point, 13, "#2E3B63")
                canvas.circle(point, 8.5, COLOURS[self.colour])
            else:
                canvas.circle(point, 4.5, "#F4F1E4")
        return canvas.picture()
