"""What a frozen vision tower made of pictures, kept on disk: opt-in, bounded, shared by processes.

One file a picture, `<folder>/<first two digits>/<key>.features`: the SHA-256 of the rest, then a safetensors file.
"""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from training_kernels.backbones.backbone import Backbone
from training_kernels.collate import RenderedPicture
from training_kernels.config import InputConfig
from training_kernels.errors import ConfigError

ENTRY_SUFFIX = ".features"
DIGEST_BYTES = hashlib.sha256().digest_size

EVICTED_TO = 0.9
"""Share of the limit that is left after an eviction. Choice: the folder is scanned once for a tenth of its entries."""


class VisionCache:
    """Features by key; the entries used longest ago go when the limit is reached.

    Processes may share a folder: an entry appears whole, by one rename; the sum of sizes is kept under a lock. An entry
    whose bytes are not those that were written counts as absent and is deleted.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        if max_bytes < 1:
            raise ConfigError(f"a vision cache needs max_bytes >= 1, got {max_bytes}; leave the cache out to have none")
        self.folder, self.max_bytes = folder, max_bytes
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, key: str) -> Tensor | None:
        """Features [V, F] on the CPU, or None where there are none."""
        path = self._path(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        digest, payload = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
        if hashlib.sha256(payload).digest() == digest:
            with suppress(FileNotFoundError):  # evicted by another process since it was read
                os.utime(path)
            with suppress(SafetensorError, KeyError):
                return safetensors.torch.load(payload)["features"]
        self._drop_broken(path)
        return None

    def put(self, key: str, features: Tensor) -> None:
        """Stores features, and makes room where there is none. One that is larger than the limit is not stored."""
        payload = safetensors.torch.save({"features": features.detach().contiguous().cpu()})
        content = hashlib.sha256(payload).digest() + payload
        path = self._path(key)
        if len(content) > self.max_bytes:
            return
        with self._locked():
            if path.exists():
                return
            path.parent.mkdir(exist_ok=True)
            total = self._total()
            if total + len(content) > self.max_bytes:
                total = self._evict(room_for=len(content))
            _write_whole(path, content)
            self._set_total(total + len(content))

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}{ENTRY_SUFFIX}"

    def _drop_broken(self, path: Path) -> None:
        with self._locked():
            path.unlink(missing_ok=True)
            self._set_total(sum(entry.num_bytes for entry in self._entries()))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _total(self) -> int:
        """Bytes of all entries, as noted by the last writer; counted where there is no such note."""
        try:
            return int((self.folder / "bytes").read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return sum(entry.num_bytes for entry in self._entries())

    def _set_total(self, num_bytes: int) -> None:
        _write_whole(self.folder / "bytes", str(num_bytes).encode("ascii"))

    def _evict(self, *, room_for: int) -> int:
        """Deletes the entries used longest ago; returns the bytes of those left."""
        entries = sorted(self._entries(), key=lambda entry: (entry.last_used, entry.path))
        total = sum(entry.num_bytes for entry in entries)
        goal = EVICTED_TO * self.max_bytes - room_for
        for entry in entries:
            if total <= max(goal, 0):
                break
            entry.path.unlink(missing_ok=True)
            total -= entry.num_bytes
        return total

    def _entries(self) -> Iterator["_Entry"]:
        for path in self.folder.glob(f"*/*{ENTRY_SUFFIX}"):
            with suppress(FileNotFoundError):
                status = path.stat()
                yield _Entry(path, status.st_size, status.st_mtime)


@dataclass(frozen=True, slots=True)
class _Entry:
    path: Path
    num_bytes: int
    last_used: float
    """Seconds since the epoch."""


def opened_cache(beside: Path, *, max_bytes: int) -> VisionCache | None:
    """The cache that lies beside backbones, or None where it may hold nothing."""
    return VisionCache(beside / "vision_cache", max_bytes=max_bytes) if max_bytes else None


class PictureKeys:
    """Names of features: the picture, its pixel budget, the tower's weights and dtype, and how it reads pictures."""

    def __init__(self, backbone: Backbone, inputs: InputConfig) -> None:
        self._common = f"{tower_identity(backbone, inputs)} {inputs.min_pixels} {inputs.max_pixels}"

    def key(self, picture: RenderedPicture) -> str:
        """64 hexadecimal digits."""
        return hashlib.sha256(f"{self._common} {picture.digest}".encode()).hexdigest()


def tower_identity(backbone: Backbone, inputs: InputConfig) -> str:
    """SHA-256 of the vision tower's weights, their dtypes, and the files that say how pictures are read."""
    total = hashlib.sha256()
    for name, weight in sorted(backbone.vision.state_dict().items()):
        total.update(f"{name} {weight.dtype} {tuple(weight.shape)} ".encode())
        total.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy())
    with tempfile.TemporaryDirectory() as folder:
        backbone.save_reading_files(Path(folder), inputs)
        for file in sorted(Path(folder).rglob("*")):
            if file.is_file():
                total.update(file.name.encode() + file.read_bytes())
    return total.hexdigest()


def _write_whole(path: Path, content: bytes) -> None:
    """In one rename: a reader sees the old file or the new one."""
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
