"""A crawl in a store: what lies below a URL, by one question, and its files, which are brought to this machine to be read.

Nothing is written there. Files of pages come into files without a name in a folder of this machine, which are gone with
the process that reads them, however it ends; pictures come into the memory, a bounded number of bytes ahead of their use.
"""

import errno
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from resources.stores import files_below, is_url, open_store, store_trouble
from training_kernels.errors import CrawlUnanswered, DataError

Crawl = Path | str
"""Where deliveries lie: a folder of this machine, or the URL of a folder in a store."""

AT_ONCE = 16
"""Choice: a small file of S3 takes about 30 ms, most of it waiting; so many at once are 500 a second."""
AHEAD_BYTES = 64 << 20
"""Choice: of files that wait to be asked for; pictures of 64 pages, of which each has a megabyte."""
BLOCK_BYTES = 8 << 20
"""Choice: what a request for a part of a large file asks for; above this, S3 is no faster."""
MAX_NAME_BYTES = 1024
"""No store has longer names, and they do not say of a longer one that there is no such file."""
TAG_NAMES = ("ETag", "etag", "md5Hash", "content_md5")
TIME_NAMES = ("LastModified", "last_modified", "mtime", "created")
"""What clients of stores call the tag of a file's content, and the time of its writing."""


def crawl_at(text: str) -> Crawl:
    """The crawl that a setting or an argument names. A `file://` URL is the folder."""
    if not is_url(text):
        return Path(text)
    scheme, _, path = text.partition("://")
    return Path(path) if scheme in ("file", "local") else text.rstrip("/")


def crawl_text(crawl: Crawl) -> str:
    """The same wherever it is asked from: an absolute path, or the URL."""
    return crawl if isinstance(crawl, str) else str(crawl.absolute())


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """What a listing says of a file."""

    num_bytes: int
    tag: str
    """Changes when the content does: the store's tag of it, or where it has none the time of its writing."""


class TooManyBytes(Exception):
    """A file has more bytes than are read of it."""

    def __init__(self, num_bytes: int) -> None:
        super().__init__(f"{num_bytes:,} bytes")
        self.num_bytes = num_bytes


class Unread(OSError):
    """There is no such file, or it is none: with the number and the words that a folder of this machine has for it."""

    def __init__(self, number: int) -> None:
        super().__init__(number, os.strerror(number))


class CrawlStore:
    """A folder of a store. Every method raises CrawlUnanswered, naming the URL, where the store does not answer or refuses.

    Raises ConfigError for a kind of store that is unknown, or whose client is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._fs, self._base = open_store(url)

    def files(self) -> dict[str, StoredFile]:
        """Every file below the folder by its relative name; {} where there is none. One request for 1,000 files.

        What a browser of buckets leaves in place of an empty folder is no file.
        """
        with self._answers():
            found = files_below(self._fs, self._base)
        return {
            path.removeprefix(self._base).strip("/"): _stored(info)
            for path, info in found.items()
            if not path.endswith("/")
        }

    def file(self, name: str) -> StoredFile:
        """What the store says of one file. Raises DataError if it is not there."""
        with self._answers(name):
            return _stored(self._fs.info(self._path(name)))

    def end_of(self, name: str, *, num_bytes: int, size: int) -> bytes:
        """The last bytes of a file of this size, by one request."""
        if size == 0:
            return b""
        with self._answers(name):
            return self._fs.cat_file(self._path(name), start=max(0, size - num_bytes), end=size)

    @contextmanager
    def brought(self, name: str, *, num_bytes: int, scratch: Path | None) -> Iterator[BinaryIO]:
        """A file of this machine with the content of one of the store, gone at the end.

        Args:
            num_bytes: what it had when it was listed. Raises DataError if it has another number.
            scratch: folder of this machine where there is room for it; None: that of the system for temporary files.
        """
        with tempfile.TemporaryFile(dir=scratch) as file:
            for block in self._blocks(name):
                file.write(block)
            if file.tell() != num_bytes:
                raise DataError(
                    f"{self.url}/{name} has {file.tell():,} bytes and had {num_bytes:,} when it landed: it was changed "
                    "since; it is taken as it is now after the next landing"
                )
            file.seek(0)
            yield file

    def read(self, name: str, *, max_bytes: int) -> bytes:
        """The content of a small file. Raises TooManyBytes, or Unread if there is no such file.

        One that may not be read raises CrawlUnanswered: of many stores that is what credentials say that have expired.
        """
        with self._answers(name):
            try:
                if len(name.encode()) > MAX_NAME_BYTES:
                    raise Unread(errno.ENAMETOOLONG)
                info = self._fs.info(self._path(name))
                if info["type"] != "file":
                    raise Unread(errno.EISDIR)
                if info["size"] > max_bytes:
                    raise TooManyBytes(info["size"])
                return self._fs.cat_file(self._path(name))
            except (FileNotFoundError, UnicodeEncodeError) as error:  # no key has half a surrogate pair
                raise Unread(errno.ENOENT) from error

    def _path(self, name: str) -> str:
        return f"{self._base}/{name}" if name else self._base

    def _blocks(self, name: str) -> Iterator[bytes]:
        with self._answers(name), self._fs.open(self._path(name), "rb", block_size=BLOCK_BYTES) as far:
            while block := far.read(BLOCK_BYTES):
                yield block

    @contextmanager
    def _answers(self, name: str = "") -> Iterator[None]:
        """Say of a store that does not answer what to look at: clients raise errors of every kind."""
        place = f"{self.url}/{name}" if name else self.url
        try:
            yield
        except (DataError, TooManyBytes, Unread):
            raise
        except FileNotFoundError as error:
            if not name:
                raise CrawlUnanswered(store_trouble(place, error, setting="NYX_CRAWL")) from error
            raise DataError(removed(place)) from error
        except Exception as error:
            raise CrawlUnanswered(store_trouble(place, error, setting="NYX_CRAWL")) from error


def removed(place: str) -> str:
    """What is said of a file of a delivery that is gone."""
    return (
        f"{place} is not there any more: it was removed after it was listed; deliver it again, or remove the rest of its "
        "delivery"
    )


class FilesAhead:
    """Small files of a store, brought before they are asked for. To be closed."""

    def __init__(self, store: CrawlStore) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="crawl-file")
        self._coming: dict[str, Future[bytes | None]] = {}
        self._lock = threading.Lock()
        self._held_bytes = 0

    def expect(self, name: str) -> None:
        """Say that this file will be asked for soon."""
        if name not in self._coming:
            self._coming[name] = self._pool.submit(self._bring, name)

    def read(self, name: str, *, max_bytes: int) -> bytes:
        """As CrawlStore.read does."""
        coming = self._coming.pop(name, None)
        content = None if coming is None else coming.result()
        if content is None:
            return self._store.read(name, max_bytes=max_bytes)
        with self._lock:
            self._held_bytes -= len(content)
        if len(content) > max_bytes:
            raise TooManyBytes(len(content))
        return content

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _bring(self, name: str) -> bytes | None:
        """None where there is no room for it now."""
        with self._lock:
            room = AHEAD_BYTES - self._held_bytes
        try:
            content = self._store.read(name, max_bytes=room // AT_ONCE)  # as many may look at the room at once
        except TooManyBytes:
            return None
        with self._lock:
            self._held_bytes += len(content)
        return content


def _stored(info: Mapping[str, Any]) -> StoredFile:
    tag = next((str(info[name]) for name in TAG_NAMES if info.get(name)), "")
    return StoredFile(num_bytes=int(info["size"] or 0), tag=tag or _moment(info))


def _moment(info: Mapping[str, Any]) -> str:
    moment = next((info[name] for name in TIME_NAMES if info.get(name)), "")
    return str(moment.timestamp() if isinstance(moment, datetime) else moment)
