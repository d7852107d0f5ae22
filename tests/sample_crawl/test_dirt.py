"""Planted dirt is where it is listed, as it is listed, and nowhere else."""

import json
from pathlib import Path
from typing import get_args

import pyarrow.parquet as pq
import pytest
from PIL import Image

from sample_crawl import CrawlPlan, Dirt, expected_dirt, generate
from sample_crawl.dirt import PLANTINGS, DirtRule

PLAN = CrawlPlan(num_pages=72, num_partitions=3, seed=0)


@pytest.fixture(scope="module")
def crawl(tmp_path_factory) -> Path:
    return generate(tmp_path_factory.mktemp("dirt") / "crawl")


@pytest.fixture(scope="module")
def table(crawl) -> dict[str, list[dict]]:
    return {file.stem: pq.read_table(file).to_pylist() for file in sorted(crawl.glob("*.parquet"))}


def planted(rule: str) -> list[Dirt]:
    found = [fault for fault in expected_dirt(PLAN) if fault.rule == rule]
    assert found, f"no {rule} is planted"
    return found


def url(row: dict) -> str:
    return json.loads(row["general_metadata"])["url"]


def content(row: dict) -> list:
    return list(zip(row["images"], row["texts"], strict=True))


def test_three_deliveries_hold_every_kind_of_dirt():
    assert {fault.rule for fault in expected_dirt(PLAN)} == set(get_args(DirtRule))


@pytest.mark.parametrize("rule", ["missing_file", "outside_address", "damaged_picture", "icon"])
def test_bad_references_stand_at_their_listed_position(table, rule):
    for fault in planted(rule):
        assert table[fault.crawl][fault.row]["images"][fault.position] == fault.detail


def test_missing_files_are_missing(crawl):
    assert not any((crawl / fault.detail).exists() for fault in planted("missing_file"))


def test_damaged_pictures_begin_well_and_break_off(crawl):
    suffixes = set()
    for fault in planted("damaged_picture"):
        with Image.open(crawl / fault.detail) as picture, pytest.raises(OSError, match="truncated"):
            picture.load()
        suffixes.add(fault.detail.rsplit(".", 1)[1])
    assert suffixes == {"png", "jpg"}


def test_icons_are_sound_and_16_pixels_wide(crawl):
    for fault in planted("icon"):
        with Image.open(crawl / fault.detail) as picture:
            picture.load()
            assert picture.size == (16, 16)


def test_empty_texts_are_empty_not_null(table):
    for fault in planted("empty_text"):
        row = table[fault.crawl][fault.row]
        assert row["texts"][fault.position] == ""
        assert row["images"][fault.position] is None


def test_stray_markup_stands_in_the_text(table):
    for fault in planted("stray_markup"):
        assert fault.detail in table[fault.crawl][fault.row]["texts"][fault.position]
        assert "<br/>" in fault.detail


def test_pages_without_pictures_or_without_text_are_so(table):
    assert not any(any(table[fault.crawl][fault.row]["images"]) for fault in planted("no_picture"))
    for fault in planted("picture_only"):
        assert not any(table[fault.crawl][fault.row]["texts"])
        assert any(table[fault.crawl][fault.row]["images"])


def source_of(table: dict, fault: Dirt) -> tuple[str, dict]:
    """Partition key and row of the first page with the address that the fault repeats."""
    return next((key, row) for key, part in table.items() for row in part if url(row) == fault.detail)


def test_duplicates_equal_a_page_of_their_own_delivery(table):
    for fault in planted("duplicate_page"):
        key, source = source_of(table, fault)
        row = table[fault.crawl][fault.row]
        assert key == fault.crawl
        assert row == source
        assert row is not source


def test_mirrors_equal_a_page_in_all_but_the_address(table):
    for fault in planted("mirrored_page"):
        _, source = source_of(table, fault)
        row = table[fault.crawl][fault.row]
        assert content(row) == content(source)
        assert url(row) != url(source)


def test_recrawled_pages_equal_a_page_of_an_earlier_delivery(table):
    for fault in planted("recrawled_page"):
        key, source = source_of(table, fault)
        row = table[fault.crawl][fault.row]
        assert key < fault.crawl
        assert (url(row), content(row)) == (url(source), content(source))


def test_revised_pages_differ_from_an_earlier_one_by_a_sentence(table):
    for fault in planted("revised_page"):
        key, source = source_of(table, fault)
        row = table[fault.crawl][fault.row]
        assert key < fault.crawl
        assert url(row) == url(source)
        *same, (_, last) = content(row)
        *before, (_, last_before) = content(source)
        assert same == before
        assert last.startswith(last_before)
        assert last[len(last_before) :].count(".") == 1


def test_repeated_pictures_are_shown_by_another_page_too(table):
    for fault in planted("repeated_picture"):
        _, source = source_of(table, fault)
        reference = table[fault.crawl][fault.row]["images"][fault.position]
        assert reference in source["images"]
        assert url(source) != url(table[fault.crawl][fault.row])


def test_rows_without_planted_dirt_are_clean(crawl, table):
    dirty = {(fault.crawl, fault.row) for fault in expected_dirt(PLAN)}
    urls = []
    for key, part in table.items():
        for number, row in enumerate(part):
            if (key, number) in dirty:
                continue
            urls.append(url(row))
            assert all(text is None or text.strip() for text in row["texts"])
            assert all(reference is None or (crawl / reference).is_file() for reference in row["images"])
            assert not any("<" in (text or "") for text in row["texts"])
    assert len(urls) == len(set(urls)) >= 48


@pytest.mark.parametrize(("num_pages", "num_partitions"), [(1, 1), (7, 3), (14, 1), (43, 4), (131, 7)])
def test_dirt_fits_crawls_of_any_size(num_pages, num_partitions):
    plan = CrawlPlan(num_pages=num_pages, num_partitions=num_partitions, seed=1)
    for fault in expected_dirt(plan):
        assert fault.row < len(plan.rows(plan.keys.index(fault.crawl)))


def test_pages_that_are_copied_from_are_clean_themselves():
    for number, part in enumerate(PLANTINGS):
        for row, planting in part.items():
            if planting.copied_from is not None:
                back, source_row = planting.copied_from
                assert back <= number
                assert source_row < row
                assert source_row not in PLANTINGS[number - back]
