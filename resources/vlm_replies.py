"""The folder of replies by the digest of their request: `<root>/<first two digits>/<request digest>.json`."""

import json
import logging
import os
import uuid
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

from resources.file_work import at_hand, is_near
from resources.stores import open_store, put_bytes
from resources.vlm import Reply

SEGMENTS = "segments"
"""Field of a kept reply that is no part of the reply: digests of what its request said, so that it can be found again."""

FAR_AT_ONCE = 16
"""Choice: to look through a store's replies is waiting, 30 ms a reply; so many at once are 500 a second."""

logger = logging.getLogger(__name__)


class ReplyFolder:
    """Replies that were paid for, in a folder that many processes and hosts share.

    A reply is put in its place whole, so a reader sees a whole reply or none; of two equal ones the last stays.
    """

    def __init__(self, root: str) -> None:
        self.root = str(root)
        self._fs, self._base = open_store(self.root)
        self.is_near = is_near(self._fs)

    def peek(self, digest: str) -> Reply | None:
        """The stored reply, or None where there is none that can be read. Changes nothing."""
        found = self._load(digest)
        return found if isinstance(found, Reply) else None

    def has(self, digest: str) -> bool:
        """Whether there is one, without reading it."""
        return self._fs.exists(self._path(digest))

    def read(self, digest: str) -> Reply | None:
        """The same; a file that cannot be read is renamed to `*.damaged` and logged, so that its request is asked again."""
        found = self._load(digest)
        if isinstance(found, Exception):
            self._set_aside(self._path(digest), found)
            return None
        return found

    async def find(self, digest: str) -> Reply | None:
        """The stored reply, marked as not paid again."""
        stored = await at_hand(self.is_near, self.read, digest)
        return None if stored is None else stored.from_cache()

    def write(self, digest: str, reply: Reply, segments: Sequence[str] = ()) -> None:
        """Keep a reply, with what its request said by digest of segment. It is complete in its place, or not there."""
        path = self._path(digest)
        values = reply.to_json() | {SEGMENTS: list(segments)}
        content = json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogatepass")
        if self.is_near:  # fsspec looks at every folder above before it writes a file
            beside = f"{path}.{os.getpid()}-{uuid.uuid4().hex}.part"
            _write_near(beside, content)
            os.rename(beside, path)
        else:
            put_bytes(self._fs, path, content)

    def remove_about(self, segments: Collection[str], digests: Collection[str]) -> int:
        """Remove replies to requests of these digests, or that said one of these segments; how many they were."""
        meant = frozenset(segments)

        def remove(path: str) -> bool:
            is_meant = path.rsplit("/", 1)[1].partition(".")[0] in digests or bool(self._said(path) & meant)
            if is_meant:
                self._fs.rm_file(path)
            return is_meant

        paths = self._fs.glob(f"{self._base}/*/*.json*")
        if self.is_near:
            return sum(map(remove, paths))
        with ThreadPoolExecutor(FAR_AT_ONCE) as pool:
            return sum(pool.map(remove, paths))

    def _said(self, path: str) -> frozenset[str]:
        """Digests of what the request of a kept reply said; none where the file does not tell."""
        try:
            return frozenset(json.loads(self._fs.cat_file(path)).get(SEGMENTS, ()))
        except (ValueError, TypeError, AttributeError, FileNotFoundError):  # not found: another process set it aside
            return frozenset()

    def _path(self, digest: str) -> str:
        return f"{self._base}/{digest[:2]}/{digest}.json"

    def _load(self, digest: str) -> Reply | ValueError | TypeError | None:
        """The reply, None where no file is there, or what is wrong with the file."""
        try:
            content = _read_near(self._path(digest)) if self.is_near else self._fs.cat_file(self._path(digest))
        except FileNotFoundError:
            return None
        try:
            values = json.loads(content)
            values.pop(SEGMENTS, None)  # replies kept by an older nyx have none
            reply = Reply(**values)
            if reply.request_digest != digest or not isinstance(reply.text, str):
                raise ValueError(f"it answers request {reply.request_digest!r}")
        except (ValueError, TypeError) as error:
            return error
        return reply

    def _set_aside(self, path: str, error: Exception) -> None:
        logger.warning("cached reply %s is damaged (%s); kept as *.damaged, its request is paid again", path, error)
        try:
            self._fs.mv(path, f"{path}.damaged")
        except FileNotFoundError:
            logger.info("cached reply %s was set aside by another process at the same time", path)


def _read_near(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()


def _write_near(path: str, content: bytes) -> None:
    try:
        _write_new(path, content)
    except FileNotFoundError:  # the first reply of its folder
        os.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        _write_new(path, content)


def _write_new(path: str, content: bytes) -> None:
    with open(path, "xb", buffering=0) as file:
        file.write(content)
