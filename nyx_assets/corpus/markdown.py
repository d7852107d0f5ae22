"""Markdown as HTML, by the library markdown-it-py, with the front matter that many sites put before it."""

import re
from collections.abc import Mapping
from typing import Any

from nyx_assets.corpus.web_pages import RowFault

FRONT_MATTER = re.compile(r"---[ \t]*\r?\n(.*?)(?:\r?\n)?(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.S)
"""YAML between two lines of dashes at the very start of a file, as Jekyll, Hugo and Pandoc have it."""


def html_of_markdown(text: str) -> tuple[Mapping[str, Any], str]:
    """The front matter, empty where there is none, and the rest as HTML: CommonMark with tables and struck-out text.

    HTML inside Markdown stays, as it does in browsers. Raises RowFault if the front matter is no YAML mapping.
    """
    from markdown_it import MarkdownIt

    matter: Mapping[str, Any] = {}
    if found := FRONT_MATTER.match(text):
        matter, text = _mapping(found[1]), text[found.end() :]
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return matter, parser.render(text)


def _mapping(text: str) -> Mapping[str, Any]:
    import yaml

    try:
        # The base loader makes texts of all values and objects of none.
        matter = yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise RowFault(
            "front_matter_not_yaml", f"what stands between the --- lines is not YAML: {' '.join(str(error).split())}"
        ) from error
    if matter is None or matter == "":
        return {}
    if not isinstance(matter, dict):
        raise RowFault(
            "front_matter_not_yaml",
            f"what stands between the --- lines is a YAML {type(matter).__name__}, must be a mapping of names to values",
        )
    return matter
