"""What lies in folders of a store far away: one question for all files of a folder, remembered for moments."""

import hashlib
import time
from collections.abc import Callable
from typing import Any, TypeVar

from resources.stores import files_below
from training_kernels.errors import IncompleteArtifact

LISTING_SECONDS = 5.0
"""Choice: a run asks hundreds of times in a row which of an asset's tables are there; another host's table may be seen so
much later."""

Content = TypeVar("Content")


class Listings:
    """Files below folders, each with a tag that changes when its content does."""

    def __init__(
        self, fs: Any, *, seconds: float = LISTING_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fs = fs
        self._seconds = seconds
        self._clock = clock
        self._known: dict[str, tuple[float, dict[str, str]]] = {}
        self._contents: dict[str, tuple[str, Any]] = {}

    def below(self, folder: str) -> dict[str, str]:
        """Tags of the files below a folder, by path."""
        since, files = self._known.get(folder, (0.0, {}))
        if folder not in self._known or self._clock() - since > self._seconds:
            since = self._clock()
            files = {path: tag_of(info) for path, info in files_below(self._fs, folder).items()}
            self._known[folder] = (since, files)
        return files

    def content(self, folder: str, path: str, read: Callable[[str], Content]) -> Content | None:
        """What `read` makes of a file below a folder, read again only when it has changed; None if it is not there.

        Raises what `read` raises, IncompleteArtifact of a file that is torn among it.
        """
        tag = self.below(folder).get(path)
        if tag is None:
            return None
        known_tag, content = self._contents.get(path, ("", None))
        if known_tag != tag:
            try:
                content = read(path)
            except IncompleteArtifact:  # a FileNotFoundError too, but of a file that is there
                raise
            except FileNotFoundError:  # removed since it was listed
                return None
            self._contents[path] = (tag, content)
        return content

    def look_again(self) -> None:
        """Forget which files there are: this process has written some, or another one may just have."""
        self._known.clear()


def tag_of(info: dict[str, Any]) -> str:
    """Changes when a file in a store does: the store's own tag of its content where it has one, else size and time."""
    tag = info.get("ETag") or info.get("etag") or info.get("md5Hash")
    times = [str(info[name]) for name in ("LastModified", "mtime", "created") if name in info]
    return hashlib.sha256(repr((tag, info.get("size"), times)).encode()).hexdigest()[:20]
