"""Turns web pages into documents: pictures verified and stored, everything that cannot be taken noted with a reason."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nyx_assets.corpus.deliveries import Delivery
from nyx_assets.corpus.delivery_files import files_of, require_as_landed
from nyx_assets.corpus.links import WebLinks
from nyx_assets.corpus.obelics import PictureReference, RefusedPage, WebPage, read_pages
from nyx_assets.corpus.pictures import ReferencedPictures, web_address
from nyx_assets.recipes import PictureRecipe
from nyx_assets.records import content_id, document_key
from nyx_assets.taken_down import RULE, ForgetfulImages, TakenDown, taken_down_row
from resources.images import ImageStore, PictureRefused
from training_kernels.documents import Document, Segment

NOTHING = TakenDown([])
UNSTORED = "memory://nyx-unstored"

PAGES_AHEAD = 64
"""Choice: enough hosts at once that a slow one does not hold up the rest; pages of 1 MB still stay under 100 MB."""


@dataclass(frozen=True, slots=True)
class PageRow:
    """A row of `crawl_documents` if `is_document`, else one of `rejected_documents`."""

    is_document: bool
    values: dict[str, Any]


def documents_of(
    delivery: Delivery,
    store: ImageStore,
    recipe: PictureRecipe,
    links: WebLinks,
    taken_down: TakenDown = NOTHING,
    *,
    scratch: Path | None = None,
) -> Iterator[PageRow]:
    """Every page of a delivery as a document or a rejected page, and every picture that was not taken as a rejection.

    Args:
        links: how pictures on the web are had; those of the next PAGES_AHEAD pages are expected of it.
        taken_down: what may not come back.
        scratch: folder of this machine for files that are brought from a store; None: that of the system for such.

    Raises DataError if a file of the delivery cannot be read any more, or is not what landed.
    """
    require_as_landed(delivery)
    with files_of(delivery, scratch) as files:
        pictures = ReferencedPictures(files, store, recipe, links)
        unstored = ReferencedPictures(files, ForgetfulImages(UNSTORED, taken_down.images), recipe, links)
        pages = _announced(read_pages(delivery, scratch=scratch), pictures, taken_down)
        yield from _rows(pages, pictures, unstored, taken_down)
    require_as_landed(delivery)  # it may have been written over while it was read


def _rows(
    pages: Iterable[WebPage | RefusedPage],
    pictures: ReferencedPictures,
    unstored: ReferencedPictures,
    taken_down: TakenDown,
) -> Iterator[PageRow]:
    first_place: dict[str, str] = {}
    for page in pages:
        if isinstance(page, RefusedPage):
            yield _rejected_page(page, page.reference, rule=page.rule, reason=page.reason)
            continue
        place = f"{page.source_file} row {page.source_row}"
        if _may_not_come_back(page, unstored, taken_down):
            yield PageRow(False, taken_down_row(asdict(page)))
            continue
        document, failures = take_page(page, pictures)
        doc_id = content_id(page.url, document_key(document))
        if taken_down.refuses_document(doc_id) or any(refusal.rule == RULE for _, refusal in failures):
            yield PageRow(False, taken_down_row(asdict(page)))
        elif not document.segments:
            yield from (_rejected_picture(page, *failure, doc_id=None) for failure in failures)
            reason = f"{place}: neither a text nor a picture that could be taken is left of the page"
            yield _rejected_page(page, page.url or place, rule="empty", reason=reason)
        elif doc_id in first_place:
            reason = f"{place}: the same address and content as {first_place[doc_id]} of this delivery"
            yield _rejected_page(page, page.url or place, rule="duplicate_in_delivery", reason=reason)
        else:
            first_place[doc_id] = place
            yield from (_rejected_picture(page, *failure, doc_id=doc_id) for failure in failures)
            yield _document(page, document, doc_id)


def _may_not_come_back(page: WebPage, unstored: ReferencedPictures, taken_down: TakenDown) -> bool:
    """Whether a page is known to be taken down before anything of it is stored.

    Pictures on the web are stored as they are fetched, so of a page that has some the address decides alone.
    """
    if taken_down.refuses_address(page.url):
        return True
    if not taken_down.is_suspect(page.url):
        return False
    references = [part.reference for part in page.parts if isinstance(part, PictureReference)]
    if page.url and any(web_address(reference) is not None for reference in references):
        return True
    document, failures = take_page(page, unstored)
    doc_id = content_id(page.url, document_key(document))
    return taken_down.refuses_document(doc_id) or any(refusal.rule == RULE for _, refusal in failures)


def _announced(
    pages: Iterable[WebPage | RefusedPage], pictures: ReferencedPictures, taken_down: TakenDown
) -> Iterator[WebPage | RefusedPage]:
    """The pages in their order, the pictures of each expected PAGES_AHEAD pages before it comes."""
    waiting: deque[WebPage | RefusedPage] = deque()
    for page in pages:
        if isinstance(page, WebPage) and not (taken_down.refuses_address(page.url) or taken_down.is_suspect(page.url)):
            for part in page.parts:
                if isinstance(part, PictureReference):
                    pictures.expect(part.reference)
        waiting.append(page)
        if len(waiting) > PAGES_AHEAD:
            yield waiting.popleft()
    yield from waiting


def take_page(
    page: WebPage, pictures: ReferencedPictures
) -> tuple[Document, list[tuple[PictureReference, PictureRefused]]]:
    """The page with the pictures that could be taken, and those that could not each with the refusal."""
    segments: list[Segment] = []
    failures: list[tuple[PictureReference, PictureRefused]] = []
    for part in page.parts:
        if isinstance(part, str):
            segments.append(Segment(text=part))
            continue
        try:
            segments.append(Segment(image=pictures.take(part.reference).digest))
        except PictureRefused as refusal:
            failures.append((part, refusal))
    return Document(tuple(segments)), failures


def _document(page: WebPage, document: Document, doc_id: str) -> PageRow:
    return PageRow(
        True,
        {
            "doc_id": doc_id,
            "url": page.url,
            "title": page.title,
            "language": page.language,
            "licence": page.licence,
            "segments": document.to_rows(),
            "num_images": len(document.images),
            "source_file": page.source_file,
            "source_row": page.source_row,
        },
    )


def _rejected_page(page: WebPage | RefusedPage, reference: str, *, rule: str, reason: str) -> PageRow:
    return PageRow(
        False,
        {
            "doc_id": None,
            "kind": "page",
            "reference": reference,
            "rule": rule,
            "reason": reason,
            "source_file": page.source_file,
            "source_row": page.source_row,
            "position": None,
        },
    )


def _rejected_picture(
    page: WebPage, picture: PictureReference, refusal: PictureRefused, *, doc_id: str | None
) -> PageRow:
    return PageRow(
        False,
        {
            "doc_id": doc_id,
            "kind": "picture",
            "reference": picture.reference,
            "rule": refusal.rule,
            "reason": refusal.reason,
            "source_file": page.source_file,
            "source_row": page.source_row,
            "position": picture.position,
        },
    )
