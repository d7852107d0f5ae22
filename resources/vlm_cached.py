"""Replies kept by the content of their request: what was paid for once is not paid for again."""

import asyncio
import json
import logging
import os
import uuid
from concurrent.futures import Future
from threading import Lock

import fsspec

from resources.vlm import VLM, Reply, Request
from training_kernels.errors import VLMError

logger = logging.getLogger(__name__)


class CachedVLM:
    """Another VLM behind a content-addressed folder of replies, `<root>/<first two digits>/<request digest>.json`.

    Safe for many processes: a reply is written beside its place and renamed, and whichever of two equal replies comes
    last stays. Equal requests that are under way in one process at once share one call. Refusals are not kept. A file
    that cannot be read is renamed to `*.damaged`, logged, and its request paid again.
    """

    def __init__(self, inner: VLM, root: str) -> None:
        self.inner = inner
        self.root = str(root)
        self._fs, self._base = fsspec.core.url_to_fs(self.root)
        self._under_way: dict[str, Future[Reply | None]] = {}
        self._lock = Lock()

    @property
    def model(self) -> str:
        return self.inner.model

    @property
    def is_stand_in(self) -> bool:
        return self.inner.is_stand_in

    @property
    def max_in_flight(self) -> int:
        return self.inner.max_in_flight

    async def complete(self, request: Request) -> Reply:
        digest = request.digest(self.model)
        while True:
            with self._lock:
                others = self._under_way.get(digest)
                if others is None:
                    ours: Future[Reply | None] = Future()
                    self._under_way[digest] = ours
                    break
            # shield: if this caller is cancelled, the call goes on for the others that wait for it
            reply = await asyncio.shield(asyncio.wrap_future(others))
            if reply is not None:
                return reply.from_cache()
            # None: whoever made the call was cancelled or broke; this caller tries itself
        outcome: Reply | VLMError | None = None
        try:
            outcome = await self._stored_or_paid(request, digest)
            return outcome
        except VLMError as error:
            outcome = error
            raise
        finally:
            with self._lock:
                del self._under_way[digest]
            if isinstance(outcome, VLMError):
                ours.set_exception(outcome)
            else:
                ours.set_result(outcome)

    async def _stored_or_paid(self, request: Request, digest: str) -> Reply:
        stored = await asyncio.to_thread(self._read, digest)
        if stored is not None:
            return stored.from_cache()
        reply = await self.inner.complete(request)
        await asyncio.to_thread(self._write, digest, reply)
        return reply

    def _path(self, digest: str) -> str:
        return f"{self._base}/{digest[:2]}/{digest}.json"

    def _read(self, digest: str) -> Reply | None:
        """The stored reply, or None where there is none that can be read."""
        path = self._path(digest)
        try:
            content = self._fs.cat_file(path)
        except FileNotFoundError:
            return None
        try:
            reply = Reply(**json.loads(content))
            if reply.request_digest != digest or not isinstance(reply.text, str):
                raise ValueError(f"it answers request {reply.request_digest!r}")
        except (ValueError, TypeError) as error:
            self._set_aside(path, error)
            return None
        return reply

    def _set_aside(self, path: str, error: Exception) -> None:
        logger.warning("cached reply %s is damaged (%s); kept as *.damaged, its request is paid again", path, error)
        try:
            self._fs.mv(path, f"{path}.damaged")
        except FileNotFoundError:
            logger.info("cached reply %s was set aside by another process at the same time", path)

    def _write(self, digest: str, reply: Reply) -> None:
        path = self._path(digest)
        beside = f"{path}.{os.getpid()}-{uuid.uuid4().hex}.part"
        self._fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        self._fs.pipe_file(beside, json.dumps(reply.to_json(), ensure_ascii=False).encode("utf-8", "surrogatepass"))
        self._fs.mv(beside, path)
