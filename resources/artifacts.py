"""Folders that the pipeline keeps beside its tables: checkpoints, with a pointer to the current one of each asset.

<root>/checkpoints/<asset key>/<version>/    complete when it holds manifest.json
<root>/artifacts/<asset key>.json            which version is current, and what it was made from
"""

import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from resources.tables import Commit
from training_kernels.errors import IncompleteArtifact

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Artifact:
    """One committed folder and what it was made from."""

    folder: Path
    commit: Commit


class Artifacts:
    """Committed folders under a local root."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def folder(self, asset: str, version: str) -> Path:
        """Where a version of an asset lies, or would lie."""
        return self.root / "checkpoints" / asset / version

    def _pointer(self, asset: str) -> Path:
        return self.root / "artifacts" / f"{asset}.json"

    def publish(self, asset: str, folder: Path, commit: Commit) -> None:
        """Make a complete folder the current one. Raises IncompleteArtifact if it lacks its manifest."""
        require_manifest(folder, asset)
        pointer = self._pointer(asset)
        pointer.parent.mkdir(parents=True, exist_ok=True)
        beside = pointer.with_name(f".{pointer.name}.{uuid.uuid4().hex}")
        beside.write_text(json.dumps({"folder": os.path.relpath(folder, self.root), **commit.to_json()}, indent=1))
        beside.replace(pointer)

    def current(self, asset: str) -> Artifact | None:
        """The current folder of an asset, or None if it has none yet. Raises IncompleteArtifact if it was damaged since."""
        pointer = self._pointer(asset)
        if not pointer.exists():
            return None
        try:
            content = json.loads(pointer.read_text())
        except ValueError as error:
            raise IncompleteArtifact(f"{pointer} was torn ({error}); materialize {asset} again") from error
        folder = self.root / content["folder"]
        require_manifest(folder, asset)
        return Artifact(folder, Commit.from_json(content))

    def require(self, asset: str) -> Artifact:
        """The current folder of an asset. Raises IncompleteArtifact if there is none."""
        artifact = self.current(asset)
        if artifact is None:
            raise IncompleteArtifact(f"{asset} has not been made; materialize {asset}")
        return artifact


def require_manifest(folder: Path, asset: str) -> None:
    """Raise IncompleteArtifact unless the folder's writer finished."""
    if not (folder / MANIFEST).is_file():
        raise IncompleteArtifact(
            f"{folder} has no {MANIFEST}: its writer did not finish, or it was deleted; materialize {asset} again"
        )
