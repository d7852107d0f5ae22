"""Finds the pictures that pages refer to, inside the delivery's folder or on the web, and puts them into the store."""

import os
import re
import stat
from functools import lru_cache
from pathlib import Path

from nyx_assets.corpus.links import WebLinks
from nyx_assets.recipes import PictureRecipe
from resources.images import ImageStore, PictureRefused, StoredImage

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
"""The start of an address; one letter and a colon is a drive, hence a path."""

ON_THE_WEB = re.compile(r"\s*(?:https?:)?//", re.I)
"""The start of a reference to the web, with the page's scheme or without."""

REMEMBERED_PICTURES = 10_000
"""Choice: logos and portraits come back on every page of a site; 10,000 outcomes take a few megabytes."""


class ReferencedPictures:
    """The pictures that one delivery refers to. Each file beside its Parquet files is read and verified once."""

    def __init__(self, folder: Path, store: ImageStore, recipe: PictureRecipe, links: WebLinks) -> None:
        self._folder = os.path.realpath(folder)
        self._store = store
        self._recipe = recipe
        self._links = links
        self._outcome = lru_cache(maxsize=REMEMBERED_PICTURES)(self._try_to_take)

    def expect(self, reference: str) -> None:
        """Say that this picture will be asked for soon."""
        if (address := web_address(reference)) is not None:
            self._links.expect(address)

    def take(self, reference: str) -> StoredImage:
        """The picture behind a reference, in the store. Raises PictureRefused."""
        if (address := web_address(reference)) is not None:
            return self._links.take(address)
        outcome = self._outcome(self._path(reference))
        if isinstance(outcome, PictureRefused):
            raise PictureRefused(outcome.rule, outcome.reason)
        return outcome

    def _path(self, reference: str) -> str:
        """The real path of a reference, which lies inside the folder."""
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
        path = os.path.realpath(os.path.join(self._folder, reference))
        if not path.startswith(self._folder + os.sep):
            raise self._outside(reference)
        return path

    def _outside(self, reference: str) -> PictureRefused:
        return PictureRefused(
            "outside_folder",
            f"{_shown(reference)} leads out of the delivery's folder; only relative paths to files inside it are followed",
        )

    def _try_to_take(self, path: str) -> StoredImage | PictureRefused:
        name = os.path.relpath(path, self._folder)
        try:
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):
                return PictureRefused("missing_file", f"{_shown(name)} is not a file")
            if status.st_size > self._recipe.max_bytes:
                return PictureRefused(
                    "too_large",
                    f"{_shown(name)} has {status.st_size:,} bytes, at most {self._recipe.max_bytes:,} are taken",
                )
            data = Path(path).read_bytes()
        except OSError as error:
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
