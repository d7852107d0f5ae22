"""Small folders of a shared home that are read as files: brought to this machine before, and sent back after writing.

<local>/.mirror.json    what was last seen of each mirrored file, here and there
"""

import fcntl
import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from resources.listings import tag_of
from resources.stores import files_below, open_store, put_file
from training_kernels.errors import ConfigError

LAST = ("record.json", "manifest.json")
"""Files that say that the folder beside them is complete: they travel last."""
STATE = ".mirror.json"


class Mirror:
    """Folders under a local root and under a shared one; where both are the same place, nothing is to be done."""

    def __init__(self, store: str, root: Path) -> None:
        self._store = store
        self._root = root
        self._is_needed = store != str(root)
        self._fs, self._base = open_store(store)

    def bring(self, folder: str) -> None:
        """Have here what the store has in a folder; what another host removed there is removed here."""
        if not self._is_needed:
            return
        with self._state() as state:
            held = files_below(self._fs, f"{self._base}/{folder}")
            there = {path.removeprefix(self._base).strip("/"): tag_of(info) for path, info in held.items()}
            for name in sorted(there, key=_order):
                known, place = state.get(name, {}), self._root / name
                is_changed_here = place.is_file() and known.get("here") != _stamp(place)  # to be sent, or being written
                if not is_changed_here and (known.get("there") != there[name] or not place.is_file()):
                    self._get(name)
                    state[name] = {"there": there[name], "here": _stamp(place)}
            for name in [name for name in state if name.startswith(f"{folder}/") and name not in there]:
                (self._root / name).unlink(missing_ok=True)
                del state[name]

    def send(self, folder: str) -> None:
        """Have the store hold what is here in a folder, as far as it was changed here. Hidden files stay here."""
        if not self._is_needed:
            return
        with self._state() as state:
            for name, path in self._unsent(folder, state):
                stamp = _stamp(path)
                put_file(self._fs, path, f"{self._base}/{name}")
                state[name] = {"there": tag_of(self._fs.info(f"{self._base}/{name}")), "here": stamp}

    def tags(self, folder: str) -> dict[str, str]:
        """What a folder of a shared home would hold if it were sent now, by name, each file with a tag of its content;
        nothing is written.

        A file that is yet to be sent is told by its size and time here, any other as every host tells it.
        """
        held = files_below(self._fs, f"{self._base}/{folder}")
        tags = {path.removeprefix(self._base).strip("/"): tag_of(info) for path, info in held.items()}
        return tags | {name: str(_stamp(path)) for name, path in self._unsent(folder, self._read_state())}

    def _unsent(self, folder: str, state: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Path]]:
        """Name and file of what was made or changed here since it was last seen, but hidden ones."""
        for path in sorted((self._root / folder).rglob("*"), key=lambda path: _order(path.name)):
            name = path.relative_to(self._root).as_posix()
            is_hidden = any(part.startswith(".") for part in name.split("/"))
            if not is_hidden and path.is_file() and state.get(name, {}).get("here") != _stamp(path):
                yield name, path

    def remove(self, folder: str) -> None:
        """Remove a folder from the store, the file that says that it is complete first."""
        if not self._is_needed:
            return
        for path in sorted(files_below(self._fs, f"{self._base}/{folder}"), key=_order, reverse=True):
            self._fs.rm_file(path)

    def remove_file(self, name: str) -> None:
        """Remove one file here and in the store; the other hosts lose theirs when they next bring its folder."""
        (self._root / name).unlink(missing_ok=True)
        if self._is_needed and self._fs.exists(f"{self._base}/{name}"):
            self._fs.rm_file(f"{self._base}/{name}")

    def _get(self, name: str) -> None:
        place = self._root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
        try:
            self._fs.get_file(f"{self._base}/{name}", str(beside))
            beside.replace(place)
        finally:
            beside.unlink(missing_ok=True)

    @contextmanager
    def _state(self) -> Iterator[dict[str, dict[str, Any]]]:
        """What was last seen, to be changed; alone among the processes of this machine."""
        self._root.mkdir(parents=True, exist_ok=True)
        with (self._root / ".mirror.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = self._read_state()
            try:
                yield state
            finally:
                beside = self._root / f"{STATE}.{uuid.uuid4().hex}"
                beside.write_text(json.dumps({"store": self._store, "files": state}))
                beside.replace(self._root / STATE)

    def _read_state(self) -> dict[str, dict[str, Any]]:
        try:
            content = json.loads((self._root / STATE).read_text())
        except FileNotFoundError:
            return {}
        if content["store"] != self._store:
            raise ConfigError(
                f"NYX_LOCAL={self._root} belongs to the home {content['store']}, asked for was {self._store}; give each "
                "home a local folder of its own"
            )
        return content["files"]


def _order(path: str) -> tuple[bool, str]:
    return path.rpartition("/")[2] in LAST, path


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]
