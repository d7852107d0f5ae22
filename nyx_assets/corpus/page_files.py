"""A Markdown or HTML file of a delivery as a web page; its pictures are looked for beside it, inside the delivery."""

import os
import posixpath
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from nyx_assets.corpus.html import HtmlPage, charset_of, read_html
from nyx_assets.corpus.markdown import html_of_markdown
from nyx_assets.corpus.web_pages import PictureReference, RefusedPage, RowFault, WebPage, known, refused

MAX_PAGE_BYTES = 20_000_000
"""Choice: ten times the largest page that people write; a file above it is a dump and no page."""


def read_page_file(place: str, read: Callable[[], bytes], *, source_file: str) -> WebPage | RefusedPage:
    """The page in a file, or the file refused.

    A page that does not say its address has its path in the delivery as one, so that it keeps its identity when the
    folder is delivered again.

    Args:
        place: its path in the delivery; what a page refers to stays inside that.
        read: its content. Raises RowFault.
    """
    try:
        data = read()
        is_html = posixpath.splitext(place)[1].lower().startswith(".htm")
        page, about = _html_page(data) if is_html else _markdown_page(data)
    except RowFault as fault:
        return refused(fault, source_file=source_file, source_row=0, address=place)
    here = posixpath.dirname(place)
    return WebPage(
        url=about["url"] or place,
        title=about["title"],
        language=about["language"],
        licence=about["licence"],
        parts=tuple(
            PictureReference(resolved(part.reference, here), part.position)
            if isinstance(part, PictureReference)
            else part
            for part in page.parts
        ),
        source_file=source_file,
        source_row=0,
    )


def resolved(reference: str, folder: str) -> str:
    """A reference as it stands in a page, as a path in the delivery; an address stays as it is.

    A path that begins with a slash begins at the delivery's folder, as on the site that it was. One that leads out of
    the delivery still begins with "..", and is refused where pictures are taken.

    Args:
        folder: of the page, relative to the delivery; "" for the delivery's own.
    """
    try:
        address = urlsplit(reference)
    except ValueError:  # such as an address with half a bracket: no file has that name
        return reference
    if address.scheme or address.netloc or not address.path:
        return reference
    path = unquote(address.path)
    return posixpath.normpath(path.lstrip("/") if path.startswith("/") else posixpath.join(folder, path))


def bytes_of_page(path: Path, folder: Path) -> bytes:
    """The content of a page file in a delivery's folder of this machine. Raises RowFault."""
    real = os.path.realpath(path)
    if not real.startswith(os.path.realpath(folder) + os.sep):
        raise RowFault(
            "outside_folder", f"the file is a link to {real}, out of the delivery; put the page itself there"
        )
    try:
        size = os.stat(real).st_size
        if size > MAX_PAGE_BYTES:
            raise too_large(size)
        return Path(real).read_bytes()
    except OSError as error:
        raise unreadable(error) from error


def too_large(num_bytes: int) -> RowFault:
    return RowFault("too_large", f"the file has {num_bytes:,} bytes, at most {MAX_PAGE_BYTES:,} are read as one page")


def unreadable(error: OSError) -> RowFault:
    return RowFault("unreadable_file", f"the file cannot be read: {error.strerror}; deliver it again")


def _html_page(data: bytes) -> tuple[HtmlPage, dict[str, str]]:
    page = read_html(_text(data, charset_of(data)))
    return page, {"url": page.address, "title": page.title, "language": page.language, "licence": page.licence}


def _markdown_page(data: bytes) -> tuple[HtmlPage, dict[str, str]]:
    matter, html = html_of_markdown(_text(data, "utf-8-sig"))
    page = read_html(html)
    return page, {
        "url": known(matter, "url") or known(matter, "canonical_url"),
        "title": known(matter, "title") or page.title,
        "language": known(matter, "language") or known(matter, "lang"),
        "licence": known(matter, "licence") or known(matter, "license"),
    }


def _text(data: bytes, charset: str) -> str:
    try:
        return data.decode(charset)
    except UnicodeDecodeError as error:
        raise RowFault(
            "invalid_encoding",
            f"the file is not {charset.removesuffix('-sig').upper()} at byte {error.start} (0x{data[error.start]:02x}); save it as UTF-8",
        ) from error
    except LookupError as error:
        raise RowFault(
            "invalid_encoding", f"the file names the unknown encoding {charset!r}; save it as UTF-8"
        ) from error
