"""The files of a delivery, opened to be read: in a folder of this machine, or brought from a store.

Files of rows are read from this machine: Parquet is read back and forth, and a file that was brought whole cannot change
meanwhile. Pages and pictures, which are small and many, are brought some ahead of their use.
"""

import errno
import os
import posixpath
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO, Protocol

from nyx_assets.corpus.crawl_listing import fingerprints_now, stored_fingerprints_now
from nyx_assets.corpus.deliveries import DeliveredFile, Delivery
from nyx_assets.corpus.page_files import MAX_PAGE_BYTES, bytes_of_page, too_large, unreadable
from resources.crawl_store import CrawlStore, FilesAhead, TooManyBytes, Unread
from training_kernels.errors import DataError


class DeliveryFiles(Protocol):
    """The folder of a delivery: its files of pages, and what they refer to."""

    def rows_of(self, file: DeliveredFile) -> AbstractContextManager[Path | BinaryIO]:
        """A file of rows on this machine. Raises DataError if it cannot be brought."""
        ...

    def page_of(self, file: DeliveredFile) -> bytes:
        """The content of a page file. Raises RowFault."""
        ...

    def name_of(self, reference: str) -> str | None:
        """The name, from the folder, of the file that a relative path leads to; None if it leads out of the folder."""
        ...

    def expect(self, name: str) -> None:
        """Say that this file will be asked for soon."""
        ...

    def read(self, name: str, *, max_bytes: int) -> bytes:
        """The content of a file of this name. Raises TooManyBytes, OSError, and DataError where a store does not answer."""
        ...


@contextmanager
def files_of(delivery: Delivery, scratch: Path | None) -> Iterator[DeliveryFiles]:
    """The files of a delivery.

    Args:
        scratch: folder of this machine for files that are brought; None: that of the system for temporary files.
    """
    if delivery.url:
        store = CrawlStore(delivery.url)
        with closing(FilesAhead(store)) as ahead:
            yield StoreFiles(delivery, store, ahead, scratch)
    else:
        yield FolderFiles(delivery)


def require_as_landed(delivery: Delivery) -> None:
    """Raise DataError if a delivery is not what landed: what is made of it would be called by its name."""
    names = [delivery.name_within(file) for file in delivery.files]
    is_beside_others = delivery.is_file_beside_others
    now = (
        stored_fingerprints_now(CrawlStore(delivery.url), names, is_beside_others=is_beside_others)
        if delivery.url
        else fingerprints_now(delivery.folder, names, is_beside_others=is_beside_others)
    )
    if delivery.fingerprint not in now:
        raise DataError(
            f"{delivery.place}: the files of delivery {delivery.key} were changed since it landed; it is taken as it is now "
            "when it has landed again, by the sensor or by `nyx run`"
        )


class FolderFiles:
    """Those of a delivery in a folder of this machine."""

    def __init__(self, delivery: Delivery) -> None:
        self._folder = os.path.realpath(delivery.folder)
        self._delivery = delivery

    def rows_of(self, file: DeliveredFile) -> AbstractContextManager[Path | BinaryIO]:
        return nullcontext(Path(file.path))

    def page_of(self, file: DeliveredFile) -> bytes:
        return bytes_of_page(Path(file.path), Path(self._delivery.folder))

    def name_of(self, reference: str) -> str | None:
        path = os.path.realpath(os.path.join(self._folder, reference))
        return os.path.relpath(path, self._folder) if path.startswith(self._folder + os.sep) else None

    def expect(self, name: str) -> None:
        pass

    def read(self, name: str, *, max_bytes: int) -> bytes:
        path = os.path.join(self._folder, name)
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise Unread(errno.EISDIR)
        if status.st_size > max_bytes:
            raise TooManyBytes(status.st_size)
        return Path(path).read_bytes()


class StoreFiles:
    """Those of a delivery in a store."""

    def __init__(self, delivery: Delivery, store: CrawlStore, ahead: FilesAhead, scratch: Path | None) -> None:
        self._delivery = delivery
        self._store = store
        self._ahead = ahead
        self._scratch = scratch

    def rows_of(self, file: DeliveredFile) -> AbstractContextManager[Path | BinaryIO]:
        name = self._delivery.name_within(file)
        return self._store.brought(name, num_bytes=file.num_bytes, scratch=self._scratch)

    def page_of(self, file: DeliveredFile) -> bytes:
        try:
            return self._ahead.read(self._delivery.name_within(file), max_bytes=MAX_PAGE_BYTES)
        except TooManyBytes as error:
            raise too_large(error.num_bytes) from error
        except OSError as error:
            raise unreadable(error) from error

    def name_of(self, reference: str) -> str | None:
        path = posixpath.normpath(reference)
        return None if path in (".", "..") or path.startswith(("/", "../")) else path

    def expect(self, name: str) -> None:
        self._ahead.expect(name)

    def read(self, name: str, *, max_bytes: int) -> bytes:
        return self._ahead.read(name, max_bytes=max_bytes)
