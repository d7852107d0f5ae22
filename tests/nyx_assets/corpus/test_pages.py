"""Every page becomes a document or a rejected page, every picture reference is kept or rejected."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from nyx_assets.corpus.deliveries import find_deliveries
from nyx_assets.corpus.links import WebLinks
from nyx_assets.corpus.obelics import PictureReference, RefusedPage, WebPage, read_pages
from nyx_assets.corpus.pages import documents_of
from nyx_assets.recipes import tiny
from nyx_assets.records import CRAWL_DOCUMENTS, REJECTED_DOCUMENTS
from resources.fetching import NOT_FETCHED
from resources.images import FolderImageStore
from tests.deliveries import break_rows
from training_kernels.errors import DataError


class CountingStore(FolderImageStore):
    """The real store, counting how often it is asked."""

    num_puts = 0

    def put(self, data, *, limits):
        self.num_puts += 1
        return super().put(data, limits=limits)


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    return CountingStore(str(tmp_path / "home" / "images"))


def only_delivery(folder: Path):
    return find_deliveries(folder).deliveries[0]


def taken(folder: Path, store: FolderImageStore) -> tuple[list[dict], list[dict]]:
    rows = list(documents_of(only_delivery(folder), store, tiny().pictures, WebLinks(NOT_FETCHED)))
    documents = [item.values for item in rows if item.is_document]
    rejected = [item.values for item in rows if not item.is_document]
    assert pa.Table.from_pylist(documents, schema=CRAWL_DOCUMENTS).num_rows == len(documents)
    assert all(set(values) == set(REJECTED_DOCUMENTS.names) for values in rejected)
    pa.Table.from_pylist(rejected, schema=REJECTED_DOCUMENTS)
    return documents, rejected


def test_a_page_keeps_its_order_its_texts_byte_for_byte_and_what_is_known_about_it(
    tmp_path, store, picture, row, write_parquet
):
    crawl = tmp_path / "crawl"
    picture(crawl / "images" / "a.png")
    texts = ["  Tea \n\n is\tready.\u00a0", "e\u0301 ﬁ 好"]
    write_parquet(
        crawl / "p.parquet", [row((None, texts[0]), ("images/a.png", None), (None, " \n\t"), (None, texts[1]))]
    )
    (document,), rejected = taken(crawl, store)
    assert rejected == []
    assert [segment["kind"] for segment in document["segments"]] == ["text", "image", "text"]
    assert [s["text"] for s in document["segments"] if s["kind"] == "text"] == texts
    assert Path(store.path(document["segments"][1]["image"])).read_bytes() == (crawl / "images/a.png").read_bytes()
    known = {name: document[name] for name in ("url", "title", "language", "licence", "num_images", "source_file")}
    assert known == {
        "url": "https://a.example/1",
        "title": "T",
        "language": "en",
        "licence": "CC0",
        "num_images": 1,
        "source_file": "p.parquet",
    }


RULES = ["unequal_lists", "both_or_neither", "invalid_utf8", "metadata_not_json", "metadata_not_aligned", "empty"]


@pytest.fixture
def bad_rows(row):
    return {
        "unequal_lists": [row(images=[None], texts=[b"a", b"b"]), row(images=None, texts=[b"a"])],
        "both_or_neither": [row((None, "a"), ("x.png", "b")), row((None, "a"), (None, None))],
        "invalid_utf8": [
            row((None, b"caf\xe9")),
            row((b"\xff.png", None)),
            row((None, "a"), general=b'{"url": "\xff"}'),
        ],
        "metadata_not_json": [
            row((None, "a"), metadata="{"),
            row((None, "a"), general="[1]"),
            row((None, "a"), general="[" * 200_000),
        ],
        "metadata_not_aligned": [row((None, "a"), metadata="[null, null]"), row((None, "a"), metadata="{}")],
        "empty": [row((None, " \n")), row(), row(("gone.png", None), (None, ""))],
    }


@pytest.mark.parametrize("rule", RULES)
def test_a_bad_row_is_refused_by_name_and_its_neighbours_are_taken(tmp_path, store, rule, row, write_parquet, bad_rows):
    rows = []
    for number, bad in enumerate(bad_rows[rule]):
        rows += [row((None, f"Good page {number}.")), bad]
    write_parquet(tmp_path / "crawl" / "p.parquet", rows)
    documents, rejected = taken(tmp_path / "crawl", store)
    assert [document["source_row"] for document in documents] == list(range(0, len(rows), 2))
    pages = [values for values in rejected if values["kind"] == "page"]
    assert [(values["rule"], values["source_row"]) for values in pages] == [(rule, n) for n in range(1, len(rows), 2)]
    assert all(f"p.parquet row {values['source_row']}" in values["reason"] for values in pages)
    assert all(values["doc_id"] is None for values in rejected)


def test_reasons_name_the_field_and_the_position(tmp_path, store, row, write_parquet):
    write_parquet(
        tmp_path / "crawl" / "p.parquet", [row((None, "ok"), (None, b"caf\xe9")), row((None, "a"), ("b", "c"))]
    )
    _, rejected = taken(tmp_path / "crawl", store)
    assert "texts[1] is not UTF-8 at byte 3 (0xe9)" in rejected[0]["reason"]
    assert "position 1 holds both an image and a text" in rejected[1]["reason"]


def test_an_address_is_looked_for_in_both_metadata_and_may_be_missing(tmp_path, row, write_parquet):
    rows = [
        row((None, "a"), (None, "b"), url=None, metadata='[null, {"document_url": "https://b.example"}]'),
        row((None, "a"), url=None, metadata=None, general=b"null"),
        row((None, "a"), general=json.dumps({"url": 7, "title": "half \ud83d", "license": "MIT"})),
    ]
    write_parquet(tmp_path / "p.parquet", rows)
    pages = list(read_pages(only_delivery(tmp_path)))
    assert [(page.url, page.title, page.licence) for page in pages if isinstance(page, WebPage)] == [
        ("https://b.example", "", ""),
        ("", "", ""),
        ("", "half ?", "MIT"),
    ]


def test_a_page_keeps_its_good_pictures_and_each_failure_is_a_row(tmp_path, store, picture, row, write_parquet):
    crawl = tmp_path / "crawl"
    picture(crawl / "good.png")
    picture(crawl / "icon.png", size=(400, 20))
    picture(tmp_path / "secret.png")
    (crawl / "link.png").symlink_to(tmp_path / "secret.png")
    (crawl / "inner.png").symlink_to(crawl / "good.png")
    (crawl / "loop.png").symlink_to(crawl / "loop.png")
    (crawl / "cut.png").write_bytes((crawl / "good.png").read_bytes()[:-30])
    (crawl / "page.png").write_text("<html>not found</html>")
    os.mkfifo(crawl / "pipe.png")
    rule_by_reference = {
        "../secret.png": "outside_folder",
        str(tmp_path / "secret.png"): "outside_folder",
        "/etc/passwd": "outside_folder",
        "../../etc/passwd": "outside_folder",
        "link.png": "outside_folder",
        "FILE:///etc/passwd": "outside_folder",
        "C:\\secret.png": "outside_folder",
        ".": "outside_folder",
        "https://a.example/x.png": "not_fetched",
        "//a.example/x.png": "not_fetched",
        "data:image/png;base64,AAAA": "unsupported_scheme",
        "gone.png": "missing_file",
        "loop.png": "missing_file",
        "pipe.png": "missing_file",
        "a\0b.png": "missing_file",
        "x" * 5000: "missing_file",
        " ": "empty_reference",
        "icon.png": "icon",
        "cut.png": "damaged",
        "page.png": "not_an_image",
    }
    good = ["good.png", "./good.png", "inner.png", "sub/../good.png"]
    references = [good[0], *rule_by_reference, *good[1:]]
    write_parquet(crawl / "p.parquet", [row(*((reference, None) for reference in references))])
    (document,), rejected = taken(crawl, store)
    assert {values["reference"]: values["rule"] for values in rejected} == rule_by_reference
    assert [values["position"] for values in rejected] == list(range(1, len(rule_by_reference) + 1))
    assert {(values["doc_id"], values["kind"]) for values in rejected} == {(document["doc_id"], "picture")}
    assert all(values["reason"] and len(values["reason"]) < 600 for values in rejected)
    assert document["num_images"] == len(good)
    assert len({segment["image"] for segment in document["segments"]}) == 1


def test_a_picture_that_many_pages_show_is_verified_once(tmp_path, store, picture, row, write_parquet):
    crawl = tmp_path / "crawl"
    picture(crawl / "logo.png")
    rows = [row((None, f"Page {n}."), ("logo.png", None), ("gone.png", None)) for n in range(9)]
    write_parquet(crawl / "p.parquet", rows)
    documents, rejected = taken(crawl, store)
    assert (len(documents), len(rejected), store.num_puts) == (9, 9, 1)


def test_a_file_above_the_byte_limit_is_not_even_read(tmp_path, store, row, write_parquet):
    crawl = tmp_path / "crawl"
    write_parquet(crawl / "p.parquet", [row((None, "a"), ("huge.png", None))])
    with open(crawl / "huge.png", "wb") as file:
        file.truncate(tiny().pictures.max_bytes + 1)
    _, (refused,) = taken(crawl, store)
    assert (refused["rule"], store.num_puts) == ("too_large", 0)


def test_the_second_copy_of_a_page_is_rejected_and_another_address_is_another_page(tmp_path, store, row, write_parquet):
    rows = [row((None, "Same.")), row((None, "Same."), url="https://a.example/2"), row((None, "Same."))]
    write_parquet(tmp_path / "crawl" / "b" / "1.parquet", rows[:2])
    write_parquet(tmp_path / "crawl" / "b" / "2.parquet", rows[2:])
    documents, (copy,) = taken(tmp_path / "crawl", store)
    assert len({document["doc_id"] for document in documents}) == 2
    assert (copy["rule"], copy["source_file"], copy["source_row"]) == ("duplicate_in_delivery", "b/2.parquet", 0)
    assert "b/1.parquet row 0" in copy["reason"]


def test_an_unchanged_page_has_the_same_id_in_a_later_crawl(tmp_path, store, row, write_parquet):
    for name in ("old", "new"):
        write_parquet(tmp_path / name / f"{name}.parquet", [row((None, f"Only {name}.")), row((None, "Same."))])
    ids = [{document["doc_id"] for document in taken(tmp_path / name, store)[0]} for name in ("old", "new")]
    assert len(ids[0] & ids[1]) == 1


def test_a_file_that_breaks_in_the_middle_is_an_error_that_names_it(tmp_path, store, row, write_parquet):
    path = write_parquet(tmp_path / "p.parquet", [row((None, f"Page {n}. " * 50)) for n in range(30)])
    break_rows(path)
    delivery = only_delivery(tmp_path)
    with pytest.raises(DataError, match=str(path)):
        list(documents_of(delivery, store, tiny().pictures, WebLinks(NOT_FETCHED)))


@pytest.mark.parametrize("place", ["p.parquet", "p/part-0.parquet"])
def test_a_delivery_that_changed_since_it_landed_is_not_taken_for_what_landed(
    tmp_path, store, row, write_parquet, place
):
    """Neither one that was written over before it was read, nor one that is written over meanwhile."""
    path = write_parquet(tmp_path / place, [row((None, f"Page {n}.")) for n in range(30)])
    delivery = only_delivery(tmp_path)
    said = "files of delivery p were changed since it landed; it is taken as it is now when it has landed again"
    pages = documents_of(delivery, store, tiny().pictures, WebLinks(NOT_FETCHED))
    assert next(pages).is_document
    write_parquet(path, [row((None, "Another page."))])
    with pytest.raises(DataError, match=said):
        list(pages)
    with pytest.raises(DataError, match=said):
        next(documents_of(delivery, store, tiny().pictures, WebLinks(NOT_FETCHED)))
    documents, _ = taken(tmp_path, store)
    assert [document["segments"][0]["text"] for document in documents] == ["Another page."]
    path.unlink()
    with pytest.raises(DataError, match=f"{path} is not there any more: it was removed .* deliver it again"):
        next(documents_of(delivery, store, tiny().pictures, WebLinks(NOT_FETCHED)))


def test_of_a_file_beside_others_the_others_are_not_looked_at_when_it_is_another(
    tmp_path, store, row, write_parquet, monkeypatch
):
    path = write_parquet(tmp_path / "p.parquet", [row((None, "A page."))])
    delivery = only_delivery(tmp_path)
    write_parquet(path, [row((None, "Another page."))])
    monkeypatch.setattr("os.walk", lambda *_, **__: pytest.fail("the crawl folder was walked"))
    with pytest.raises(DataError, match="were changed since it landed"):
        next(documents_of(delivery, store, tiny().pictures, WebLinks(NOT_FETCHED)))


def test_a_file_in_a_crawl_folder_that_has_the_name_of_its_key_is_what_landed(tmp_path, store, row, write_parquet):
    write_parquet(tmp_path / "p" / "p.parquet", [row((None, "A page."))])
    write_parquet(tmp_path / "p" / "q.parquet", [row((None, "A page."))])
    for delivery in find_deliveries(tmp_path / "p").deliveries:
        assert next(documents_of(delivery, store, tiny().pictures, WebLinks(NOT_FETCHED))).is_document


def test_texts_and_empty_references_are_told_apart(tmp_path, row, write_parquet):
    write_parquet(tmp_path / "p.parquet", [row(("", None), (None, "a"), ("x.png", None))])
    (page,) = read_pages(only_delivery(tmp_path))
    assert not isinstance(page, RefusedPage)
    assert page.parts == ("a", PictureReference("x.png", 2))


MEASURE = """
import re, sys
from pathlib import Path
from nyx_assets.corpus.deliveries import find_deliveries
from nyx_assets.corpus.obelics import read_pages

def peak_megabytes():
    # VmHWM begins anew with each program; ru_maxrss would carry over that of the process that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024

delivery = find_deliveries(Path(sys.argv[1])).deliveries[0]
before = peak_megabytes()
num_pages = sum(1 for _ in read_pages(delivery))
print(num_pages, peak_megabytes() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak of a process is read from /proc")
def test_a_row_group_of_any_size_is_read_in_bounded_memory(tmp_path, row, write_parquet):
    num_pages, page_bytes = 20_000, 10_000
    rows = [row((None, f"{n} " + os.urandom(page_bytes // 2).hex())) for n in range(num_pages)]
    path = write_parquet(tmp_path / "big" / "p.parquet", rows, row_group_size=num_pages)
    assert path.stat().st_size > 100e6
    run = [sys.executable, "-c", MEASURE, str(path.parent)]
    out = subprocess.run(run, capture_output=True, text=True, check=True).stdout.split()
    assert int(out[0]) == num_pages
    assert int(out[1]) < 120, f"reading {path.stat().st_size / 1e6:.0f} MB took {out[1]} MB"


def test_all_real_pages_are_taken_and_their_failures_are_those_of_the_data_card(shared_data, store):
    num_pages = num_references = 0
    kept = 0
    rules: Counter[str] = Counter()
    for delivery in find_deliveries(shared_data / "interleaved").deliveries:
        for page in read_pages(delivery):
            assert isinstance(page, WebPage)
            num_references += sum(isinstance(part, PictureReference) for part in page.parts)
        for item in documents_of(delivery, store, tiny().pictures, WebLinks(NOT_FETCHED)):
            if item.is_document:
                num_pages += 1
                kept += item.values["num_images"]
            else:
                rules[item.values["rule"]] += 1
    assert (num_pages, num_references) == (467, 1654)  # README of the shared data
    assert kept + sum(rules.values()) == num_references
    assert rules["missing_file"] + rules["outside_folder"] == 21  # "21 references to missing files"
    assert rules["not_fetched"] == 15  # "15 to outside addresses"
