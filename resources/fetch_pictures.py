"""A picture on the web as a picture of the store: asked for once, then known by its record."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor

from resources.fetch_client import Fetcher
from resources.fetch_log import FetchLog, FetchRecord
from resources.images import FolderImageStore, PictureLimits, PictureRefused, StoredImage

Outcome = StoredImage | PictureRefused


class PictureFetcher:
    """Fetches pictures into a store, with a record for each. One event loop only.

    Args:
        threads: where pictures are decoded and files are written.
        retry_failures_after_seconds: age at which a failure on record counts no more.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        log: FetchLog,
        store: FolderImageStore,
        limits: PictureLimits,
        *,
        threads: Executor,
        retry_failures_after_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._fetcher = fetcher
        self._log = log
        self._store = store
        self._limits = limits
        self._limits_text = f"{limits.max_bytes} bytes, {limits.max_pixels} pixels, side {limits.min_side_pixels}"
        self._threads = threads
        self._retry_failures_after_seconds = retry_failures_after_seconds
        self._clock = clock

    async def obtain(self, address: str) -> Outcome:
        """The picture behind an address, from the record or from the web; every outcome is on record afterwards."""
        loop = asyncio.get_running_loop()
        known = await loop.run_in_executor(self._threads, self._known, address)
        if known is not None:
            return known
        try:
            file = await self._fetcher.fetch(address, max_bytes=self._limits.max_bytes)
        except PictureRefused as refusal:
            await loop.run_in_executor(self._threads, self._note, address, address, b"", refusal)
            return refusal
        return await loop.run_in_executor(self._threads, self._put, address, file.address, file.data)

    def _known(self, address: str) -> Outcome | None:
        """The outcome on record, or None if the web has to be asked."""
        record = self._log.read(address)
        if record is None:
            return None
        if record.stored is not None:
            if not self._store.exists(record.stored.digest):
                return None
            if record.limits == self._limits_text:
                return record.stored
            # other limits may refuse what was taken, but the file is here: the web may have lost it since
            data = self._store.fs.cat_file(self._store.path(record.stored.digest))
            return self._put(address, record.last_address, data)
        is_fresh = self._clock() - record.at_seconds < self._retry_failures_after_seconds
        return PictureRefused(record.rule, record.reason) if is_fresh and record.limits == self._limits_text else None

    def _put(self, address: str, last_address: str, data: bytes) -> Outcome:
        outcome: Outcome
        try:
            outcome = self._store.put(data, limits=self._limits)
        except PictureRefused as refusal:
            outcome = PictureRefused(refusal.rule, f"{last_address[:200]}: {refusal.reason}")
        self._note(address, last_address, data, outcome)
        return outcome

    def _note(self, address: str, last_address: str, data: bytes, outcome: Outcome) -> None:
        refusal = outcome if isinstance(outcome, PictureRefused) else None
        self._log.write(
            FetchRecord(
                address=address,
                last_address=last_address,
                at_seconds=self._clock(),
                limits=self._limits_text,
                num_bytes=len(data),
                stored=None if isinstance(outcome, PictureRefused) else outcome,
                rule=refusal.rule if refusal else "",
                reason=refusal.reason if refusal else "",
            )
        )
