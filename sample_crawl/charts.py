"""Pictures of numbers: bars, a line, a pie, a table. A chart is its data; the picture follows from it."""

from dataclasses import dataclass
from typing import ClassVar

from PIL import Image

from sample_crawl.canvas import COLOURS, GRID, INK, PAPER, SOFT_INK, Canvas


def round_top(value: float) -> int:
    """The least of 1, 2, 4, 5, 8, 10 times a power of ten that is not below the value: the top of an axis."""
    power = 1
    while True:
        for factor in (1, 2, 4, 5, 8):
            if factor * power >= value:
                return factor * power
        power *= 10


@dataclass(frozen=True, slots=True)
class BarChart:
    """Upright bars from zero, each with its value above."""

    suffix: ClassVar[str] = "png"
    left: ClassVar[int] = 48
    floor: ClassVar[int] = 244
    rise: ClassVar[int] = 176
    title: str
    labels: tuple[str, ...]
    values: tuple[int, ...]
    colours: tuple[str, ...]

    def bar_height(self, value: int) -> float:
        """Height of a bar in pixels."""
        return value / round_top(max(self.values)) * self.rise

    def draw(self) -> Image.Image:
        canvas = Canvas(420, 288)
        canvas.text((18, 24), self.title, size=17, anchor="lm")
        top = round_top(max(self.values))
        for quarter in range(5):
            y = self.floor - quarter * self.rise / 4
            canvas.line([(self.left, y), (404, y)], GRID, width=1)
            canvas.text((self.left - 8, y), f"{top * quarter / 4:g}", size=12, colour=SOFT_INK, anchor="rm")
        step = (404 - self.left) / len(self.values)
        for place, (label, value, colour) in enumerate(zip(self.labels, self.values, self.colours, strict=True)):
            middle, height = self.left + (place + 0.5) * step, self.bar_height(value)
            half = min(26, step * 0.32)
            canvas.rectangle((middle - half, self.floor - height, middle + half, self.floor), COLOURS[colour])
            canvas.text((middle, self.floor - height - 10), str(value), size=13)
            canvas.text((middle, self.floor + 16), label, size=13)
        canvas.line([(self.left, self.floor), (404, self.floor)], INK, width=1.5)
        return canvas.picture()


@dataclass(frozen=True, slots=True)
class LineChart:
    """Values over equal steps, each point with its value."""

    suffix: ClassVar[str] = "png"
    title: str
    labels: tuple[str, ...]
    values: tuple[int, ...]
    colour: str
    is_filled: bool

    def draw(self) -> Image.Image:
        canvas = Canvas(440, 280)
        canvas.text((18, 24), self.title, size=17, anchor="lm")
        low, high = min(self.values), max(self.values)
        floor, ceiling, left, right = 236, 74, 36, 410
        span = max(1, high - low)

        def y_of(value: float) -> float:
            return floor - 14 - (value - low) / span * (floor - 14 - ceiling)

        for quarter in range(4):
            y = floor - quarter * (floor - ceiling) / 3
            canvas.line([(left - 14, y), (right + 14, y)], GRID, width=1)
        step = (right - left) / (len(self.values) - 1)
        points = [(left + place * step, y_of(value)) for place, value in enumerate(self.values)]
        if self.is_filled:
            canvas.polygon([(left, floor), *points, (right, floor)], "#DCE5D3")
        canvas.line(points, COLOURS[self.colour], width=3)
        for point, value, label in zip(points, self.values, self.labels, strict=True):
            canvas.circle(point, 4.5, PAPER, outline=COLOURS[self.colour], width=2)
            canvas.text((point[0], point[1] - 14), str(value), size=12)
            canvas.text((point[0], floor + 18), label, size=12, colour=SOFT_INK)
        canvas.line([(left - 14, floor), (right + 14, floor)], INK, width=1.5)
        return canvas.picture()


@dataclass(frozen=True, slots=True)
class PieChart:
    """Shares of a hundred, clockwise from twelve o'clock, with a legend. The shares add up to 100."""

    suffix: ClassVar[str] = "png"
    title: str
    labels: tuple[str, ...]
    values: tuple[int, ...]
    colours: tuple[str, ...]

    def draw(self) -> Image.Image:
        canvas = Canvas(424, 268)
        canvas.text((18, 24), self.title, size=17, anchor="lm")
        centre, start = (122, 152), -90.0
        for value, colour in zip(self.values, self.colours, strict=True):
            canvas.sector(centre, 98, start, start + value * 3.6, COLOURS[colour])
            start += value * 3.6
        canvas.circle(centre, 44, PAPER)
        top = 152 - 15 * (len(self.values) - 1)
        for place, (label, value, colour) in enumerate(zip(self.labels, self.values, self.colours, strict=True)):
            y = top + 30 * place
            canvas.rectangle((244, y - 8, 260, y + 8), COLOURS[colour], radius=3)
            canvas.text((270, y), label, size=14, anchor="lm")
            canvas.text((408, y), f"{value}%", size=14, anchor="rm")
        return canvas.picture()


@dataclass(frozen=True, slots=True)
class TablePicture:
    """A table as a picture: a heading row on a dark band, striped rows below."""

    suffix: ClassVar[str] = "png"
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    colour: str

    def draw(self) -> Image.Image:
        row_height, top = 28, 46
        canvas = Canvas(408, top + row_height * (len(self.rows) + 1) + 16)
        canvas.text((18, 24), self.title, size=17, anchor="lm")
        column = (408 - 32) / len(self.header)
        for place, row in enumerate((self.header, *self.rows)):
            y = top + place * row_height
            fill = COLOURS[self.colour] if place == 0 else ("#FFFFFF" if place % 2 else "#F1ECE0")
            canvas.rectangle((16, y, 392, y + row_height), fill)
            for cell, words in enumerate(row):
                at = (28 + cell * column, y + row_height / 2)
                canvas.text(at, words, size=14, colour="#FFFFFF" if place == 0 else INK, anchor="lm")
        canvas.rectangle((16, top, 392, top + row_height * (len(self.rows) + 1)), outline=SOFT_INK, width=1)
        return canvas.picture()
