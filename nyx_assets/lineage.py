"""Which documents a checkpoint was trained on, kept beside the checkpoints: `<home>/lineage/<asset>/<run>.json`."""

import json
import os
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from resources.home import Home


@dataclass(frozen=True, slots=True)
class Seen:
    """A checkpoint that has seen some documents."""

    folder: str
    """From the home's root."""
    how: str
    """"trained on it", "started from" such a checkpoint, or "unknown" for one without lineage."""


def note_seen(home: Home, folder: Path, document_ids: Iterable[str], *, start_from: str) -> None:
    """Remember what the checkpoint in a folder is trained on: ids of chunks and questions, and where it started."""
    place = _place(home, folder)
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
    content = {"start_from": os.path.relpath(start_from, home.root), "documents": sorted(document_ids)}
    beside.write_text(json.dumps(content))
    beside.replace(place)
    home.mirror.send("lineage")


def checkpoints_that_saw(home: Home, document_ids: frozenset[str]) -> list[Seen]:
    """Every checkpoint of the home that was trained on one of the documents, itself or what it started from; and those
    of which nothing is known."""
    home.mirror.bring("lineage")
    folders = [home.root / folder for folder in home.artifacts.complete_folders()]
    how = {folder: _how(home, folder, document_ids, set()) for folder in folders}
    return [Seen(os.path.relpath(folder, home.root), said) for folder, said in how.items() if said]


def _how(home: Home, folder: Path, document_ids: frozenset[str], visited: set[Path]) -> str:
    place = _place(home, folder)
    if folder in visited:
        return ""
    if not place.exists():
        return "unknown: it was trained before lineage was kept"
    content = json.loads(place.read_text())
    if document_ids.intersection(content["documents"]):
        return "trained on it"
    parent = home.root / content["start_from"]
    if not parent.is_relative_to(home.root / "checkpoints"):
        return ""
    return "started from one that was" if _how(home, parent, document_ids, visited | {folder}) else ""


def _place(home: Home, folder: Path) -> Path:
    return home.root / "lineage" / folder.parent.name / f"{folder.name}.json"
