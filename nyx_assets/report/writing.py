"""The page as one HTML file that needs nothing else: no server, no script, no network."""

import uuid
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from nyx_assets.legible import legible
from nyx_assets.report.gathering import page_of
from resources.home import Home

TEMPLATE = "page.html"


def write_report(home: Home, path: Path, *, recipe: str) -> dict[str, bool]:
    """Write the page; whether each section is on it.

    Every text is escaped where it is put in, since most of it comes from a crawl; the page's own policy forbids scripts
    and anything from elsewhere as well.
    """
    page = page_of(home, recipe=recipe)
    html = render(page)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    beside.write_text(html, encoding="utf-8", errors="replace")  # a lone surrogate in a crawl's text
    beside.replace(path)
    return {section.title: section.is_shown for section in page["sections"].values()}


def render(page: dict) -> str:
    """The page as text."""
    environment = Environment(
        loader=PackageLoader("nyx_assets.report", "template"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: legible(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["signed"] = lambda value: f"{value:+.3f}".replace("-", "−")
    environment.filters["number"] = lambda value: "–" if value is None else f"{value:.3f}"
    return environment.get_template(TEMPLATE).render(page)
