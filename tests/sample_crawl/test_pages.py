"""What pages say is so: every statement is held against the data its picture is drawn from."""

import datetime
import re
from collections import defaultdict
from itertools import pairwise

import pytest

from sample_crawl.catalogue import ALL_KINDS, CrawlPlan
from sample_crawl.flags import FLAGS
from sample_crawl.names import FIRST_NAMES, LAST_NAMES
from sample_crawl.pages import VARIANTS, Draft, Page

PAGES_PER_KIND = 40


@pytest.fixture(scope="module")
def pages() -> dict[str, list[Page]]:
    """Forty pages of every kind, by kind; no picture is drawn."""
    by_kind = defaultdict(list)
    for place, kind in enumerate(ALL_KINDS):
        for index in range(PAGES_PER_KIND):
            by_kind[kind.__name__].append(kind(Draft(kind.__name__, seed=3, index=index * len(ALL_KINDS) + place)))
    return by_kind


def answer(page: Page, pattern: str) -> str:
    """The answer to the page's one question that matches."""
    (found,) = [fact.answer for fact in page.facts if re.search(pattern, fact.question)]
    return found


def find(pattern: str, page: Page) -> re.Match[str]:
    """Where the page's text says so; it must."""
    found = re.search(pattern, page.text)
    assert found is not None, (pattern, page.text)
    return found


def number(pattern: str, page: Page) -> int:
    """The number that the pattern's group finds in the page's text."""
    return int(find(pattern, page)[1].replace(",", ""))


def test_every_kind_makes_a_page_of_text_and_pictures_with_several_facts(pages):
    assert len(pages) >= 15
    for of_kind in pages.values():
        for page in of_kind:
            assert isinstance(page.pieces[0], str)
            assert page.illustrations
            assert len(page.facts) >= 3
            assert {fact.source for fact in page.facts} == {"text", "picture"}


def test_every_answer_has_one_to_five_words(pages):
    for of_kind in pages.values():
        for page in of_kind:
            assert all(1 <= len(fact.answer.split()) <= 5 for fact in page.facts), page.facts


def test_every_fact_of_the_text_stands_in_the_text(pages):
    for of_kind in pages.values():
        for page in of_kind:
            for fact in page.facts:
                if fact.source == "text":
                    words = re.sub(r"^(the|an?|every|a town) ", "", fact.answer).split()
                    units = {"°C": "degrees", "kilometres": "kilometre", "metres": "metres"}
                    assert all(units.get(word, word).casefold() in page.text.casefold() for word in words), fact


def test_facts_of_the_picture_are_mostly_not_to_be_had_from_the_text(pages):
    hidden = told = 0
    for of_kind in pages.values():
        for page in of_kind:
            for fact in page.facts:
                if fact.source == "picture":
                    told_here = re.search(rf"(?<!\w){re.escape(fact.answer)}(?!\w)", page.text, re.I) is not None
                    told, hidden = told + told_here, hidden + (not told_here)
    # A small number or a colour also stands in some text by chance.
    assert told / (told + hidden) < 0.25


def test_a_lighthouse_page_never_names_the_colour_of_its_bands(pages):
    for page in pages["lighthouse"]:
        (picture,) = page.illustrations
        assert answer(page, "What colour are the bands") == picture.figure.colour
        assert not re.search(rf"\b{picture.figure.colour}\b", page.text.replace("black pines", "pines"))


def test_market_texts_agree_with_their_bars(pages):
    for page in pages["market"]:
        chart = page.illustrations[0].figure
        value_by_label = dict(zip(chart.labels, chart.values, strict=True))
        label, value = find(r"the stall for (\w+) sold (\d+) crates", page).groups()
        assert value_by_label[label] == int(value)
        other, relation = find(r"The stall for (\w+) sold (more|fewer) than that", page).groups()
        assert relation == ("more" if value_by_label[other] > value_by_label[label] else "fewer")
        best = answer(page, "sold most")
        assert all(value_by_label[best] >= value for value in chart.values)


def test_census_shares_make_a_hundred_and_agree_with_the_text(pages):
    for page in pages["census"]:
        chart = page.illustrations[0].figure
        assert sum(chart.values) == 100
        label, value = find(r"the answer '([^']+)' was given by (\d+) percent", page).groups()
        assert dict(zip(chart.labels, chart.values, strict=True))[label] == int(value)


def test_hill_walk_texts_agree_with_their_profile(pages):
    for page in pages["hill_walk"]:
        heights = page.illustrations[0].figure.values
        assert number(r"begins at (\d+) metres", page) == heights[0]
        end = find(r"The path ends (higher|lower|as high)", page)[1]
        assert end == ("higher" if heights[-1] > heights[0] else "lower" if heights[-1] < heights[0] else "as high")
        assert answer(page, "highest") == f"{sorted(heights)[-1]} metres"


def test_weather_texts_agree_with_their_chart_and_thermometer(pages):
    months = [datetime.date(2001, month, 1).strftime("%B") for month in range(1, 13)]
    for page in pages["weather"]:
        chart, glass = (picture.figure for picture in page.illustrations)
        month, mean = find(r"The mean of (\w+) is (-?\d+) degrees", page).groups()
        assert chart.values[months.index(month)] == int(mean)
        relation = find(r"That reading was (below|above|equal to) the mean of July", page)[1]
        assert (
            relation
            == {-1: "below", 0: "equal to", 1: "above"}[
                (glass.degrees > chart.values[6]) - (glass.degrees < chart.values[6])
            ]
        )


def test_calendar_facts_are_those_of_the_real_calendar(pages):
    for page in pages["calendar_month"]:
        leaf = page.illustrations[0].figure
        first = datetime.date(leaf.year, leaf.month, 1)
        following = datetime.date(leaf.year + leaf.month // 12, leaf.month % 12 + 1, 1)
        assert f"begins on a {first.strftime('%A')}" in page.text
        assert f"has {(following - first).days} days" in page.text
        ringed = first + datetime.timedelta(days=leaf.ringed_day - 1)
        assert answer(page, "On which weekday is the") == ringed.strftime("%A")
        february = (datetime.date(leaf.year, 3, 1) - datetime.date(leaf.year, 2, 1)).days
        assert f"its February has {february} days" in page.text
        assert (f"{leaf.year} is a leap year" in page.text) == (february == 29)


def test_tide_and_station_texts_agree_with_their_tables(pages):
    for page in pages["tides"]:
        rows = page.illustrations[0].figure.rows
        day, time = find(r"On (\w+) morning the water is highest at (\d\d:\d\d)", page).groups()
        assert (day[:3], time) in [row[:2] for row in rows]
        assert [row[1] for row in rows] == sorted(row[1] for row in rows)
        relation = find(r"The water on Friday is (deeper|shallower|as deep)", page)[1]
        change = float(rows[4][2].split()[0]) - float(rows[0][2].split()[0])
        assert relation == ("deeper" if change > 0 else "shallower" if change < 0 else "as deep")
    for page in pages["station"]:
        rows = page.illustrations[0].figure.rows
        town, time = find(r"the one to (\w+) at (\d\d:\d\d)", page).groups()
        assert (time, town) in [row[:2] for row in rows]
        assert answer(page, "last Sunday train") == max(rows)[1]


def test_pump_house_texts_agree_with_their_gauge(pages):
    for page in pages["pump_house"]:
        gauge = page.illustrations[0].figure
        assert ("stood inside the red sector" in page.text) == (gauge.value >= gauge.danger_from)
        assert answer(page, "Which pressure") == f"{gauge.value} bar"
        assert gauge.value * 10 % gauge.top == 0, "between two marks nobody can read the value"


def test_tram_lines_cross_at_one_stop_and_the_text_counts_their_stops(pages):
    for page in pages["tram"]:
        lines = page.illustrations[0].figure
        shared = set(lines.across) & set(lines.down)
        assert shared == {answer(page, "change between")}
        assert number(r"line has (\d+) stops", page) == len(lines.across)
        assert lines.across_colour in find(r"The (\w+) line has", page)[1]
        assert lines.down[0] not in shared
        assert lines.down[-1] not in shared


def test_island_walks_start_and_end_where_the_text_says(pages):
    for page in pages["island"]:
        chart = page.illustrations[0].figure
        assert f"starts at the {chart.route[0]}." in page.text
        assert f"The walk ends at the {chart.route[-1]}," in page.text
        assert answer(page, "comes second") == f"the {chart.route[1]}"
        assert len(set(chart.route)) == 4


def test_gears_turn_as_their_teeth_demand(pages):
    for page in pages["gears"]:
        first, middle, last = page.illustrations[0].figure.teeth
        turns_of_last = (first / middle) * (middle / last)
        said = find(r"The right gear turns (faster than|slower than|exactly as fast as)", page)[1]
        assert said == (
            "faster than"
            if turns_of_last > 1 + 1e-9
            else "slower than"
            if turns_of_last < 1 - 1e-9
            else "exactly as fast as"
        )


def test_winning_dice_have_the_parity_that_was_bet_on(pages):
    for page in pages["dice"]:
        values = page.illustrations[0].figure.values
        assert find(r"on an (even|odd) total", page)[1] == ("odd" if sum(v % 2 for v in values) % 2 else "even")
        assert answer(page, "total of the winning") == str(sum(values))


def test_domino_chains_join_equal_halves_and_use_no_tile_twice(pages):
    for page in pages["dominoes"]:
        tiles = page.illustrations[0].figure.tiles
        assert all(left[1] == right[0] for left, right in pairwise(tiles))
        assert len({tuple(sorted(tile)) for tile in tiles}) == len(tiles) == 5
        assert f"could not follow the {tiles[-1][1]} at the right end" in page.text


def test_triangles_are_right_angled_and_drawn_from_the_order_book(pages):
    for page in pages["triangle"]:
        figure = page.illustrations[0].figure
        assert figure.base**2 + figure.height**2 == figure.hypotenuse**2
        assert f"each {figure.base} centimetres deep" in page.text
        assert float(answer(page, "area").split()[0]) * 2 == figure.base * figure.height


def test_tiles_cost_their_number_times_the_price(pages):
    for page in pages["tile_area"]:
        cells = set(page.illustrations[0].figure.cells)
        price = number(r"costs (\d+) crowns", page)
        assert answer(page, "all the tiles") == f"{price * len(cells)} crowns"
        joints = sum((x + 1, y) in cells for x, y in cells) + sum((x, y + 1) in cells for x, y in cells)
        assert number(r"inner corners included, is (\d+) feet", page) == 4 * len(cells) - 2 * joints


def test_shape_cards_hold_what_the_text_describes(pages):
    where = ["top left", "top middle", "top right", "bottom left", "bottom middle", "bottom right"]
    for page in pages["shape_cards"]:
        shapes = page.illustrations[0].figure.shapes
        colour, shape, place = find(r"a (\w+) (\w+) is at the (\w+ \w+)\.", page).groups()
        assert shapes[where.index(place)] == (shape, colour)
        assert len({colour for _, colour in shapes}) == 6


def test_weaving_repeats_are_the_size_of_their_pattern(pages):
    for page in pages["weaving"]:
        rows = page.illustrations[0].figure.rows
        assert f"after {len(rows[0])} warp threads and {len(rows)} weft threads" in page.text
        assert all(0 < row.count("#") < len(row) for row in rows), "a thread that is never on one side falls out"


def test_stopped_clocks_and_counting_frames_are_asked_for_what_they_show(pages):
    for page in pages["clock_tower"] + pages["zhong_lou"]:
        clock = page.illustrations[0].figure
        assert f"{clock.hour}:{clock.minute:02}" in [fact.answer for fact in page.facts if fact.source == "picture"]
    for page in pages["abacus"] + pages["suan_pan"]:
        frame = page.illustrations[0].figure
        assert int("".join(map(str, frame.digits()))) == frame.number
        assert str(frame.number) in [fact.answer for fact in page.facts if fact.source == "picture"]


def test_flag_pages_name_capitals_but_no_colours(pages):
    colours = {name for land in FLAGS for name, _ in land.stripes}
    for page in pages["flag"]:
        assert not any(re.search(rf"\b{colour}\b", page.text) for colour in colours)
        for land in FLAGS:
            if f"The flag of {land.country}." in page.text:
                assert f"The capital of {land.country} is {land.capital}." in page.text


def test_chronicles_tell_each_year_once_and_in_order(pages):
    for page in pages["lighthouse"] + pages["market"]:
        if "rowing contest" in page.text:
            told = page.text.split("\n\n")
            chronicle = " ".join(told[next(i for i, part in enumerate(told) if "guild" in part or "rowing" in part) :])
            years = [int(year) for year in re.findall(r"\bin (?:\w+ )?(1[6-9]\d\d|20[01]\d)\b", chronicle)]
            assert years == sorted(set(years))


def test_pages_of_a_crawl_differ_in_length_and_some_run_to_several_chunks():
    words = [len(page.text.split()) for _, _, page in CrawlPlan(num_pages=72, num_partitions=3, seed=0).pages()]
    assert sum(count > 600 for count in words) >= 4
    assert sum(30 < count < 100 for count in words) >= 30


def test_kinds_have_several_pages_that_tell_apart_only_by_their_facts(pages):
    people = {f"{first} {last}" for first in FIRST_NAMES for last in LAST_NAMES}
    for page in pages["clock_tower"]:
        assert answer(page, "Who built") in people
    builders = {answer(page, "Who built") for page in pages["clock_tower"]}
    assert len(builders) > PAGES_PER_KIND // 2


def test_pages_beyond_the_pool_repeat_pictures_but_not_texts():
    for kind in ALL_KINDS:
        first, within, beyond = (
            kind(Draft(kind.__name__, seed=3, index=index)) for index in (5, 5 + VARIANTS // 2, 5 + VARIANTS)
        )
        figures = [[picture.figure for picture in page.illustrations] for page in (first, within, beyond)]
        assert figures[0] == figures[2] != figures[1]
        assert first.text != beyond.text
        assert first.url != beyond.url
