"""Honest dirt: what is wrong with real crawls, planted at known rows."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from sample_crawl.catalogue import CrawlPlan
from sample_crawl.pages import Fact, Illustration, Page

DirtRule = Literal[
    "missing_file",  # a reference to a file that is not there
    "outside_address",  # a reference to another host
    "damaged_picture",  # a file that breaks off in the middle
    "icon",  # a picture of 16 pixels
    "empty_text",  # a position that holds the empty text
    "stray_markup",  # mark-up that a page's converter left behind
    "no_picture",  # a page of texts only
    "picture_only",  # a page of pictures only
    "repeated_picture",  # a picture that another page shows too
    "duplicate_page",  # the same page twice in a delivery
    "mirrored_page",  # the content of another page under another address
    "recrawled_page",  # a page of an earlier delivery, unchanged
    "revised_page",  # a page of an earlier delivery, one sentence longer
]


@dataclass(frozen=True, slots=True)
class Reference:
    """A picture reference without a sound picture behind it."""

    path: str
    alt_text: str


MISSING = Reference("images/gone-with-the-old-server.png", "")
OUTSIDE = Reference("https://pictures.example.invalid/banner.png", "banner")
DAMAGED_PNG = Reference("images/damaged-half.png", "portrait")
DAMAGED_JPG = Reference("images/damaged-half.jpg", "view of the town")
ICON = Reference("images/icon-home.png", "home")
MARKUP = '||basic:show icon|| <br/>&nbsp;[[edit]] <span class="nav">Home &gt; Archive</span>'
REVISION = {
    "en": "All figures on this page were checked again for this edition.",
    "es": "Todas las cifras de esta página se revisaron para esta edición.",
    "zh": "本页的数字在这一版中重新核对过。",
}

Piece = str | Illustration | Reference


@dataclass(frozen=True, slots=True)
class Dirt:
    """One planted fault."""

    rule: DirtRule
    crawl: str
    row: int
    position: int | None
    """In the row's lists; None where the whole page is meant."""
    detail: str
    """The bad reference or text; for a repeated page or picture, the address of the page that had it first."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """A page as it is delivered."""

    page: Page
    pieces: tuple[Piece, ...]
    dirt: Dirt | None = None

    @property
    def facts(self) -> tuple[Fact, ...]:
        """Facts that the delivered pieces still hold."""
        missing = {"no_picture": "picture", "picture_only": "text"}.get(self.dirt.rule) if self.dirt else None
        return tuple(fact for fact in self.page.facts if fact.source != missing)


@dataclass(frozen=True, slots=True)
class Planting:
    """What is wrong with a row."""

    rule: DirtRule
    reference: Reference | None = None
    copied_from: tuple[int, int] | None = None
    """(partitions back, row) of the page that is repeated, or whose picture is."""


PLANTINGS: tuple[dict[int, Planting], ...] = (
    {
        4: Planting("missing_file", MISSING),
        7: Planting("empty_text"),
        9: Planting("icon", ICON),
        12: Planting("duplicate_page", copied_from=(0, 1)),
        13: Planting("no_picture"),
        15: Planting("damaged_picture", DAMAGED_PNG),
        17: Planting("stray_markup"),
    },
    {
        2: Planting("outside_address", OUTSIDE),
        6: Planting("icon", ICON),
        8: Planting("recrawled_page", copied_from=(1, 3)),
        10: Planting("repeated_picture", copied_from=(0, 0)),
        11: Planting("damaged_picture", DAMAGED_JPG),
        14: Planting("picture_only"),
        16: Planting("no_picture"),
        18: Planting("revised_page", copied_from=(1, 0)),
    },
    {
        3: Planting("mirrored_page", copied_from=(0, 0)),
        5: Planting("missing_file", MISSING),
        9: Planting("stray_markup"),
        13: Planting("revised_page", copied_from=(2, 6)),
        15: Planting("empty_text"),
        19: Planting("recrawled_page", copied_from=(1, 1)),
    },
)
"""By partition number modulo three, then row: every three deliveries hold each kind of dirt, however many there are.
Rows that are copied from carry none themselves."""


def delivered(plan: CrawlPlan, number: int, row: int) -> Delivered:
    """The page at a partition's row with what is wrong with it."""
    planting = PLANTINGS[number % len(PLANTINGS)].get(row)
    if planting is None:
        page = plan.page(number, row)
        return Delivered(page, page.pieces)
    if planting.copied_from is not None:
        return _copied(plan, number, row, planting)
    page = plan.page(number, row)
    pieces, position, detail = _soiled(page, planting)
    return Delivered(page, pieces, Dirt(planting.rule, plan.keys[number], row, position, detail))


def _copied(plan: CrawlPlan, number: int, row: int, planting: Planting) -> Delivered:
    """A page made from another page, which stands in this or an earlier partition."""
    assert planting.copied_from is not None
    back, source_row = planting.copied_from
    source, crawl = plan.page(number - back, source_row), plan.keys[number]
    if planting.rule == "repeated_picture":
        page, picture = plan.page(number, row), source.illustrations[0]
        pieces = (*page.pieces, picture, f"From our archive: {picture.caption}")
        return Delivered(page, pieces, Dirt(planting.rule, crawl, row, len(page.pieces), source.url))
    page = source
    if planting.rule == "mirrored_page":
        page = replace(source, url=source.url.replace("https://", "https://mirror.example.org/"))
    if planting.rule == "revised_page":
        page = replace(source, pieces=(*source.pieces[:-1], f"{source.pieces[-1]} {REVISION[source.language]}"))
    return Delivered(page, page.pieces, Dirt(planting.rule, crawl, row, None, source.url))


def _soiled(page: Page, planting: Planting) -> tuple[tuple[Piece, ...], int | None, str]:
    """The page's pieces with one fault, its position, and its detail. A page begins with a text, then a picture."""
    first, rest = page.pieces[0], page.pieces[1:]
    if planting.reference is not None:
        return (first, planting.reference, *rest), 1, planting.reference.path
    if planting.rule == "empty_text":
        return (first, "", *rest), 1, ""
    if planting.rule == "stray_markup":
        return (f"{MARKUP}\n\n{first}", *rest), 0, MARKUP
    is_text = planting.rule == "no_picture"
    return tuple(piece for piece in page.pieces if isinstance(piece, str) == is_text), None, page.url


def expected_dirt(plan: CrawlPlan) -> Iterator[Dirt]:
    """Every fault that a crawl of this plan holds, in order of partition and row; draws no picture."""
    for number in range(plan.num_partitions):
        for row in sorted(PLANTINGS[number % len(PLANTINGS)]):
            if row < len(plan.rows(number)):
                fault = delivered(plan, number, row).dirt
                if fault is not None:
                    yield fault
