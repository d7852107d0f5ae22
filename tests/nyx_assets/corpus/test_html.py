"""What a page shows comes out in reading order, and what it does not show stays out."""

import pytest

from nyx_assets.corpus.html import charset_of, read_html
from nyx_assets.corpus.markdown import html_of_markdown
from nyx_assets.corpus.web_pages import PictureReference, RowFault


def shown(body: str) -> list[str]:
    """Texts as they are, pictures as their reference in brackets."""
    parts = read_html(f"<!doctype html><html><head><title>T</title></head><body>{body}</body></html>").parts
    assert [part.position for part in parts if isinstance(part, PictureReference)] == [
        place for place, part in enumerate(parts) if isinstance(part, PictureReference)
    ]
    return [f"[{part.reference}]" if isinstance(part, PictureReference) else part for part in parts]


def test_paragraphs_stand_a_blank_line_apart_and_white_space_is_one_space():
    assert shown("<h1>Top</h1>loose<p>one\n <b>t</b>wo&nbsp;three<br>four</p>") == [
        "Top\n\nloose\n\none two three\nfour"
    ]


def test_pictures_stand_in_place_with_their_caption_else_their_alternative_text():
    assert shown('<p>before <img src="a.jpg" alt="a gate"> after</p>') == ["before", "[a.jpg]", "a gate\n\nafter"]
    figure = '<figure><img src="b.jpg" alt="unsaid"><figcaption>The <i>tower</i></figcaption></figure>'
    assert shown(figure) == ["[b.jpg]", "The tower"]


@pytest.mark.parametrize(
    ("mark_up", "reference"),
    [
        ('<img data-src="late.png" src="data:image/gif;base64,AA">', "late.png"),
        ('<img srcset="small.jpg 1x, large.jpg 2x">', "small.jpg"),
        ('<picture><source srcset="x.webp"><img src="x.jpg"></picture>', "x.jpg"),
        ('<img src="data:image/gif;base64,AA">', "data:image/gif;base64,AA"),
    ],
)
def test_a_picture_that_loads_late_is_found_by_where_it_really_is(mark_up, reference):
    assert shown(mark_up) == [f"[{reference}]"]


def test_a_picture_without_a_reference_leaves_no_trace():
    assert shown('a<img alt="x">') == ["a"]


def test_lists_are_lines_with_their_numbers_and_depth():
    body = "<ul><li>a<li>b<ul><li>c</ul></ul><ol start=3><li>x<li><p>y</p></ol><p>end</p>"
    assert shown(body) == ["- a\n- b\n  - c\n\n3. x\n4. y\n\nend"]


def test_tables_are_lines_of_cells_and_layout_tables_are_not():
    rows = "<tr>\n<th>h1</th>\n<th>h2</th></tr><tr><td></td><td>2</td></tr><tr><td><p>3</p><p>4</p></td><td>5</td></tr>"
    assert shown(f"<p>a</p><table>{rows}</table><p>b</p>") == ["a\n\nh1 | h2\n| 2\n3 4 | 5\n\nb"]
    assert shown("<table><tr><td><h2>Menu</h2><p>x</p></td><td>y</td></tr></table>") == ["Menu\n\nx\n\ny"]


def test_code_keeps_its_lines_and_spaces():
    assert shown("<p>a</p><pre><code>def f():\n    return  1\n</code></pre>") == ["a\n\ndef f():\n    return  1"]


def test_scripts_styles_navigation_and_what_is_hidden_are_left_out():
    body = (
        "<nav>Home <img src=logo.png></nav><script>x()</script><style>p{}</style><noscript>on</noscript>"
        "<template><p>t</p></template><p hidden>h</p><p aria-hidden=true>i</p><button>b</button><svg><text>s</text></svg>"
        "<!-- c --><p>kept</p>"
    )
    assert shown(body) == ["kept"]


def test_a_page_tells_its_title_language_licence_and_address():
    page = read_html(
        '<html lang="de"><head><title> A &amp;\n B </title><link rel="canonical" href="https://x.org/a">'
        '<link rel="license" href="https://cc/by"></head><body><h1>H</h1></body></html>'
    )
    assert (page.title, page.language, page.licence, page.address) == (
        "A & B",
        "de",
        "https://cc/by",
        "https://x.org/a",
    )
    assert read_html("<h1>Only <b>this</b></h1>").title == "Only this"


def test_a_page_nested_deeper_than_python_calls_is_read():
    assert shown("<div>" * 5000 + "deep") == ["deep"]


def test_the_encoding_is_the_one_that_the_page_names():
    assert charset_of(b'<meta http-equiv="Content-Type" content="text/html; charset=iso-8859-1">') == "iso-8859-1"
    assert charset_of(b"<meta charset='Shift_JIS'>") == "Shift_JIS"
    assert charset_of(b"<p>charset=x</p>") == "utf-8-sig"
    assert charset_of(b"\xef\xbb\xbf<meta charset=latin-1>") == "utf-8-sig"


def test_markdown_has_its_tables_code_lists_pictures_and_html():
    matter, html = html_of_markdown(
        "# Top\n\npara ![a gate](../img/a%20b.png) rest\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nx  = 1\n```\n\n"
        "1. one\n2. two\n\n<figure><img src='c.jpg'><figcaption>Cap</figcaption></figure>\n"
    )
    assert matter == {}
    parts = read_html(html).parts
    assert [part.reference if isinstance(part, PictureReference) else part for part in parts] == [
        "Top\n\npara",
        "../img/a%20b.png",
        "a gate\n\nrest\n\na | b\n1 | 2\n\nx  = 1\n\n1. one\n2. two",
        "c.jpg",
        "Cap",
    ]


def test_front_matter_is_read_as_texts_and_taken_off():
    matter, html = html_of_markdown('---\ntitle: "My: page"\ndate: 2020-99-99\n---\nText\n\n---\n\nmore')
    assert matter == {"title": "My: page", "date": "2020-99-99"}
    assert read_html(html).parts == ("Text\n\nmore",)
    assert html_of_markdown("---\n---\nText")[0] == {}


@pytest.mark.parametrize("matter", ["title: [a", "- a\n- b"])
def test_front_matter_that_is_no_mapping_is_refused_by_name(matter):
    with pytest.raises(RowFault) as refused:
        html_of_markdown(f"---\n{matter}\n---\nText")
    assert refused.value.rule == "front_matter_not_yaml"
