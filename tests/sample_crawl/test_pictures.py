"""Pictures show their data: values are read back from the pixels."""

import random
from collections import Counter
from itertools import pairwise

import pytest
from PIL import Image

from sample_crawl.boards import ChessBoard, DiceThrow, DominoChain, NoughtsAndCrosses, ShapeCard, SquareGrid
from sample_crawl.canvas import COLOURS, on_circle
from sample_crawl.catalogue import ALL_KINDS
from sample_crawl.charts import BarChart, LineChart, PieChart
from sample_crawl.crafts import BeadString, Cloth
from sample_crawl.flags import FLAGS
from sample_crawl.instruments import Abacus, Clock, Gauge, Thermometer
from sample_crawl.pages import Draft
from sample_crawl.sceneries import Flag, StarFigure, Tower


def paint(colour: str) -> tuple[int, int, int]:
    """Red, green and blue of a named or hexadecimal colour."""
    digits = COLOURS.get(colour, colour).lstrip("#")
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)


def rgb(picture: Image.Image, at: tuple[float, float]) -> tuple[int, ...]:
    """The pixel nearest to a point."""
    pixel = picture.getpixel((round(at[0]), round(at[1])))
    assert isinstance(pixel, tuple)
    return pixel


def looks(picture: Image.Image, at: tuple[float, float], colour: str, *, tolerance: int = 12) -> bool:
    pixel = rgb(picture, at)
    return all(abs(have - want) <= tolerance for have, want in zip(pixel, paint(colour), strict=True))


def area(picture: Image.Image, colour: str) -> int:
    """Pixels of exactly that colour."""
    return Counter(picture.get_flattened_data())[paint(colour)]


def runs(hits: list[bool]) -> int:
    """How many times a row of booleans turns true."""
    return sum(here and not before for before, here in pairwise([False, *hits]))


def blobs(picture: Image.Image, colour: str, *, at_least: int) -> int:
    """Connected areas of that colour with at least that many pixels."""
    wanted = {
        (x, y)
        for x in range(picture.width)
        for y in range(picture.height)
        if looks(picture, (x, y), colour, tolerance=15)
    }
    count = 0
    while wanted:
        front, size = [wanted.pop()], 1
        while front:
            x, y = front.pop()
            for beside in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
                if beside in wanted:
                    wanted.remove(beside)
                    front.append(beside)
                    size += 1
        count += size >= at_least
    return count


def test_every_figure_has_sides_between_150_and_448_pixels():
    for place, kind in enumerate(ALL_KINDS):
        for index in range(8):
            for picture in kind(Draft(kind.__name__, seed=1, index=place + 40 * index)).illustrations:
                drawn = picture.figure.draw()
                assert drawn.mode == "RGB"
                assert 150 <= min(drawn.size) <= max(drawn.size) <= 448, (picture.figure, drawn.size)


def test_bars_are_as_high_as_their_values():
    chart = BarChart("Crates", ("fish", "bread", "fruit"), (12, 61, 35), ("red", "green", "blue"))
    picture = chart.draw()
    heights = []
    for place in range(3):
        x = 48 + (404 - 48) / 3 * (place + 0.5)
        heights.append(sum(looks(picture, (x, y), chart.colours[place]) for y in range(picture.height)))
    assert heights[0] / heights[1] == pytest.approx(12 / 61, abs=0.02)
    assert heights[2] / heights[1] == pytest.approx(35 / 61, abs=0.02)


def test_pie_slices_cover_their_shares():
    chart = PieChart("Ways", ("on foot", "tram", "boat"), (55, 10, 35), ("red", "blue", "green"))
    picture = chart.draw().crop((0, 40, 236, 268))
    areas = [area(picture, colour) for colour in chart.colours]
    for have, share in zip(areas, chart.values, strict=True):
        assert have / sum(areas) == pytest.approx(share / 100, abs=0.015)


def test_a_line_rises_where_its_values_do():
    chart = LineChart("Height", ("0", "1", "2", "3"), (100, 300, 250, 700), "red", False)
    picture = chart.draw()
    heights = []
    for place in range(4):
        x = round(36 + place * (410 - 36) / 3) + (6 if place < 3 else -6)  # beside the ring of a point
        heights.append(next(y for y in range(60, 240) if looks(picture, (x, y), "red", tolerance=60)))
    assert heights[3] < heights[1] < heights[2] < heights[0]


@pytest.mark.parametrize(("hour", "minute"), [(4, 35), (12, 5), (7, 50), (9, 0)])
def test_clock_hands_point_where_the_time_says(hour, minute):
    picture = Clock(hour, minute, "red", False).draw()
    dark = [m for m in range(60) if looks(picture, on_circle((128, 128), 66, m * 6), "#2E3440", tolerance=60)]
    assert dark == [minute], "only the minute hand reaches this far"
    hour_degrees = 30 * (hour % 12) + 30 * minute / 60
    assert looks(picture, on_circle((128, 128), 40, hour_degrees), "#2E3440", tolerance=60)
    assert not looks(picture, on_circle((128, 128), 40, hour_degrees + 60), "#2E3440", tolerance=60)


@pytest.mark.parametrize("degrees", [-14, 0, 26])
def test_thermometers_are_filled_to_their_mark(degrees):
    picture = Thermometer(degrees, "red").draw()
    top = next(y for y in range(30, 280) if looks(picture, (68, y), "red"))
    zero, ten = 262 - 20 * 3.7, 262 - 30 * 3.7  # where the marks of 0 and 10 degrees are
    assert (zero - top) / (zero - ten) * 10 == pytest.approx(degrees, abs=0.4)


def test_gauge_needles_point_at_their_value_and_red_begins_where_danger_does():
    gauge = Gauge(3, 10, 7, "bar")
    picture = gauge.draw()
    dark = [
        tenth
        for tenth in range(101)
        if looks(picture, on_circle((136, 136), 50, -120 + tenth * 2.4), "#2E3440", tolerance=50)
    ]
    assert 30 in dark
    assert all(27 <= tenth <= 33 for tenth in dark)
    red = [tenth for tenth in range(101) if looks(picture, on_circle((136, 136), 98, -120 + tenth * 2.4), "red")]
    assert 70 <= min(red) <= 72


def test_counting_frames_lower_one_bead_for_each_unit():
    frame = Abacus(9_052, 4, "red")
    picture = frame.draw()
    lowered = [runs([looks(picture, (52 + 56 * wire + 12, y), "red") for y in range(276)]) for wire in range(4)]
    assert lowered == [9, 0, 5, 2]


@pytest.mark.parametrize(("bands", "colour", "beam"), [(2, "blue", "left"), (4, "green", "right")])
def test_lighthouses_have_their_bands_and_beam(bands, colour, beam):
    picture = Tower(bands, colour, 1, beam).draw()
    assert runs([looks(picture, (112, y), colour, tolerance=30) for y in range(96, 300)]) == bands
    left, right = sum(rgb(picture, (40, 68))), sum(rgb(picture, (232, 68)))
    assert (left > right) == (beam == "left")


def test_lighthouses_light_as_many_windows_as_they_say():
    for lit in (1, 3):
        picture = Tower(3, "red", lit, "left").draw()
        assert sum(looks(picture, (136, 131 + 46 * window), "#FFD85E", tolerance=40) for window in range(4)) == lit


def test_flags_show_their_paints_in_the_order_of_the_design():
    for land in FLAGS:
        picture = Flag(land.design, land.paints).draw()
        count = len(land.paints)
        points: list[tuple[float, float]]
        if land.design == "cross":
            points = [(24 + 20, 22 + 20), (24 + 102, 22 + 20)]
        elif land.design == "vertical":
            points = [(24 + 276 * (k + 0.5) / count, 112) for k in range(count)]
        else:
            points = [(162, 22 + 180 * (k + 0.5) / count) for k in range(count)]
        assert all(looks(picture, at, colour) for at, colour in zip(points, land.paints, strict=True)), land


def test_dice_and_dominoes_carry_as_many_pips_as_they_count():
    throw = DiceThrow((5, 1, 6), "white").draw()
    assert blobs(throw, "#2E3440", at_least=20) == 12
    chain = DominoChain(((0, 4), (4, 3))).draw()
    assert blobs(chain, "#2E3440", at_least=20) == 11


def test_bead_strings_run_from_left_to_right():
    colours = ("red", "yellow", "red", "blue", "green", "green")
    picture = BeadString(colours).draw()
    seen = []
    for place, colour in enumerate(colours):
        x = 30 + 34 * (place + 0.5)
        seen.append(sum(looks(picture, (x + 6, y), colour, tolerance=30) for y in range(40, 130)))
    assert all(count >= 15 for count in seen)


def test_squared_paper_is_filled_one_square_for_each_cell():
    cells = ((1, 1), (2, 1), (2, 2), (5, 3), (6, 6))
    picture = SquareGrid(cells, "green").draw()
    filled = [(x, y) for x in range(8) for y in range(7) if looks(picture, (33 + 30 * x, 34 + 30 * y), "green")]
    assert sorted(filled) == sorted(cells)


def test_boards_and_cards_put_things_on_their_squares():
    picture = NoughtsAndCrosses("X  " + " O " + "   ").draw()
    assert looks(picture, (50, 50), "blue", tolerance=40)
    assert looks(picture, (120, 120 - 19), "red", tolerance=60)
    assert area(picture.crop((160, 0, 240, 240)), "blue") + area(picture.crop((0, 160, 240, 240)), "red") == 0

    board = ChessBoard((("b3", "rook", "white"), ("g6", "pawn", "black"))).draw()
    assert looks(board, (45 + 34, 31 + 34 * 5), "#FFFFFF")
    assert looks(board, (45 + 34 * 6, 31 + 34 * 2 + 6), "#2E3440")

    card = ShapeCard(
        (
            ("circle", "red"),
            ("square", "blue"),
            ("star", "pink"),
            ("triangle", "green"),
            ("star", "purple"),
            ("square", "orange"),
        )
    )
    drawn = card.draw()
    for place, (_, colour) in enumerate(card.shapes):
        assert looks(drawn, (66 + 96 * (place % 3), 64 + 100 * (place // 3)), colour)
    assert area(drawn, "blue") > area(drawn, "red") > area(drawn, "pink"), (
        "a square is wider than a circle, a star is thin"
    )


def test_cloth_shows_the_warp_as_often_as_its_pattern_does():
    cloth = Cloth(("#...", ".#..", "..#.", "...#"), "red", "white").draw()
    on_top = sum(looks(cloth, (24 + 20 * x, 24 + 20 * y), "red") for x in range(12) for y in range(12))
    assert on_top == 36


def test_figures_of_stars_have_one_coloured_star_and_the_rest_pale():
    rng = random.Random(1)
    stars = tuple(
        (x / 4 + rng.uniform(0.05, 0.2), y / 3 + rng.uniform(0.05, 0.2))
        for x, y in ((0, 0), (2, 1), (3, 2), (1, 2), (3, 0))
    )
    picture = StarFigure(stars, ((0, 1),), 2, "orange").draw()
    assert blobs(picture, "#F4F1E4", at_least=20) == 4
    assert looks(picture, (34 + stars[2][0] * 252, 32 + stars[2][1] * 224), "orange")
