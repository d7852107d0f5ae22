"""Small SVG plots as pure functions: lines, bars, histograms; for the Dagster UI and the report page.

Drawn here, since a plotting library would be a large dependency for lines in a box, and its pictures would know nothing
of dark screens: these carry their own background and both sets of colours. Drawn 360 pixels wide, so that labels stay
readable on a phone. Sizes are pixels.
"""

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from nyx_assets.legible import legible

WIDTH = 360
PLOT_HEIGHT = 128
LEFT, RIGHT, BOTTOM = 46, 12, 38
"""Around the box of a plot with axes: for its labels."""
BAR_LEFT, BAR_RIGHT, BAR_STEP = 132, 66, 17

MAX_POINTS = 300
"""Of a line: more than one a pixel is not seen. Each drawn point is the mean of its neighbours."""
MAX_MARKED = 16
"""Points of a line that has a mark on each."""
NUM_BINS = 24
LETTER = 6.7
"""Mean width of a letter."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#AA4499", "#8A6D00", "#4D5866")
DARK_COLOURS = ("#56B4E9", "#FF9D5C", "#3FCFA0", "#E79BC8", "#F0E442", "#B8C0CC")
"""Told apart by the colour-blind. Source: after Okabe and Ito 2008, Color Universal Design; darkened or lightened where
they have less than 3:1 contrast to the background."""
DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 4", "1 2")
"""So that lines differ without colour as well."""

STYLE = "".join(
    [
        "text{font:11px system-ui,-apple-system,'DejaVu Sans',sans-serif;fill:#404a59}",
        ".title{font-weight:600;font-size:12.5px;fill:#151b26}.back{fill:#fff}.axis{stroke:#7d8796;fill:none}",
        ".grid{stroke:#e4e8ee}polyline,.line{fill:none;stroke-width:1.8}.hatch{stroke:#fff;stroke-width:1.4}",
        *(f".s{n}{{stroke:{colour}}}.f{n}{{fill:{colour}}}" for n, colour in enumerate(COLOURS)),
        "@media(prefers-color-scheme:dark){text{fill:#b9c2cf}.title{fill:#f1f4f8}.back{fill:#161b24}",
        ".axis{stroke:#77818f}.grid{stroke:#2b3341}.hatch{stroke:#161b24}",
        *(f".s{n}{{stroke:{colour}}}.f{n}{{fill:{colour}}}" for n, colour in enumerate(DARK_COLOURS)),
        "}",
    ]
)

Line = Sequence[tuple[float, float]]
"""Points: along the axis below, and up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A picture with what stands beside it for those who do not see it."""

    title: str
    alt: str
    svg: str

    @property
    def data_uri(self) -> str:
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg.encode()).decode()}"

    @property
    def markdown(self) -> str:
        """The picture in a line of Markdown that needs no server."""
        alt = legible(self.alt).replace("[", "(").replace("]", ")").replace("\n", " ")
        return f"![{alt}]({self.data_uri})"


def plots_markdown(plots: Iterable[Plot | None]) -> list[str]:
    """The plots that there are in one paragraph; [] if there is none."""
    shown = [plot.markdown for plot in plots if plot is not None]
    return [" ".join(shown)] if shown else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar: a length for each part of the plot, in the parts' order."""

    label: str
    lengths: tuple[float, ...]
    value: str
    """What stands at its end."""


def line_plot(
    title: str,
    lines: Mapping[str, Line],
    *,
    x: str,
    y: str,
    x_ticks: Sequence[tuple[float, str]] = (),
    from_zero: bool = False,
) -> Plot:
    """Lines by name over a shared pair of axes; a name "" stands in no legend.

    Args:
        x, y: what the axes show, with the unit.
        x_ticks: places along the axis and what is written there; without, the first and the last place. A new line in
            the text is one in the picture.
        from_zero: whether the axis starts at 0 even if no value is near.
    """
    points = [point for line in lines.values() for point in line]
    xs = [place for place, _ in points] + [place for place, _ in x_ticks]
    first, last = min(xs), max(xs)
    ticks = round_ticks(0.0 if from_zero else min(value for _, value in points), max(value for _, value in points))
    low, high = ticks[0], ticks[-1]
    legend, top = _legend([name for name in lines if name], start=34)

    def across(place: float) -> float:
        return LEFT + (place - first) / ((last - first) or 1) * (WIDTH - LEFT - RIGHT)

    def up(value: float) -> float:
        return top + PLOT_HEIGHT - (value - low) / ((high - low) or 1) * PLOT_HEIGHT

    shown_ticks = list(x_ticks) or [(place, f"{place:g}") for place in dict.fromkeys((first, last))]
    parts = [*legend, *_axes(top, [(up(tick), f"{tick:.4g}") for tick in ticks], x, y)]
    parts += _below(top, [(across(place), label) for place, label in shown_ticks])
    for number, line in enumerate(lines.values()):
        shown = thinned(sorted(line, key=_place))  # points at one place keep their order: a step
        drawn = " ".join(f"{across(place):.1f},{up(value):.1f}" for place, value in shown)
        parts.append(f'<polyline class="s{number % 6}" stroke-dasharray="{DASHES[number % 6]}" points="{drawn}"/>')
        if len(shown) <= MAX_MARKED:
            parts += [_mark(number, across(place), up(value)) for place, value in shown]
    said = [f"{name + ': ' if name else ''}{_ends(sorted(line, key=_place))}" for name, line in lines.items()]
    return _plot(title, parts, top + PLOT_HEIGHT + BOTTOM, f"{title}, {y} by {x}. {'; '.join(said)}.")


def bar_plot(title: str, parts: Sequence[str], bars: Sequence[Bar], *, x: str) -> Plot:
    """Bars below each other, each stacked of the same parts; the second part is hatched as well as coloured."""
    legend, top = _legend(list(parts), start=36, as_area=True)
    longest = max((sum(bar.lengths) for bar in bars), default=0.0) or 1.0
    room = WIDTH - BAR_LEFT - BAR_RIGHT
    drawn = [*legend, f'<text x="{BAR_LEFT}" y="{top + 3:.0f}">{_said(x)}</text>']
    for place, bar in enumerate(bars):
        y, left = top + 9 + BAR_STEP * place, float(BAR_LEFT)
        drawn.append(
            f'<text x="{BAR_LEFT - 6}" y="{y + 10}" text-anchor="end">{_said(shortened(bar.label, 20))}</text>'
        )
        for number, length in enumerate(bar.lengths):
            width = length / longest * room
            width = max(width, 1.5) if length else 0.0  # what is there is seen
            drawn.append(f'<rect class="f{number % 6}" x="{left:.1f}" y="{y}" width="{width:.1f}" height="12"/>')
            if number == 1:
                drawn += [
                    f'<path class="hatch" d="M{left + at:.1f},{y + 12} l5,-12"/>' for at in np.arange(2, width - 5, 6)
                ]
            left += width
        drawn.append(f'<text x="{min(left + 4, WIDTH - BAR_RIGHT + 4):.1f}" y="{y + 10}">{_said(bar.value)}</text>')
    said = "; ".join(f"{bar.label} {bar.value}" for bar in bars)
    return _plot(title, drawn, top + 14 + BAR_STEP * len(bars), f"{title}, {x} ({', '.join(parts)}). {said}.")


def histogram_plot(title: str, samples: Mapping[str, Sequence[float]], *, x: str) -> Plot:
    """How often values of each sample fall into bins of equal width, as a share of the sample; samples may not be empty."""
    every = np.concatenate([np.asarray(sample, float) for sample in samples.values()])
    ticks = round_ticks(float(every.min()), float(every.max()))
    edges = np.linspace(ticks[0], ticks[-1], NUM_BINS + 1)
    lines = {}
    for name, sample in samples.items():
        share = np.histogram(sample, edges)[0] / len(sample) * 100
        steps = [(float(edge), float(value)) for n, value in enumerate(share) for edge in edges[n : n + 2]]
        lines[f"{name} ({len(sample):,})"] = steps
    drawn = line_plot(
        title, lines, x=x, y="% of each", x_ticks=[(tick, f"{tick:.4g}") for tick in ticks], from_zero=True
    )
    said = "; ".join(
        f"{name}: {len(sample):,} with median {float(np.median(sample)):.3g}" for name, sample in samples.items()
    )
    return Plot(title=title, alt=f"{title}, share by {x}. {said}.", svg=drawn.svg)


def round_ticks(low: float, high: float, *, number: int = 4) -> list[float]:
    """Round values at equal steps from at most `low` to at least `high`, about `number` steps."""
    if not high > low:
        margin = abs(low) * 0.1 or 1.0
        low, high = low - margin, high + margin
    rough = (high - low) / number
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


def thinned(line: Line) -> list[tuple[float, float]]:
    """At most MAX_POINTS points, means of neighbours."""
    size = math.ceil(len(line) / MAX_POINTS) or 1
    groups = [line[start : start + size] for start in range(0, len(line), size)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def shortened(text: str, most: int) -> str:
    """At most so many letters, with a mark where more stood."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _plot(title: str, parts: Iterable[str], height: float, alt: str) -> Plot:
    svg = "".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" '
            f'viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{_said(title)}">',
            f"<style>{STYLE}</style>",
            f'<rect class="back" width="{WIDTH}" height="{height:.0f}" rx="6"/>',
            f'<text class="title" x="10" y="17">{_said(title)}</text>',
            *parts,
            "</svg>",
        ]
    )
    return Plot(title=title, alt=alt, svg=svg)


def _legend(names: Sequence[str], *, start: int, as_area: bool = False) -> tuple[list[str], int]:
    """The names, each with its line or colour, in as many rows as they need; and where the plot below may begin."""
    parts: list[str] = []
    left, row = 10.0, 0
    for number, name in enumerate(names):
        width = 28 + LETTER * len(name)
        if left > 10 and left + width > WIDTH - 4:
            left, row = 10.0, row + 1
        y = start + 14 * row
        if as_area:
            parts.append(f'<rect class="f{number % 6}" x="{left:.1f}" y="{y - 8}" width="12" height="9"/>')
        else:
            dash = DASHES[number % 6]
            parts.append(f'<path class="line s{number % 6}" stroke-dasharray="{dash}" d="M{left:.1f},{y - 4} h18"/>')
        parts.append(f'<text x="{left + (16 if as_area else 22):.1f}" y="{y}">{_said(name)}</text>')
        left += width + 6
    return parts, start + 14 * row + 27 if names else start + 8


def _axes(top: float, ticks: Iterable[tuple[float, str]], x: str, y: str) -> list[str]:
    bottom = top + PLOT_HEIGHT
    parts = []
    for height, label in ticks:
        parts.append(f'<path class="grid" d="M{LEFT},{height:.1f} H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{height + 4:.1f}" text-anchor="end">{label}</text>')
    return [
        *parts,
        f'<path class="axis" d="M{LEFT},{top} V{bottom} H{WIDTH - RIGHT}"/>',
        f'<text x="{10}" y="{top - 9}">{_said(y)}</text>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{bottom + 32}" text-anchor="middle">{_said(x)}</text>',
    ]


def _below(top: float, labels: Sequence[tuple[float, str]]) -> list[str]:
    """What is written under the axis, in up to two lines; the outermost stay in the picture."""
    parts = []
    for place, label in labels:
        anchor = "end" if place > WIDTH - 30 else "middle"
        for row, text in enumerate(label.split("\n")[:2]):
            y = top + PLOT_HEIGHT + 14 + 11 * row
            parts.append(f'<text x="{place:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_said(text)}</text>')
    return parts


def _mark(number: int, x: float, y: float) -> str:
    """A mark of a shape of its own for each line."""
    shapes = (
        f'<circle class="f{number % 6}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>',
        f'<rect class="f{number % 6}" x="{x - 2.8:.1f}" y="{y - 2.8:.1f}" width="5.6" height="5.6"/>',
        f'<path class="f{number % 6}" d="M{x:.1f},{y - 4:.1f} l4,4 l-4,4 l-4,-4z"/>',
        f'<path class="f{number % 6}" d="M{x:.1f},{y - 4:.1f} l4,7 h-8z"/>',
    )
    return shapes[number % len(shapes)]


def _said(text: str) -> str:
    return escape(legible(text))


def _place(point: tuple[float, float]) -> float:
    return point[0]


def _ends(line: Line) -> str:
    first, last = line[0][1], line[-1][1]
    return f"{first:.4g}" if len(line) == 1 else f"from {first:.4g} to {last:.4g}"
