"""Finds the pictures that pages refer to, inside the delivery's folder or on the web, and puts them into the store."""

import errno
import re

from nyx_assets.corpus.delivery_files import DeliveryFiles
from nyx_assets.corpus.links import WebLinks
from nyx_assets.recipes import PictureRecipe
from resources.crawl_store import TooManyBytes
from resources.images import ImageStore, PictureRefused, StoredImage

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
"""The start of an address; one letter and a colon is a drive, hence a path."""

ON_THE_WEB = re.compile(r"\s*(?:https?:)?//", re.I)
"""The start of a reference to the web, with the page's scheme or without."""

REMEMBERED_PICTURES = 10_000
"""Choice: logos and portraits come back on every page of a site; 10,000 outcomes take a few megabytes."""


class ReferencedPictures:
    """The pictures that one delivery refers to. Each file beside its Parquet files is read and verified once."""

    def __init__(self, files: DeliveryFiles, store: ImageStore, recipe: PictureRecipe, links: WebLinks) -> None:
        self._files = files
        self._store = store
        self._recipe = recipe
        self._links = links
        self._outcome_by_name: dict[str, StoredImage | PictureRefused] = {}
        """Those asked for last."""

    def expect(self, reference: str) -> None:
        """Say that this picture will be asked for soon."""
        if (address := web_address(reference)) is not None:
            self._links.expect(address)
            return
        try:
            name = self._name(reference)
        except PictureRefused:  # whoever takes it is told
            return
        if name not in self._outcome_by_name:
            self._files.expect(name)

    def take(self, reference: str) -> StoredImage:
        """The picture behind a reference, in the store. Raises PictureRefused."""
        if (address := web_address(reference)) is not None:
            return self._links.take(address)
        name = self._name(reference)
        outcome = self._outcome_by_name.pop(name, None) or self._try_to_take(name)
        self._outcome_by_name[name] = outcome
        if len(self._outcome_by_name) > REMEMBERED_PICTURES:
            del self._outcome_by_name[next(iter(self._outcome_by_name))]
        if isinstance(outcome, PictureRefused):
            raise PictureRefused(outcome.rule, outcome.reason)
        return outcome

    def _name(self, reference: str) -> str:
        """The name, from the delivery's folder, of the file that a reference leads to."""
        if not reference.strip():
            raise PictureRefused(
                "empty_reference", "the reference is blank; it must name a file beside the Parquet file"
            )
        if scheme := SCHEME.match(reference):
            if scheme[1].lower() == "file":
                raise self._outside(reference)
            raise PictureRefused(
                "unsupported_scheme",
                f"{_shown(reference)} is neither http(s) nor a path; deliver the file beside the Parquet file and refer to "
                "it by its relative path",
            )
        if "\0" in reference:
            raise PictureRefused(
                "missing_file", f"{_shown(reference)} holds a zero byte, so no file can have that name"
            )
        if re.match(r"[A-Za-z]:", reference):
            raise self._outside(reference)
        if (name := self._files.name_of(reference)) is None:
            raise self._outside(reference)
        return name

    def _outside(self, reference: str) -> PictureRefused:
        return PictureRefused(
            "outside_folder",
            f"{_shown(reference)} leads out of the delivery's folder; only relative paths to files inside it are followed",
        )

    def _try_to_take(self, name: str) -> StoredImage | PictureRefused:
        limit = self._recipe.max_bytes
        try:
            data = self._files.read(name, max_bytes=limit)
        except TooManyBytes as error:
            return PictureRefused(
                "too_large", f"{_shown(name)} has {error.num_bytes:,} bytes, at most {limit:,} are taken"
            )
        except OSError as error:
            if error.errno == errno.EISDIR:
                return PictureRefused("missing_file", f"{_shown(name)} is not a file")
            return PictureRefused(
                "missing_file", f"{_shown(name)} cannot be read beside the Parquet file: {error.strerror}"
            )
        try:
            return self._store.put(data, limits=self._recipe)
        except PictureRefused as refusal:
            return PictureRefused(refusal.rule, f"{_shown(name)}: {refusal.reason}")


def web_address(reference: str) -> str | None:
    """The http(s) address that a reference is, or None if it is another kind of reference.

    Choice: a reference without a scheme (`//host/a.jpg`) is asked for by https, whatever the page came by.
    """
    if not ON_THE_WEB.match(reference):
        return None
    address = reference.strip()
    return f"https:{address}" if address.startswith("//") else address


def _shown(reference: str) -> str:
    """A reference as a message quotes it: a `data:` address can have a megabyte."""
    return repr(reference if len(reference) <= 200 else reference[:200] + "…")
