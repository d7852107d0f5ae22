"""Pictures of things that show a value: a clock, a thermometer, a gauge, an abacus, a calendar leaf."""

import calendar
from dataclasses import dataclass
from typing import ClassVar

from PIL import Image

from sample_crawl.canvas import COLOURS, GRID, INK, PAPER, SOFT_INK, Canvas, on_circle

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
"""Spelt out here because `calendar.month_name` follows the locale."""


@dataclass(frozen=True, slots=True)
class Clock:
    """A clock face with two hands, numbered by figures or by bare marks."""

    suffix: ClassVar[str] = "png"
    hour: int
    minute: int
    rim: str
    is_numbered: bool

    @property
    def time(self) -> str:
        """What the hands show, on a twelve-hour clock."""
        return f"{self.hour}:{self.minute:02}"

    @property
    def hour_hand_degrees(self) -> float:
        """Angle of the hour hand, clockwise from twelve o'clock: 30 degrees an hour, half a degree a minute."""
        return self.hour % 12 * 30 + self.minute / 2

    def draw(self) -> Image.Image:
        canvas = Canvas(256, 256)
        centre = (128, 128)
        canvas.circle(centre, 116, COLOURS[self.rim])
        canvas.circle(centre, 102, "#FFFFFF")
        for minute in range(60):
            inner, width = (88, 4) if minute % 15 == 0 else (91, 2.5) if minute % 5 == 0 else (95, 1)
            canvas.line([on_circle(centre, inner, minute * 6), on_circle(centre, 98, minute * 6)], INK, width=width)
        if self.is_numbered:
            for hour in range(1, 13):
                canvas.text(on_circle(centre, 76, hour * 30), str(hour), size=17)
        canvas.line(
            [on_circle(centre, -12, self.hour_hand_degrees), on_circle(centre, 50, self.hour_hand_degrees)],
            INK,
            width=7,
        )
        canvas.line([on_circle(centre, -16, self.minute * 6), on_circle(centre, 84, self.minute * 6)], INK, width=4)
        canvas.circle(centre, 7, COLOURS[self.rim])
        return canvas.picture()


@dataclass(frozen=True, slots=True)
class Thermometer:
    """A glass thermometer from -20 to 40 degrees Celsius."""

    suffix: ClassVar[str] = "png"
    degrees: int
    colour: str

    def draw(self) -> Image.Image:
        canvas = Canvas(168, 320)

        def y_of(degrees: float) -> float:
            return 262 - (degrees + 20) / 60 * 222

        canvas.rectangle((14, 10, 154, 310), "#FFFFFF", outline=GRID, width=1.5, radius=14)
        canvas.rectangle((58, 26, 78, 282), "#EEF1F4", outline=SOFT_INK, width=1.5, radius=10)
        canvas.circle((68, 284), 17, COLOURS[self.colour], outline=SOFT_INK, width=1.5)
        canvas.rectangle((63, y_of(self.degrees), 73, 280), COLOURS[self.colour])
        for degrees in range(-20, 41, 2):
            is_long = degrees % 10 == 0
            canvas.line(
                [(84, y_of(degrees)), (100 if is_long else 92, y_of(degrees))], INK, width=1.6 if is_long else 1
            )
            if is_long:
                canvas.text((106, y_of(degrees)), f"{degrees}", size=14, anchor="lm")
        canvas.text((112, 290), "°C", size=14, colour=SOFT_INK)
        return canvas.picture()


@dataclass(frozen=True, slots=True)
class Gauge:
    """A round dial from zero to `top`, with a red sector that begins at `danger_from`."""

    suffix: ClassVar[str] = "png"
    value: int
    top: int
    danger_from: int
    unit: str

    def degrees(self, value: float) -> float:
        """Angle of a value on the dial, clockwise from twelve o'clock; the scale spans 240 degrees."""
        return -120 + value / self.top * 240

    def draw(self) -> Image.Image:
        canvas = Canvas(272, 272)
        centre = (136, 136)
        canvas.circle(centre, 124, "#5A6270")
        canvas.circle(centre, 114, "#FFFFFF")
        canvas.sector(centre, 104, self.degrees(self.danger_from) - 90, self.degrees(self.top) - 90, COLOURS["red"])
        canvas.circle(centre, 92, "#FFFFFF")
        for tenth in range(11):
            angle = self.degrees(self.top * tenth / 10)
            canvas.line([on_circle(centre, 92, angle), on_circle(centre, 104, angle)], INK, width=2.5)
            canvas.text(on_circle(centre, 75, angle), f"{self.top * tenth / 10:g}", size=14)
        canvas.text((136, 196), self.unit, size=15, colour=SOFT_INK)
        angle = self.degrees(self.value)
        left, right = on_circle(centre, 5, angle - 90), on_circle(centre, 5, angle + 90)
        canvas.polygon([left, on_circle(centre, 64, angle), right], INK)
        canvas.circle(centre, 10, INK)
        return canvas.picture()


@dataclass(frozen=True, slots=True)
class Abacus:
    """A counting frame with one wire a digit, units at the right; beads pushed down count one each."""

    suffix: ClassVar[str] = "png"
    number: int
    num_wires: int
    colour: str

    def digits(self) -> tuple[int, ...]:
        """Beads that count, on each wire from the left."""
        return tuple(int(digit) for digit in str(self.number).zfill(self.num_wires))

    def draw(self) -> Image.Image:
        width = 56 * self.num_wires + 48
        canvas = Canvas(width, 276)
        canvas.rectangle((12, 12, width - 12, 264), COLOURS["brown"], radius=10)
        canvas.rectangle((24, 24, width - 24, 252), "#F6EFE0")
        for place, digit in enumerate(self.digits()):
            x = 52 + 56 * place
            canvas.line([(x, 24), (x, 252)], SOFT_INK, width=2.5)
            for bead in range(9):
                is_down = bead >= 9 - digit
                y = 251 - 17 * (9 - bead) + 8 if is_down else 25 + 17 * bead + 8
                canvas.rectangle(
                    (x - 22, y - 7.5, x + 22, y + 7.5), COLOURS[self.colour if is_down else "grey"], radius=7
                )
        return canvas.picture()


@dataclass(frozen=True, slots=True)
class CalendarLeaf:
    """One month as a grid, weeks from Monday, with one day ringed in red."""

    suffix: ClassVar[str] = "png"
    year: int
    month: int
    ringed_day: int

    def draw(self) -> Image.Image:
        weeks = calendar.Calendar(firstweekday=0).monthdayscalendar(self.year, self.month)
        canvas = Canvas(336, 92 + 36 * len(weeks))
        canvas.rectangle((10, 10, 326, 82 + 36 * len(weeks)), "#FFFFFF", outline=GRID, width=1.5, radius=8)
        canvas.rectangle((10, 10, 326, 46), COLOURS["blue"], radius=8)
        canvas.text((168, 28), f"{MONTHS[self.month - 1]} {self.year}", size=18, colour=PAPER)
        for column, weekday in enumerate(WEEKDAYS):
            canvas.text((36 + 44 * column, 62), weekday, size=13, colour=SOFT_INK)
        for row, week in enumerate(weeks):
            for column, day in enumerate(week):
                at = (36 + 44 * column, 92 + 36 * row)
                if day == self.ringed_day:
                    canvas.circle(at, 16, outline=COLOURS["red"], width=2.5)
                if day:
                    canvas.text(at, str(day), size=15, colour=COLOURS["red"] if column == 6 else INK)
        return canvas.picture()
