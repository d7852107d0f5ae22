"""Folders that the pipeline keeps beside its tables: checkpoints, with a pointer to the current one of each asset.

<root>/checkpoints/<asset key>/<version>/    complete when it holds manifest.json
<root>/artifacts/<asset key>.json            which version is current, and what it was made from

A model is loaded from a folder of this machine. Where hosts share a home, a folder is sent to the store when it is
published, its manifest last, and brought from there, its manifest last, by the first on a machine who needs it.
"""

import json
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from resources.listings import Listings
from resources.stores import files_below, open_store, put_bytes, put_file
from resources.tables import Commit
from training_kernels.errors import IncompleteArtifact

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Artifact:
    """One committed folder and what it was made from."""

    folder: Path
    commit: Commit


class Artifacts:
    """Committed folders under a local root, and in a store that hosts share where it is another place."""

    def __init__(self, root: Path, store: str = "") -> None:
        self.root = Path(root)
        self._fs, self._base = open_store(store or str(self.root))
        self._is_shared = store not in ("", str(self.root))
        self._listings = Listings(self._fs)

    def look_again(self) -> None:
        """See what other hosts published until now; it is remembered for moments."""
        self._listings.look_again()

    def folder(self, asset: str, version: str) -> Path:
        """Where a version of an asset lies on this machine, or would lie; brought from the store if only that has it."""
        return self.brought(f"checkpoints/{asset}/{version}")

    def complete_folders(self) -> list[str]:
        """Every complete folder of checkpoints, from the root, whether it is on this machine or in the store alone."""
        found = [
            path.parent.relative_to(self.root).as_posix() for path in self.root.glob(f"checkpoints/*/*/{MANIFEST}")
        ]
        if self._is_shared:
            paths = (
                path.removeprefix(self._base).strip("/") for path in files_below(self._fs, f"{self._base}/checkpoints")
            )
            found += [
                path.rpartition("/")[0] for path in paths if path.endswith(f"/{MANIFEST}") and path.count("/") == 3
            ]
        return sorted(set(found))

    def _pointer(self, asset: str) -> str:
        return f"{self._base}/artifacts/{asset}.json"

    def publish(self, asset: str, folder: Path, commit: Commit) -> None:
        """Make a complete folder the current one. Raises IncompleteArtifact if it lacks its manifest."""
        require_manifest(folder, asset)
        if self._is_shared:
            self._send(folder)
        content = {"folder": os.path.relpath(folder, self.root), **commit.to_json()}
        put_bytes(self._fs, self._pointer(asset), json.dumps(content, indent=1).encode())
        self.look_again()

    def commit(self, asset: str) -> Commit | None:
        """What the current folder was made from, without bringing it here. Raises IncompleteArtifact as `current` does."""
        if (content := self._current(asset)) is None:
            return None
        if not self._fs.exists(f"{self._base}/{content['folder']}/{MANIFEST}"):
            raise _without_manifest(f"{self._base}/{content['folder']}", asset)
        return Commit.from_json(content)

    def current(self, asset: str) -> Artifact | None:
        """The current folder of an asset, or None if it has none yet. Raises IncompleteArtifact if it was damaged since."""
        if (content := self._current(asset)) is None:
            return None
        folder = self.brought(content["folder"])
        require_manifest(folder, asset)
        return Artifact(folder, Commit.from_json(content))

    def require(self, asset: str) -> Artifact:
        """The current folder of an asset. Raises IncompleteArtifact if there is none."""
        artifact = self.current(asset)
        if artifact is None:
            raise IncompleteArtifact(f"{asset} has not been made; materialize {asset}")
        return artifact

    def _current(self, asset: str) -> dict | None:
        if self._is_shared:
            return self._listings.content(f"{self._base}/artifacts", self._pointer(asset), self._read)
        pointer = self._pointer(asset)
        return self._read(pointer) if self._fs.exists(pointer) else None

    def _read(self, pointer: str) -> dict:
        try:
            return json.loads(self._fs.cat_file(pointer))
        except ValueError as error:
            asset = pointer.rsplit("/", 1)[1].removesuffix(".json")
            raise IncompleteArtifact(f"{pointer} was torn ({error}); materialize {asset} again") from error

    def brought(self, relative: str) -> Path:
        """A folder of the home on this machine; brought from the store if that has another one, or this machine none."""
        folder = self.root / relative
        if not self._is_shared:
            return folder
        there = f"{self._base}/{os.path.normpath(relative)}"
        try:
            manifest = self._fs.cat_file(f"{there}/{MANIFEST}")
        except FileNotFoundError:
            return folder
        if not _has(folder, manifest):
            self._bring(there, folder)
        if weights := _weights_beside(folder, self.root):
            self.brought(weights)
        return folder

    def _bring(self, there: str, folder: Path) -> None:
        draft = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.writing")
        draft.mkdir(parents=True)
        try:
            for path in files_below(self._fs, there):
                place = draft / path.removeprefix(there).strip("/")
                place.parent.mkdir(parents=True, exist_ok=True)
                self._fs.get_file(path, str(place))
            if folder.exists():  # another one, or one that lost its manifest
                shutil.rmtree(folder)
            os.rename(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _send(self, folder: Path) -> None:
        """The folder, and the one whose weights it adapts, unless the store has them."""
        if weights := _weights_beside(folder, self.root):
            self._send(self.root / weights)
        there = f"{self._base}/{os.path.relpath(folder, self.root)}"
        manifest = (folder / MANIFEST).read_bytes()
        if self._fs.exists(f"{there}/{MANIFEST}"):
            if self._fs.cat_file(f"{there}/{MANIFEST}") == manifest:
                return
            self._fs.rm_file(f"{there}/{MANIFEST}")
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path != folder / MANIFEST:
                put_file(self._fs, path, f"{there}/{path.relative_to(folder).as_posix()}")
        put_bytes(self._fs, f"{there}/{MANIFEST}", manifest)


def require_manifest(folder: Path, asset: str) -> None:
    """Raise IncompleteArtifact unless the folder's writer finished."""
    if not (folder / MANIFEST).is_file():
        raise _without_manifest(str(folder), asset)


def _without_manifest(folder: str, asset: str) -> IncompleteArtifact:
    return IncompleteArtifact(
        f"{folder} has no {MANIFEST}: its writer did not finish, or it was deleted; materialize {asset} again"
    )


def _has(folder: Path, manifest: bytes) -> bool:
    """True if the folder is here and is what the manifest, which holds the digests of its files, says."""
    try:
        return (folder / MANIFEST).read_bytes() == manifest
    except FileNotFoundError:
        return False


def _weights_beside(folder: Path, root: Path) -> str:
    """From the root, the folder whose weights this one adapts; "" if it adapts none, or one that is not in the home."""
    weights = json.loads((folder / MANIFEST).read_bytes()).get("weights", ".")
    place = Path(os.path.normpath(folder / weights))
    return os.path.relpath(place, root) if place != folder and place.is_relative_to(root) else ""
