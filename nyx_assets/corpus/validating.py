"""Says what is wrong with a crawl folder before anything is made from it, one line a problem."""

from collections.abc import Iterator
from dataclasses import dataclass

from nyx_assets.corpus.deliveries import Delivery, find_deliveries
from nyx_assets.corpus.links import WebLinks
from nyx_assets.corpus.pages import documents_of
from nyx_assets.recipes import PictureRecipe
from resources.crawl_store import Crawl
from resources.fetching import NotFetched
from resources.images import FolderImageStore, PictureLimits, StoredImage, verified
from training_kernels.errors import DataError

ON_THE_WEB = "not_fetched"
"""Rule of a picture behind http(s): the file is not at fault, and nothing is fetched to look at it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that a run would refuse."""

    delivery: str
    rule: str
    reason: str

    def __str__(self) -> str:
        return f"{self.delivery}: {self.rule}: {' '.join(self.reason.split())}"


class _NothingKept(FolderImageStore):
    """Verifies pictures as the picture store does, and keeps none."""

    def put(self, data: bytes, *, limits: PictureLimits) -> StoredImage:
        return verified(data, limits=limits)


def problems_of(crawl: Crawl, limits: PictureRecipe) -> Iterator[Problem]:
    """Every delivery, page and picture of a crawl, a folder or the URL of one, that a run would refuse, in the order of the deliveries.

    Nothing is written and nothing fetched. Raises DataError if there is no such folder, or no delivery in it.
    """
    found = find_deliveries(crawl)
    for refused in found.refused:
        yield Problem(refused.key, "refused_delivery", refused.reason)
    for delivery in found.deliveries:
        try:
            yield from _problems_within(delivery, limits)
        except DataError as error:
            yield Problem(delivery.key, "unreadable_file", str(error))


def _problems_within(delivery: Delivery, limits: PictureRecipe) -> Iterator[Problem]:
    store = _NothingKept("memory://nyx-validate")
    with NotFetched().session(store, limits) as session:
        for row in documents_of(delivery, store, limits, WebLinks(session)):
            if row.is_document or row.values["rule"] == ON_THE_WEB:
                continue
            is_page = row.values["kind"] == "page"
            place = "" if is_page else f"{row.values['source_file']} row {row.values['source_row']}: "
            yield Problem(delivery.key, row.values["rule"], place + row.values["reason"])
