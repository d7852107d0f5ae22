"""JSON lines and folders of pages are deliveries like Parquet: the same pages, the same refusals, nothing outside."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nyx_assets.corpus.deliveries import find_deliveries
from nyx_assets.corpus.jsonl import MAX_LINE_BYTES
from nyx_assets.corpus.obelics import PictureReference, RefusedPage, WebPage, read_pages
from nyx_assets.corpus.page_files import resolved
from nyx_assets.corpus.validating import problems_of
from nyx_assets.recipes import tiny
from training_kernels.errors import DataError

PAGE = {
    "images": [None, "images/gate.png", None],
    "texts": ["The harbour gate", None, "opens at noon."],
    "metadata": json.dumps([None, {"alt_text": "gate"}, None]),
    "general_metadata": json.dumps({"url": "https://a.org/gate", "title": "Gate", "language": "en"}),
}
SHOWN = ("The harbour gate", PictureReference("images/gate.png", 1), "opens at noon.")


def pages_of(folder):
    return [page for delivery in find_deliveries(folder).deliveries for page in read_pages(delivery)]


def write_lines(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a/part.jsonl", "a/part.jsonl.gz"])
def test_json_lines_are_pages_of_a_delivery_named_like_the_file_or_folder(tmp_path, name):
    as_values = PAGE | {key: json.loads(PAGE[key]) for key in ("metadata", "general_metadata")}
    write_lines(tmp_path / name, PAGE, b"", b"  ", as_values, {"images": [], "texts": []})
    (delivery,) = find_deliveries(tmp_path).deliveries
    assert (delivery.key, delivery.num_rows) == ("a", 3)
    first, second, third = read_pages(delivery)
    assert isinstance(first, WebPage)
    assert (first.url, first.title, first.language, first.parts) == ("https://a.org/gate", "Gate", "en", SHOWN)
    assert (first.source_file, first.source_row, second.source_row) == (name, 0, 1)
    assert second.parts == SHOWN
    assert third.parts == ()


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (b"{", "not_json"),
        (b"[1]", "not_json"),
        (b'{"texts": ["\xff"], "images": [null]}', "not_json"),
        ({**PAGE, "texts": "a"}, "wrong_type"),
        ({**PAGE, "images": [None, 3, None]}, "wrong_type"),
        ({**PAGE, "texts": ["a"]}, "unequal_lists"),
        ({**PAGE, "texts": [None, None, "a"]}, "both_or_neither"),
        (b'{"texts": ["\\ud800"], "images": [null]}', "invalid_utf8"),
        ({**PAGE, "general_metadata": "{"}, "metadata_not_json"),
        ({**PAGE, "metadata": [None]}, "metadata_not_aligned"),
    ],
)
def test_a_bad_line_is_refused_by_name_and_its_neighbours_are_taken(tmp_path, line, rule):
    write_lines(tmp_path / "a.jsonl", PAGE, line, PAGE)
    before, refused, after = pages_of(tmp_path)
    assert isinstance(refused, RefusedPage)
    assert (refused.rule, refused.source_row) == (rule, 1)
    assert "a.jsonl row 1" in refused.reason
    assert before.parts == after.parts == SHOWN


def test_a_line_too_long_for_memory_costs_one_page(tmp_path, monkeypatch):
    assert MAX_LINE_BYTES >= 16 << 20
    monkeypatch.setattr("nyx_assets.corpus.jsonl.MAX_LINE_BYTES", 600)
    write_lines(tmp_path / "a.jsonl", PAGE, {"texts": ["x" * 2000], "images": [None]}, PAGE)
    first, refused, last = pages_of(tmp_path)
    assert (first.parts, refused.rule, last.parts) == (SHOWN, "line_too_long", SHOWN)
    assert find_deliveries(tmp_path).deliveries[0].num_rows == 3


def test_a_gzip_file_that_is_cut_off_is_a_refused_delivery(tmp_path):
    whole = write_lines(tmp_path / "a.jsonl.gz", *[PAGE | {"n": number} for number in range(500)])
    whole.write_bytes(whole.read_bytes()[:-30])
    write_lines(tmp_path / "b.jsonl", PAGE)
    found = find_deliveries(tmp_path)
    assert [one.key for one in found.deliveries] == ["b"]
    assert "a.jsonl.gz cannot be read" in found.refused[0].reason


@pytest.mark.parametrize(
    ("texts", "text"),
    [
        (pa.list_(pa.string()), pa.string()),
        (pa.large_list(pa.large_string()), pa.large_string()),
        (pa.list_(pa.large_string()), pa.string()),
        (pa.list_(pa.string_view()), pa.string_view()),
        (pa.list_(pa.string(), 3), pa.string()),
    ],
)
def test_parquet_is_read_in_every_text_type_and_with_more_columns(tmp_path, texts, text):
    schema = {"images": texts, "texts": texts, "metadata": text, "general_metadata": text, "more": pa.int8()}
    table = pa.table({name: pa.array([(PAGE | {"more": 1})[name]], kind) for name, kind in schema.items()})
    pq.write_table(table, tmp_path / "a.parquet")
    (page,) = pages_of(tmp_path)
    assert (page.parts, page.title) == (SHOWN, "Gate")


@pytest.fixture
def site(tmp_path, picture):
    folder = tmp_path / "site"
    picture(folder / "img" / "a b.png")
    (folder / "docs").mkdir()
    (folder / "docs" / "one.md").write_text(
        "---\ntitle: One\nlang: fr\nlicense: CC0\n---\n# Head\n\nText ![gate](../img/a%20b.png)\n"
    )
    (folder / "two.html").write_text(
        '<html lang=en><title>Two</title><link rel=canonical href="https://a.org/two"><p>Two <img src="/img/a%20b.png">'
    )
    (folder / ".git").mkdir()
    (folder / ".git" / "hidden.md").write_text("hidden")
    return folder


def test_a_folder_of_markdown_and_html_is_a_delivery_of_pages_at_any_depth(tmp_path, site):
    (delivery,) = find_deliveries(tmp_path).deliveries
    assert (delivery.key, delivery.num_rows, delivery.folder) == ("site", 2, site)
    one, two = read_pages(delivery)
    assert (one.url, one.title, one.language, one.licence) == ("docs/one.md", "One", "fr", "CC0")
    assert one.parts == ("Head\n\nText", PictureReference("img/a b.png", 1), "gate")
    assert (one.source_file, two.source_file) == ("site/docs/one.md", "site/two.html")
    assert (two.url, two.title, two.language) == ("https://a.org/two", "Two", "en")
    assert two.parts == ("Two", PictureReference("img/a b.png", 1))


def test_beside_files_of_pages_a_readme_is_no_page(tmp_path, site):
    write_lines(site / "pages.jsonl", PAGE)
    (delivery,) = find_deliveries(tmp_path).deliveries
    assert [file.path.name for file in delivery.files] == ["pages.jsonl"]


@pytest.mark.parametrize(
    ("reference", "path"),
    [
        ("a.png", "docs/a.png"),
        ("./x/../a.png?v=3#top", "docs/a.png"),
        ("../img/a%20b.png", "img/a b.png"),
        ("/img/a.png", "img/a.png"),
        ("../../secret.png", "../secret.png"),
        ("/../secret.png", "../secret.png"),
        ("..%2f..%2fsecret.png", "../secret.png"),
        ("https://a.org/a.png", "https://a.org/a.png"),
        ("//a.org/a.png", "//a.org/a.png"),
        ("file:///etc/passwd", "file:///etc/passwd"),
        ("http://[broken", "http://[broken"),
    ],
)
def test_a_reference_becomes_a_path_in_the_delivery(reference, path):
    assert resolved(reference, "docs") == path


def test_page_files_that_are_none_are_refused_by_name_and_the_others_are_taken(tmp_path, site):
    (tmp_path / "secret.md").write_text("secret")
    (site / "link.md").symlink_to(tmp_path / "secret.md")
    (site / "bytes.md").write_bytes(b"caf\xe9")
    (site / "latin.html").write_bytes(b"<meta charset=latin-1><p>caf\xe9")
    (site / "odd.html").write_bytes(b"<meta charset=martian><p>x")
    (site / "broken.md").write_text("---\ntitle: [\n---\nx")
    by_file = {page.source_file: page for page in pages_of(tmp_path)}
    rules = {name: page.rule for name, page in by_file.items() if isinstance(page, RefusedPage)}
    assert rules == {
        "site/link.md": "outside_folder",
        "site/bytes.md": "invalid_encoding",
        "site/odd.html": "invalid_encoding",
        "site/broken.md": "front_matter_not_yaml",
    }
    assert by_file["site/latin.html"].parts == ("café",)
    assert "at byte 3 (0xe9)" in by_file["site/bytes.md"].reason


def test_the_validator_says_each_problem_in_one_line_and_nothing_of_what_is_right(tmp_path, site, write_parquet, row):
    limits = tiny().pictures
    assert list(problems_of(tmp_path, limits)) == []
    (site / "three.md").write_text("a ![](../../out.png) b ![](gone.png) c ![](https://a.org/x.png) \n\nd")
    write_parquet(tmp_path / "rows.parquet", [row((None, "fine")), row(("x.png", "both"))])
    (tmp_path / "bad,key.jsonl").write_text("{}\n")
    lines = [str(problem) for problem in problems_of(tmp_path, limits)]
    assert [line.split(": ")[:2] for line in lines] == [
        ["bad,key", "refused_delivery"],
        ["rows", "both_or_neither"],
        ["site", "outside_folder"],
        ["site", "missing_file"],
    ]
    assert "rows.parquet row 1" in lines[1]
    assert "site/three.md row 0" in lines[3]
    assert all("\n" not in line for line in lines)
    with pytest.raises(DataError, match="is not there"):
        list(problems_of(tmp_path / "nowhere", limits))
