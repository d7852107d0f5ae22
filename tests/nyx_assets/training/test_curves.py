"""The curves of a run are pictures that a browser can show, with every line in its box."""

import base64
import re
from xml.etree import ElementTree

import pytest

from nyx_assets.training.curves import HEIGHT, MAX_POINTS, WIDTH, curves_markdown, svg

NAMESPACE = "{http://www.w3.org/2000/svg}"


def polylines(picture: str) -> list[list[tuple[float, float]]]:
    """The points of every line, in pixels."""
    root = ElementTree.fromstring(picture)
    return [
        [tuple(map(float, point.split(","))) for point in line.get("points").split()]
        for line in root.iter(f"{NAMESPACE}polyline")
    ]


def test_a_line_runs_from_its_highest_value_at_the_top_to_its_lowest_at_the_bottom():
    (line,) = polylines(svg("a < b", {"": [(10, 8.0), (20, 4.0), (30, 2.0)]}))
    xs, ys = zip(*line, strict=True)
    assert list(xs) == sorted(xs)
    assert ys[0] < ys[1] < ys[2]
    assert (ys[1] - ys[0]) == pytest.approx(2 * (ys[2] - ys[1]), abs=0.2)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in line)


def test_two_lines_share_their_axes_and_are_named():
    picture = svg("loss", {"all": [(1, 4.0), (2, 2.0)], "16 dims": [(1, 2.0), (2, 2.0)]})
    upper, lower = polylines(picture)
    assert upper[1] == lower[1]
    texts = [text.text for text in ElementTree.fromstring(picture).iter(f"{NAMESPACE}text")]
    assert {"loss", "all", "16 dims", "4", "2", "step 1"} <= set(texts)


def test_one_point_and_a_flat_line_are_drawn():
    assert len(polylines(svg("x", {"": [(1, 3.0)]}))[0]) == 1
    assert len({y for _, y in polylines(svg("x", {"": [(1, 3.0), (2, 3.0)]}))[0]}) == 1


def test_a_long_line_is_thinned_to_means_and_keeps_its_end():
    (line,) = polylines(svg("x", {"": [(step, float(step % 2)) for step in range(10_000)]}))
    assert MAX_POINTS / 2 < len(line) <= MAX_POINTS
    assert line[-1][0] == pytest.approx(WIDTH - 8, abs=0.1)


def test_a_report_becomes_markdown_images_that_need_no_server():
    point = {
        "step": 1, "loss": 3.0, "loss_by_dim": {"32": 2.0, "16": 1.0}, "gradient_norm": 1.0, "learning_rate": 1e-3,
        "queries_per_second": 7.0, "memory_bytes": 2**30,
    }  # fmt: skip
    report = {
        "curve": [point, point | {"step": 2, "loss": 2.0}],
        "dev": [{"step": 2, "ndcg@10": 0.5, "recall@10": 0.75}],
    }
    images = re.findall(r"!\[([^]]+)\]\(data:image/svg\+xml;base64,([^)]+)\)", curves_markdown(report))
    assert [title for title, _ in images] == [
        "loss (nats)", "dev score", "gradient norm", "learning rate", "queries/s", "memory (GiB)",
    ]  # fmt: skip
    assert [len(polylines(base64.b64decode(data).decode())) for _, data in images] == [3, 2, 1, 1, 1, 1]
    assert sum(len(data) for _, data in images) < 20_000
