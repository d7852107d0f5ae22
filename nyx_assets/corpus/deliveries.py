"""Finds the deliveries of a crawl: files of pages, or a sub-folder of them, named by the delivery's key.

A file of pages is Parquet in the OBELICS schema or JSON lines of the same; a sub-folder without such a file is a delivery
of Markdown and HTML files, at any depth. Only listings and Parquet footers are read here, so that 10,000 deliveries are
looked through in seconds; of JSON lines, which have no footer, the lines are counted, once for each version of a file.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from types import MappingProxyType
from typing import Any

from nyx_assets.corpus.crawl_listing import Kind, Listing, kind_of, listings_of
from nyx_assets.corpus.row_counts import count_rows, count_stored_rows
from resources.crawl_store import AT_ONCE, Crawl, CrawlStore
from resources.stores import is_url
from training_kernels.errors import CrawlUnanswered, DataError

ALLOWED_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""A crawl key names a partition and a folder; a comma, for one, would break Dagster's backfills."""

CountedRows = Callable[[str, str], Mapping[str, int]]
"""Rows by address of the files of a delivery of this key and fingerprint, where they were counted before; else nothing."""


def _none_counted(key: str, fingerprint: str) -> Mapping[str, int]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveredFile:
    """A file of web pages, or of one."""

    path: PurePath
    """On this machine, or in the store."""
    num_rows: int
    num_bytes: int

    @property
    def kind(self) -> Kind:
        return kind_of(self.path.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One crawl partition as it lies in the crawl."""

    key: str
    folder: PurePath
    """What its picture references are relative to: the folder of its Parquet or JSON files, or of all its pages."""
    url: str = ""
    """Of the folder, where it is in a store; "" for a folder of this machine."""
    files: tuple[DeliveredFile, ...]
    """In the order of their names."""
    fingerprint: str
    """SHA-256 over names, sizes and times of its files (in a store: tags of their contents, where it has them); pictures
    of a folder that deliveries share do not count."""
    is_marked_complete: bool

    @property
    def num_rows(self) -> int:
        return sum(file.num_rows for file in self.files)

    @property
    def place(self) -> str:
        """The folder for people and tables: its path, or its URL."""
        return self.url or str(self.folder)

    @property
    def is_file_beside_others(self) -> bool:
        """Whether it is a file of the crawl folder; not told of one in a crawl folder that has the very name of its key."""
        return self.folder.name != self.key

    def name_of(self, file: DeliveredFile) -> str:
        """The file's name relative to the crawl folder."""
        return file.path.name if self.is_file_beside_others else f"{self.key}/{self.name_within(file)}"

    def name_within(self, file: DeliveredFile) -> str:
        """The file's name relative to `folder`."""
        return file.path.relative_to(self.folder).as_posix()

    def address_of(self, file: DeliveredFile) -> str:
        """The file's path, or its URL."""
        return f"{self.url}/{self.name_within(file)}" if self.url else str(file.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedDelivery:
    """Something in the crawl folder that looks like a delivery and cannot be one."""

    key: str
    reason: str
    fingerprint: str
    is_of_content: bool = False
    """Its files were opened, and what is in them is at fault: it is refused until they change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundDeliveries:
    """What a look into the crawl folder found, each list in the order of the keys."""

    deliveries: tuple[Delivery, ...]
    unchanged: tuple[str, ...]
    """Keys whose fingerprint is the known one: their footers were not read."""
    refused: tuple[RefusedDelivery, ...]
    unopened: tuple[Listing, ...] = ()
    """Those that were not ripe yet, or for which there was no time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Which deliveries are opened: each file is a request to a store, and all lines of a file of JSON lines are read."""

    is_ripe: Callable[[Listing], bool] = lambda listing: True
    at_most: float = float("inf")
    """Deliveries that can be read; what is refused does not count."""
    seconds: float = float("inf")
    """However few, at least one is opened that can be read, or is refused for its content."""


ALL = Opening()


def find_deliveries(
    crawl: Crawl,
    *,
    known: Mapping[str, str] = MappingProxyType({}),
    refused_before: Mapping[str, RefusedDelivery] = MappingProxyType({}),
    counted: CountedRows = _none_counted,
    opening: Opening = ALL,
) -> FoundDeliveries:
    """All deliveries of a crawl folder, and what had to be refused with the reason.

    Args:
        crawl: a folder of this machine, or the URL of one in a store.
        known: fingerprint by key of deliveries that were taken already; while theirs is the same they are left out.
        refused_before: by key what was refused for its content; while the fingerprint is the same it is not opened.
        counted: rows that were counted before; such files are not opened.
        opening: which of them are opened.

    Raises DataError if there is no such folder or no delivery in it.
    """
    listings_by_key: dict[str, list[Listing]] = {}
    for listing in sorted(listings_of(crawl), key=lambda listing: listing.key):
        listings_by_key.setdefault(listing.key, []).append(listing)
    new: list[Listing] = []
    unchanged: list[str] = []
    refused: list[RefusedDelivery] = []
    for key, (listing, *others) in listings_by_key.items():
        if reason := _key_fault(key, [one.name for one in (listing, *others)]) or listing.fault:
            refused.append(RefusedDelivery(key=key, reason=reason, fingerprint=listing.fingerprint))
        elif known.get(key) == listing.fingerprint:
            unchanged.append(key)
        elif key in refused_before and refused_before[key].fingerprint == listing.fingerprint:
            refused.append(refused_before[key])
        else:
            new.append(listing)
    deliveries: list[Delivery] = []
    unopened: list[Listing] = []
    for listing, outcome in _opened(new, counted, opening):
        if isinstance(outcome, Delivery):
            deliveries.append(outcome)
        elif isinstance(outcome, RefusedDelivery):
            refused.append(outcome)
        else:
            unopened.append(listing)
    return FoundDeliveries(
        deliveries=tuple(deliveries),
        unchanged=tuple(unchanged),
        refused=tuple(sorted(refused, key=lambda one: one.key)),
        unopened=tuple(unopened),
    )


def require_deliveries(crawl: Crawl) -> None:
    """Raise DataError if there is no such folder, or nothing in it that looks like a delivery. Opens no file."""
    listings_of(crawl)


def delivery_from_rows(key: str, rows: Sequence[Mapping[str, Any]]) -> Delivery:
    """The delivery that rows of `landed_crawl` describe, in the order of its files. Raises DataError if there are none."""
    if not rows:
        raise DataError(f"landed_crawl has no file for crawl {key}; register the delivery again with nyx run")
    folder = _path_of(rows[0]["folder"])
    files = [
        DeliveredFile(path=_path_of(row["file"]), num_rows=row["num_rows"], num_bytes=row["num_bytes"]) for row in rows
    ]
    return Delivery(
        key=key,
        folder=folder,
        url=rows[0]["folder"] if is_url(rows[0]["folder"]) else "",
        files=tuple(sorted(files, key=lambda file: file.path)),
        fingerprint=rows[0]["fingerprint"],
        is_marked_complete=True,
    )


def _path_of(address: str) -> PurePath:
    return PurePosixPath(address.partition("://")[2]) if is_url(address) else Path(address)


def _key_fault(key: str, names: Sequence[str]) -> str | None:
    if not ALLOWED_KEY.fullmatch(key):
        return (
            f"{key!r} cannot be a crawl key; allowed are letters, digits and . _ - after a first letter or digit, "
            "so rename the file or folder"
        )
    if len(names) > 1:
        return f"{' and '.join(names)} are there together; a key names one delivery, so rename or remove all but one"
    return None


def _opened(
    listings: Sequence[Listing], counted: CountedRows, opening: Opening
) -> Iterator[tuple[Listing, Delivery | RefusedDelivery | None]]:
    """Each listing with its delivery, or refused, or with None where it is not to be opened now."""
    last, num_opened, num_settled = time.monotonic() + opening.seconds, 0, 0

    def is_enough() -> bool:
        return num_opened >= opening.at_most or (num_settled > 0 and time.monotonic() > last)

    def attempt(listing: Listing, store: CrawlStore | None) -> Delivery | RefusedDelivery:
        try:
            return _open(listing, store, counted(listing.key, listing.fingerprint))
        except DataError as error:
            return RefusedDelivery(
                key=listing.key,
                reason=str(error),
                fingerprint=listing.fingerprint,
                is_of_content=_is_of_content(error),
            )

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="footers") as pool:
        for start in range(0, len(listings), AT_ONCE):
            several = listings[start : start + AT_ONCE]
            stored = [] if is_enough() else [one for one in several if one.url and opening.is_ripe(one)]
            stores = [CrawlStore(one.url) for one in stored]  # each thread would open the store anew
            outcomes = dict(zip((one.key for one in stored), pool.map(attempt, stored, stores), strict=True))
            for listing in several:
                if listing.url:
                    outcome = outcomes.get(listing.key)
                else:
                    outcome = None if is_enough() or not opening.is_ripe(listing) else attempt(listing, None)
                num_opened += isinstance(outcome, Delivery)
                num_settled += outcome is not None and (isinstance(outcome, Delivery) or outcome.is_of_content)
                yield listing, outcome


def _is_of_content(error: DataError) -> bool:
    """False where the system or a store did not show the file, which may be otherwise the next time."""
    return not isinstance(error, CrawlUnanswered) and getattr(error.__cause__, "errno", None) is None


def _open(listing: Listing, store: CrawlStore | None, num_rows: Mapping[str, int]) -> Delivery:
    """The delivery with its rows counted. Raises DataError if a file cannot be read or lacks the OBELICS columns.

    Args:
        store: of the listing's URL; None for a folder of this machine.
        num_rows: by address of the files that were counted before.
    """
    files = []
    for name, num_bytes in listing.files.items():
        path = listing.folder / name
        known = num_rows.get(f"{listing.url}/{name}" if listing.url else str(path))
        if known is None:
            known = count_rows(Path(path)) if store is None else count_stored_rows(store, name, num_bytes)
        files.append(DeliveredFile(path=path, num_rows=known, num_bytes=num_bytes))
    return Delivery(
        key=listing.key,
        folder=listing.folder,
        url=listing.url,
        files=tuple(files),
        fingerprint=listing.fingerprint,
        is_marked_complete=listing.is_marked_complete,
    )
