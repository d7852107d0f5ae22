"""What an HTML page shows, as texts and pictures in reading order, by the HTML5 parser of the library selectolax.

Kept: headings, paragraphs, code blocks with their line breaks, lists as lines that begin with "- " or a number, tables
as lines with " | " between cells, pictures in place. A picture's caption stands behind it; where it has none, its
alternative text does. Left out: scripts, styles, navigation, forms' controls, embedded players and frames, and what is
marked as hidden.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nyx_assets.corpus.web_pages import PictureReference

LEFT_OUT = re.compile(
    r"head|script|style|noscript|template|nav|iframe|object|embed|svg|canvas|audio|video|map|button|select|"
    r"textarea|input|datalist|dialog|annotation"
)
BLOCKS = re.compile(
    r"address|article|aside|blockquote|body|caption|center|dd|details|div|dl|dt|fieldset|figcaption|figure|"
    r"footer|form|h1|h2|h3|h4|h5|h6|header|hgroup|hr|html|legend|li|main|menu|ol|p|pre|search|section|summary|"
    r"table|tbody|tfoot|thead|tr|ul"
)
LISTS = frozenset(("ul", "ol", "menu"))
LAYOUT_SIGNS = "h1, h2, h3, h4, h5, h6, table, pre"
"""What a table holds that is there to lay a page out and not to tabulate: its cells are read as blocks."""

SPACE = re.compile(r"[ \t\r\n\f\u00a0]+")
SPACE_RUN = re.compile(r" +")
LINE_END = re.compile(r" *\n *")
CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w.:-]+)", re.I)
CHARSET_BYTES = 1024
"""Where the HTML standard says that a page names its encoding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HtmlPage:
    """What a page says and what it says about itself; what it does not say is an empty string."""

    title: str
    language: str
    licence: str
    address: str
    parts: tuple[str | PictureReference, ...]
    """References as they stand in the page."""


def charset_of(data: bytes) -> str:
    """The encoding that a page names in its first bytes, else UTF-8."""
    found = CHARSET.search(data[:CHARSET_BYTES])
    return found[1].decode("ascii") if found and not data.startswith(b"\xef\xbb\xbf") else "utf-8-sig"


def read_html(text: str) -> HtmlPage:
    """The page of an HTML text, whatever is wrong with its mark-up."""
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(text)
    reader = _Reader()
    if tree.root is not None:
        _walk(tree.root, reader)
    return HtmlPage(
        title=_text_of(tree, "title") or _text_of(tree, "h1"),
        language=_attribute(tree, "html[lang]", "lang"),
        licence=_attribute(tree, "link[rel~=license], a[rel~=license]", "href"),
        address=_attribute(tree, "link[rel=canonical]", "href")
        or _attribute(tree, 'meta[property="og:url"]', "content"),
        parts=tuple(reader.finish()),
    )


def _text_of(tree: Any, selector: str) -> str:
    node = tree.css_first(selector)
    return SPACE.sub(" ", node.text(deep=True)).strip() if node is not None else ""


def _attribute(tree: Any, selector: str, name: str) -> str:
    node = tree.css_first(selector)
    return (node.attributes.get(name) or "").strip() if node is not None else ""


def _walk(root: Any, reader: "_Reader") -> None:
    """Enter and leave every node in order; a stack of our own, since pages may nest deeper than Python calls."""
    stack = [(root, True)]
    while stack:
        node, is_entered = stack.pop()
        if not is_entered:
            reader.leave(node)
            continue
        if node.tag == "-text":
            reader.text(node.text_content or "")
            continue
        attributes = node.attributes or {}
        if node.tag.startswith(("-", "!")) or LEFT_OUT.fullmatch(node.tag) or _is_hidden(attributes):
            continue
        reader.enter(node, attributes)
        stack.append((node, False))
        child = node.last_child
        while child is not None:
            stack.append((child, True))
            child = child.prev


def _is_hidden(attributes: Mapping[str, str | None]) -> bool:
    return "hidden" in attributes or attributes.get("aria-hidden") == "true"


@dataclass
class _List:
    number: int | None
    """Of the next item; None where items have dashes."""


class _Reader:
    """Collects what a page shows while its nodes are entered and left."""

    def __init__(self) -> None:
        self._parts: list[str | PictureReference] = []
        self._paragraphs: list[str] = []
        self._written: list[str] = []
        self._lists: list[_List] = []
        self._tables: list[bool] = []
        """For each open table, whether its rows are lines."""
        self._captioned: list[bool] = []
        """For each open figure, whether it has a caption."""
        self._num_cells = 0
        """Of the row that is being read."""
        self._num_pre = 0
        self._prefix = ""
        self._is_line = False

    @property
    def _in_row(self) -> bool:
        return bool(self._tables) and self._tables[-1]

    def text(self, text: str) -> None:
        self._written.append(text if self._num_pre else SPACE.sub(" ", text))

    def enter(self, node: Any, attributes: Mapping[str, str | None]) -> None:
        tag = node.tag
        if tag == "img":
            self._picture(attributes)
        elif tag == "br":
            self._written.append(" " if self._in_row else "\n")
        elif tag in ("td", "th") and self._in_row:
            if self._num_cells:
                self._written.append(" | ")
            self._num_cells += 1
        elif BLOCKS.fullmatch(tag) or tag in ("td", "th"):
            self._break(tag)
        if tag == "table":
            is_layout = attributes.get("role") == "presentation" or _holds(node, LAYOUT_SIGNS)
            self._tables.append(not is_layout)
            self._is_line = False
        elif tag in LISTS:
            self._is_line = self._is_line and bool(self._lists)
            self._lists.append(_List(_first_number(attributes) if tag == "ol" else None))
        elif tag == "li":
            self._begin_item()
        elif tag == "tr":
            self._num_cells = 0
        elif tag == "pre":
            self._num_pre += 1
        elif tag == "figure":
            self._captioned.append(_holds(node, "figcaption"))

    def leave(self, node: Any) -> None:
        tag = node.tag
        if BLOCKS.fullmatch(tag) or (tag in ("td", "th") and not self._in_row):
            self._break(tag)
        if tag == "table":
            self._tables.pop()
        elif tag in LISTS:
            self._lists.pop()
        elif tag == "pre":
            self._num_pre -= 1
        elif tag == "figure":
            self._captioned.pop()

    def finish(self) -> list[str | PictureReference]:
        self._end_paragraph()
        self._end_text()
        return self._parts

    def _break(self, tag: str) -> None:
        """A block begins or ends: outside rows that ends the paragraph, inside only the row itself does."""
        if not self._in_row or tag in ("tr", "table", "caption"):
            self._end_paragraph()
        else:
            self._written.append(" ")

    def _begin_item(self) -> None:
        if self._in_row:
            return
        depth = max(0, len(self._lists) - 1)
        open_list = self._lists[-1] if self._lists else _List(None)
        self._prefix = "  " * depth + ("- " if open_list.number is None else f"{open_list.number}. ")
        if open_list.number is not None:
            open_list.number += 1

    def _picture(self, attributes: Mapping[str, str | None]) -> None:
        reference = _reference(attributes)
        if not reference:
            return
        self._end_paragraph()
        self._end_text()
        self._parts.append(PictureReference(reference, len(self._parts)))
        alternative = SPACE.sub(" ", attributes.get("alt") or "").strip()
        if alternative and not any(self._captioned):
            self._paragraphs.append(alternative)

    def _end_paragraph(self) -> None:
        text = "".join(self._written)
        self._written = []
        if self._num_pre:
            text = text.strip("\r\n").rstrip()
        else:
            text = LINE_END.sub("\n", SPACE_RUN.sub(" ", text)).strip()
        if not text or (self._in_row and not text.strip("| ")):
            return
        is_line = bool(self._prefix) or self._in_row
        # lines of one list or table stand close; a line apart is a new paragraph
        if is_line and self._is_line and self._paragraphs:
            self._paragraphs[-1] += f"\n{self._prefix}{text}"
        else:
            self._paragraphs.append(self._prefix + text)
        self._is_line, self._prefix = is_line, ""

    def _end_text(self) -> None:
        """What was collected since the last picture becomes one text, its paragraphs a blank line apart."""
        if self._paragraphs:
            self._parts.append("\n\n".join(self._paragraphs))
        self._paragraphs, self._is_line = [], False


def _holds(node: Any, selector: str) -> bool:
    """Whether something below the node matches; selectolax counts the node itself in."""
    return any(found.mem_id != node.mem_id for found in node.css(selector))


def _first_number(attributes: Mapping[str, str | None]) -> int:
    start = (attributes.get("start") or "").strip()
    return int(start) if re.fullmatch(r"-?\d{1,9}", start) else 1


def _reference(attributes: Mapping[str, str | None]) -> str:
    """Where the picture is: pages that load late name it elsewhere and leave a placeholder in src."""
    named = [attributes.get(name) or "" for name in ("src", "data-src", "data-original")]
    named += [(attributes.get(name) or "").split(",")[0].split(" ")[0] for name in ("srcset", "data-srcset")]
    named = [name.strip() for name in named if name.strip()]
    return next((name for name in named if not name.startswith("data:")), named[0] if named else "")
