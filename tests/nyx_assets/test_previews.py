"""Rows become a Markdown table that no content can break, with the pictures in it."""

import base64
import io
import re

import pytest
from PIL import Image

from nyx_assets.previews import MAX_PICTURES, THUMBNAIL_PIXELS, markdown_preview, thumbnail


class Pictures:
    """A red picture, wide, for any digest."""

    def open(self, digest: str) -> Image.Image:
        return Image.new("RGB", (400, 100), digest)


def text(value: str) -> dict[str, str | None]:
    return {"kind": "text", "text": value, "image": None}


def picture(colour: str) -> dict[str, str | None]:
    return {"kind": "image", "text": None, "image": colour}


def decoded(markdown: str) -> list[Image.Image]:
    found = re.findall(r"!\[picture\]\(data:image/jpeg;base64,([^)]+)\)", markdown)
    return [Image.open(io.BytesIO(base64.b64decode(one))) for one in found]


def test_rows_and_columns_are_those_asked_for() -> None:
    rows = [{"a": 1, "b": 0.123456, "c": "no"}, {"a": None, "b": 2.0, "c": "no"}]
    assert markdown_preview(rows, ["b", "a"], Pictures()).splitlines() == [
        "| b | a |",
        "|---|---|",
        "| 0.1235 | 1 |",
        "| 2 |  |",
    ]


def test_no_rows_are_a_table_with_a_head() -> None:
    assert markdown_preview([], ["a"], Pictures()) == "| a |\n|---|"


@pytest.mark.parametrize("nasty", ["a | b", "two\nlines", "<script>", "`code`", "x" * 1000])
def test_no_text_breaks_the_table(nasty: str) -> None:
    lines = markdown_preview([{"a": nasty, "b": [nasty, nasty]}], ["a", "b"], Pictures()).splitlines()
    assert len(lines) == 3
    assert len(re.findall(r"(?<!\\)\|", lines[2])) == 3
    assert "<" not in lines[2]
    assert "`" not in lines[2]
    assert len(lines[2]) < 600


def test_segments_keep_their_order_and_show_their_first_pictures() -> None:
    shown = [text("before"), picture("red"), text("after"), *[picture("blue")] * 5]
    cell = markdown_preview([{"segments": shown}], ["segments"], Pictures()).splitlines()[2]
    assert cell.index("before") < cell.index("![picture]") < cell.index("after")
    pictures = decoded(cell)
    assert len(pictures) == MAX_PICTURES
    red, green, blue = pictures[0].getpixel((5, 5))
    assert red > 200 > 60 > max(green, blue)


def test_a_thumbnail_keeps_the_proportions_and_is_small() -> None:
    for mode in ("RGB", "RGBA", "P", "L"):
        markdown = thumbnail(Image.new(mode, (400, 100)))
        assert decoded(markdown)[0].size == (THUMBNAIL_PIXELS, THUMBNAIL_PIXELS // 4)
        assert len(markdown) < 8_000
