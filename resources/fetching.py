"""Pictures behind http(s) references: fetched ahead of whoever asks for them, or refused where that is not wanted.

fetch_client.py asks the web, fetch_connection.py dials only checked addresses (fetch_addresses.py), fetch_robots.py
heeds what sites ask for, fetch_limits.py bounds it all, fetch_pictures.py stores what comes and fetch_log.py remembers.
"""

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache, partial
from threading import Thread
from typing import TYPE_CHECKING, Protocol

from resources.fetch_addresses import WebAccess
from resources.fetch_limits import FetchLimits
from resources.fetch_log import FetchLog
from resources.images import FolderImageStore, PictureLimits, PictureRefused, StoredImage

if TYPE_CHECKING:
    from resources.fetch_client import Fetcher
    from resources.fetch_pictures import PictureFetcher

REMEMBERED_PICTURES = 10_000
"""Choice: outcomes kept in memory, a few megabytes; older ones are read from their records again."""

MAX_AHEAD = 4_096
"""Choice: pictures waited for at once; one page may refer to a million, and each that waits takes a few kilobytes."""

DECODING_THREADS = 2
"""Choice: a picture of the largest size unfolds to 150 MB."""


class WebSession(Protocol):
    """Pictures on the web, for as long as one step needs them."""

    def expect(self, address: str) -> None:
        """Say that this picture will be asked for soon. Returns at once."""
        ...

    def take(self, address: str) -> StoredImage:
        """The picture, verified and stored. Raises PictureRefused."""
        ...


class WebPictures(Protocol):
    """Whether and how pictures on the web are had."""

    @property
    def setting(self) -> str:
        """What a table that such pictures went into was made with."""
        ...

    def session(self, store: FolderImageStore, limits: PictureLimits) -> AbstractContextManager[WebSession]:
        """Pictures that are put into this store if they are within these limits."""
        ...


class NotFetched:
    """Nothing is fetched: every picture on the web is refused by that name."""

    setting = "not fetched"

    @contextmanager
    def session(self, store: FolderImageStore, limits: PictureLimits) -> Iterator[WebSession]:
        yield self

    def expect(self, address: str) -> None:
        """There is nothing to prepare."""

    def take(self, address: str) -> StoredImage:
        raise PictureRefused(
            "not_fetched",
            f"{address[:200]!r} is on the web, and pictures are not fetched; set NYX_FETCH=on, or deliver the file beside "
            "the Parquet file and refer to it by its relative path",
        )


NOT_FETCHED = NotFetched()


class FetchedPictures:
    """Pictures are fetched, each address once: what is on record under `log_root` is not asked for again."""

    setting = "fetched"

    def __init__(self, access: WebAccess, limits: FetchLimits, *, log_root: str) -> None:
        self._access = access
        self._limits = limits
        self._log = FetchLog(log_root)

    def open_fetcher(self) -> "Fetcher":
        """The client of one session."""
        from resources.fetch_client import Fetcher

        return Fetcher(self._access, self._limits)

    @contextmanager
    def session(self, store: FolderImageStore, limits: PictureLimits) -> Iterator[WebSession]:
        """Fetches in a thread of its own until the block ends; what is still under way then is given up."""
        from resources.fetch_pictures import PictureFetcher

        loop, closing, fetcher = asyncio.new_event_loop(), asyncio.Event(), self.open_fetcher()
        thread = Thread(target=partial(_run, loop, fetcher, closing), daemon=True, name="fetching")
        with ThreadPoolExecutor(DECODING_THREADS, thread_name_prefix="pictures") as threads:
            thread.start()
            try:
                yield _FetchingSession(
                    PictureFetcher(
                        fetcher,
                        self._log,
                        store,
                        limits,
                        threads=threads,
                        retry_failures_after_seconds=self._limits.retry_failures_after_seconds,
                    ),
                    loop,
                )
            finally:
                loop.call_soon_threadsafe(closing.set)
                thread.join()


class _FetchingSession:
    """Pictures that an event loop in another thread fetches."""

    def __init__(self, pictures: "PictureFetcher", loop: asyncio.AbstractEventLoop) -> None:
        self._pictures = pictures
        self._loop = loop
        self._under_way: set[Future] = set()
        self._future = lru_cache(maxsize=REMEMBERED_PICTURES)(self._start)

    def expect(self, address: str) -> None:
        if len(self._under_way) < MAX_AHEAD:
            self._future(address)

    def take(self, address: str) -> StoredImage:
        outcome = self._future(address).result()
        if isinstance(outcome, PictureRefused):
            raise PictureRefused(outcome.rule, outcome.reason)
        return outcome

    def _start(self, address: str) -> "Future[StoredImage | PictureRefused]":
        future = asyncio.run_coroutine_threadsafe(self._pictures.obtain(address), self._loop)
        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        return future


def _run(loop: asyncio.AbstractEventLoop, fetcher: "Fetcher", closing: asyncio.Event) -> None:
    """Run an event loop until `closing` is set, then give up what is under way and close every connection."""

    async def serve() -> None:
        await closing.wait()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await fetcher.aclose()

    try:
        loop.run_until_complete(serve())
    finally:
        loop.close()
