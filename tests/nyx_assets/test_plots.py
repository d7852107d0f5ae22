"""Plots are pictures that a browser can show, with every line in its box, and say in words what they show."""

import itertools
import re
from xml.etree import ElementTree

import pytest

from nyx_assets.plots import (
    BAR_LEFT,
    COLOURS,
    DARK_COLOURS,
    LEFT,
    MAX_POINTS,
    RIGHT,
    WIDTH,
    Bar,
    bar_plot,
    histogram_plot,
    line_plot,
    plots_markdown,
    round_ticks,
)

NAMESPACE = "{http://www.w3.org/2000/svg}"


def polylines(picture: str) -> list[list[tuple[float, float]]]:
    """The points of every line, in pixels."""
    root = ElementTree.fromstring(picture)
    return [
        [tuple(map(float, point.split(","))) for point in line.get("points").split()]
        for line in root.iter(f"{NAMESPACE}polyline")
    ]


def texts(picture: str) -> set[str]:
    return {text.text for text in ElementTree.fromstring(picture).iter(f"{NAMESPACE}text")}


def test_a_line_runs_from_its_highest_value_at_the_top_to_its_lowest_at_the_bottom():
    (line,) = polylines(line_plot("a < b", {"": [(10, 8.0), (20, 4.0), (30, 2.0)]}, x="step", y="nats").svg)
    xs, ys = zip(*line, strict=True)
    assert (xs[0], xs[-1]) == (LEFT, WIDTH - RIGHT)
    assert ys[0] < ys[1] < ys[2]
    assert (ys[1] - ys[0]) == pytest.approx(2 * (ys[2] - ys[1]), abs=0.2)


def test_two_lines_share_their_axes_and_are_named():
    plot = line_plot("loss", {"all": [(1, 4.0), (2, 2.0)], "16 dims": [(1, 2.0), (2, 2.0)]}, x="step", y="nats")
    upper, lower = polylines(plot.svg)
    assert upper[1] == lower[1]
    assert {"loss", "all", "16 dims", "4", "2", "step", "nats"} <= texts(plot.svg)
    assert "all: from 4 to 2" in plot.alt


def test_lines_differ_without_colour():
    plot = line_plot("x", {name: [(1, 1.0), (2, 2.0)] for name in "abcdef"}, x="step", y="y")
    dashes = re.findall(r'<polyline class="s\d" stroke-dasharray="([^"]*)"', plot.svg)
    assert len(set(dashes)) == 6


def test_one_point_and_a_flat_line_are_drawn():
    assert len(polylines(line_plot("x", {"": [(1, 3.0)]}, x="step", y="y").svg)[0]) == 1
    flat = polylines(line_plot("x", {"": [(1, 3.0), (2, 3.0)]}, x="step", y="y").svg)[0]
    assert len({y for _, y in flat}) == 1


def test_a_long_line_is_thinned_to_means_and_keeps_its_end():
    long = [(step, float(step % 2)) for step in range(10_000)]
    (line,) = polylines(line_plot("x", {"": long}, x="step", y="y").svg)
    assert MAX_POINTS / 2 < len(line) <= MAX_POINTS
    assert line[-1][0] == pytest.approx(WIDTH - RIGHT, abs=0.1)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.93, 0.97), (-3, 40_000), (5, 5), (0, 0), (1e-9, 3e-9)])
def test_ticks_are_few_and_hold_every_value(low, high):
    ticks = round_ticks(low, high)
    assert ticks[0] <= low <= high <= ticks[-1]
    assert 2 <= len(ticks) <= 7


def test_a_histogram_climbs_and_falls_by_upright_steps_and_its_shares_sum_to_the_whole():
    plot = histogram_plot("x", {"right": [0.1, 0.1, 0.9], "wrong": [0.1]}, x="cosine")
    for line in polylines(plot.svg):
        assert all(a[0] == b[0] or a[1] == b[1] for a, b in itertools.pairwise(line))
    assert {"right (3)", "wrong (1)", "cosine", "% of each"} <= texts(plot.svg)
    assert "right: 3 with median 0.1" in plot.alt


def test_bars_are_as_long_as_their_parts_and_what_is_tiny_is_still_seen():
    bars = [Bar(label="kept", lengths=(300, 100), value="300"), Bar(label="<b>", lengths=(0, 1e-6), value="few")]
    plot = bar_plot("x", ["kept", "rejected"], bars, x="pairs")
    drawn = [
        (float(rect.get("x")), float(rect.get("width")))
        for rect in ElementTree.fromstring(plot.svg).iter(f"{NAMESPACE}rect")
        if rect.get("height") == "12"
    ]
    (kept_x, kept), (rejected_x, rejected), nothing, (_, tiny) = drawn
    assert kept_x == BAR_LEFT
    assert kept == pytest.approx(3 * rejected, abs=0.2)
    assert rejected_x == pytest.approx(kept_x + kept, abs=0.1)
    assert nothing[1] == 0
    assert tiny >= 1
    assert {"kept", "<b>", "few"} <= texts(plot.svg)


def test_markdown_needs_no_server_and_holds_only_the_plots_that_there_are():
    plot = line_plot("a [b]", {"": [(1, 1.0)]}, x="x", y="y")
    assert plots_markdown([None]) == []
    assert re.fullmatch(r"!\[a \(b\)[^]]*\]\(data:image/svg\+xml;base64,[\w+/=]+\)", plots_markdown([None, plot])[0])


def luminance(colour: str) -> float:
    """Source: WCAG 2.2, definition of relative luminance."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("colours", "back"), [(COLOURS, "#ffffff"), (DARK_COLOURS, "#161b24")])
def test_every_colour_stands_out_from_its_background(colours, back):
    for colour in colours:
        light, dark = sorted([luminance(colour), luminance(back)], reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3, colour
