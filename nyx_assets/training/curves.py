"""The curves of a training run as small pictures in Markdown, for the Dagster UI.

Drawn as SVG here, since a plotting library would be a large dependency for one line in a box.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT = 320, 150
LEFT, BOTTOM, TOP = 52, 20, 22
"""Pixels around the line, for the labels."""

MAX_POINTS = 300
"""Of a line: more than one a pixel is not seen. Each drawn point is the mean of its neighbours."""

COLOURS = ("#2b6cb0", "#c05621", "#2f855a", "#805ad5", "#b83280", "#718096")

Line = Sequence[tuple[float, float]]
"""Step and value."""


def curves_markdown(report: Mapping[str, Any], beside: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """Loss by dim, dev score, gradient norm, learning rate and throughput of a run's report, as pictures.

    Args:
        beside: reports of other runs by name, whose dev score stands in the same picture.
    """
    curve = report["curve"]
    runs = {"": report} | {f"{name} ": one for name, one in (beside or {}).items()}

    def of(name: str) -> Line:
        return [(point["step"], point[name]) for point in curve]

    by_dim = {
        f"{dim} dims": [(point["step"], point["loss_by_dim"][dim]) for point in curve]
        for dim in curve[0]["loss_by_dim"]
    }
    plots = {"loss (nats)": {"all": of("loss"), **by_dim}}
    dev = {f"{name}{metric}": line for name, one in runs.items() for metric, line in _dev_lines(one).items()}
    if dev:
        plots["dev score"] = dev
    plots |= {
        "gradient norm": {"": of("gradient_norm")},
        "learning rate": {"": of("learning_rate")},
        "queries/s": {"": of("queries_per_second")},
        "memory (GiB)": {"": [(step, value / 2**30) for step, value in of("memory_bytes")]},
    }
    return " ".join(_markdown(title, svg(title, lines)) for title, lines in plots.items())


def _dev_lines(report: Mapping[str, Any]) -> dict[str, Line]:
    """Both dev metrics of a run over its steps; none where it was not scored."""
    points = report["dev"]
    return {name: [(point["step"], point[name]) for point in points] for name in ("ndcg@10", "recall@10") if points}


def svg(title: str, lines: Mapping[str, Line]) -> str:
    """A picture of lines over steps, with the title, the range of both axes, and a legend where lines have names."""
    points = [point for line in lines.values() for point in line]
    first, last = min(step for step, _ in points), max(step for step, _ in points)
    low, high = min(value for _, value in points), max(value for _, value in points)

    def place(step: float, value: float) -> str:
        across = (step - first) / ((last - first) or 1) * (WIDTH - LEFT - 8)
        up = (value - low) / ((high - low) or 1) * (HEIGHT - TOP - BOTTOM)
        return f"{LEFT + across:.1f},{HEIGHT - BOTTOM - up:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="10">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<path d="M{LEFT},{TOP} V{HEIGHT - BOTTOM} H{WIDTH - 8}" fill="none" stroke="#a0aec0"/>',
        f'<text x="{LEFT}" y="13" font-weight="bold">{escape(title)}</text>',
        f'<text x="{LEFT - 4}" y="{TOP + 8}" text-anchor="end">{high:.3g}</text>',
        f'<text x="{LEFT - 4}" y="{HEIGHT - BOTTOM}" text-anchor="end">{low:.3g}</text>',
        f'<text x="{LEFT}" y="{HEIGHT - 7}">step {first:g}</text>',
        f'<text x="{WIDTH - 8}" y="{HEIGHT - 7}" text-anchor="end">{last:g}</text>',
    ]
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        drawn = " ".join(place(step, value) for step, value in _thinned(line))
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="1.3"/>')
        if name:
            parts.append(
                f'<text x="{WIDTH - 10}" y="{TOP + 2 + 11 * number}" text-anchor="end" fill="{colour}">{escape(name)}</text>'
            )
    return "".join([*parts, "</svg>"])


def _thinned(line: Line) -> list[tuple[float, float]]:
    """At most MAX_POINTS points, means of neighbours."""
    size = math.ceil(len(line) / MAX_POINTS)
    groups = [line[start : start + size] for start in range(0, len(line), size)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def _markdown(title: str, picture: str) -> str:
    return f"![{title}](data:image/svg+xml;base64,{base64.b64encode(picture.encode()).decode()})"
