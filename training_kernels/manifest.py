"""A folder of weights is complete when its manifest.json exists; it is written last, and readers demand it."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from training_kernels.config import InputConfig, Precision
from training_kernels.errors import DataError, IncompleteArtifact

MANIFEST = "manifest.json"

RUN_RECORD = "metrics.json"
"""How the run went, seconds included."""

MODEL_CARD = "README.md"
"""The checkpoint told to people, numbers of the run included."""

RECORDS = (RUN_RECORD, MODEL_CARD)
"""No part of what the checkpoint is, so equal weights have equal manifests."""

WEIGHTS_HERE = "."


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a folder of weights is, and how documents are read by it."""

    kind: Literal["backbone", "full", "adapter"]
    """Untrained weights, weights trained whole, or an adapter on the weights of another folder."""
    backbone: str
    """Name of the backbone, as recipes name it."""
    weights: str
    """Folder that transformers loads: "." for this one, else an absolute path (backbone) or one from here (adapter)."""
    base_identity: str
    """SHA-256 of the manifest of the folder under an adapter; "" for the other kinds."""
    dim: int
    dims: tuple[int, ...]
    """Matryoshka dims, widest first; the full width alone for a backbone."""
    inputs: InputConfig
    precision: Precision
    revision: str = ""
    """Commit of the hub repository that the weights came from; "" for any other folder."""
    data_identity: str = ""
    """SHA-256 of what it was trained on and chosen by (training_kernels.data_identity); "" for weights as they came."""

    def weights_folder(self, folder: Path) -> Path:
        """Where the weights lie, for a manifest read from `folder`."""
        return (folder / self.weights).resolve()


IS_MATRYOSHKA = "is_matryoshka"
"""Of trained weights in manifest.json: whether prefixes of an embedding (`dims`) stand alone. Here, as an adapter's folder
has no config.json, which says the same under the same name for weights that are whole."""


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes manifest.json with size and SHA-256 of every other file of the folder but the records of the run."""
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": _file_digest(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (MANIFEST, *RECORDS)
    }
    trained = {} if manifest.kind == "backbone" else {IS_MATRYOSHKA: len(manifest.dims) > 1}
    text = json.dumps({**asdict(manifest), **trained, "files": files}, indent=1, sort_keys=True)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a complete folder.

    Raises IncompleteArtifact without manifest.json, or where a file that it lists is missing or of another size, and
    DataError where it is no manifest of this project.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise IncompleteArtifact(
            f"checkpoint {folder} has no {MANIFEST}: its writer did not finish, or it was never made; "
            "delete the folder and train again"
        )
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        files = row.pop("files")
        row.pop(IS_MATRYOSHKA, None)  # told by dims
        manifest = Manifest(**row | {"dims": tuple(row["dims"]), "inputs": InputConfig(**row["inputs"])})
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no manifest of a checkpoint: {error!r}; train again") from error
    for name, expected in files.items():
        if not (folder / name).is_file() or (folder / name).stat().st_size != expected["bytes"]:
            raise IncompleteArtifact(
                f"checkpoint {folder}: {name} is missing or not {expected['bytes']:,} bytes long; copy it again or retrain"
            )
    return manifest


def identity(folder: Path) -> str:
    """SHA-256 of the folder's manifest, which holds the digests of its files: equal exactly for equal checkpoints."""
    read_manifest(folder)
    return _file_digest(folder / MANIFEST)


@contextmanager
def committed_folder(out: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of `out` in one rename when the block ends, and vanishes if it fails.

    Of two writers at once the last one wins; a reader sees either one whole.
    """
    with _draft_beside(out) as draft:
        yield draft
        while not _renamed(draft, out):
            retired = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".retired", dir=out.parent))
            with suppress(FileNotFoundError):  # another writer took the old folder away first
                os.rename(out, retired)
            shutil.rmtree(retired)


@contextmanager
def committed_once(out: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `out` in one rename when the block ends, unless another writer was first.

    For content that is the same whoever writes it.
    """
    with _draft_beside(out) as draft:
        yield draft
        if not _renamed(draft, out):
            read_manifest(out)


@contextmanager
def _draft_beside(out: Path) -> Iterator[Path]:
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".writing", dir=out.parent))
    draft.chmod(0o755)
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _renamed(draft: Path, out: Path) -> bool:
    try:
        os.rename(draft, out)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
