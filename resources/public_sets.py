"""A folder of public training sets as it was downloaded: which sets, their rows as a stream, their pictures.

<root>/<set>.jsonl | .jsonl.gz | .json | .parquet     a set of one file
<root>/<set>/…/*                                      a set of many files, named by the folder they lie in
<root>/<set>.hub.json                                 a set of the Hugging Face hub: the arguments of datasets.load_dataset
"""

import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from training_kernels.errors import ConfigError, DataError

HUB = ".hub.json"
SUFFIXES = (HUB, ".jsonl.gz", ".jsonl", ".json", ".parquet")
ROWS_PER_BATCH = 256


@dataclass(frozen=True, slots=True)
class PublicSets:
    """The sets under a root folder; with None as the root there are none."""

    root: Path | None

    def __post_init__(self) -> None:
        if self.root is not None and not self.root.is_dir():
            raise ConfigError(
                f"NYX_PUBLIC_SETS must be a folder, got {self.root}; leave it unset to train on NyxQA alone"
            )

    def files_by_set(self) -> dict[str, list[Path]]:
        """Files by name of set, both in order of name."""
        found: dict[str, list[Path]] = {}
        for file in self._files():
            folder = file.parent.relative_to(self._folder).as_posix()
            suffix = next(suffix for suffix in SUFFIXES if file.name.endswith(suffix))
            found.setdefault(file.name.removesuffix(suffix) if folder == "." else folder, []).append(file)
        return dict(sorted(found.items()))

    def rows(self, file: Path) -> Iterator[Mapping[str, Any]]:
        """Rows of one file, as a stream but for .json, which is one array.

        Raises DataError that names the file and row of what is no row.
        """
        rows: Iterator[Any]
        if file.name.endswith(HUB):
            rows = _hub_rows(file)
        elif file.suffix == ".parquet":
            rows = (
                row
                for batch in pq.ParquetFile(file).iter_batches(batch_size=ROWS_PER_BATCH)
                for row in batch.to_pylist()
            )
        else:
            rows = _json_rows(file)
        for number, row in enumerate(rows):
            if not isinstance(row, Mapping):
                raise DataError(f"{file}, row {number}: a row is an object with named fields, got {str(row)[:80]!r}")
            yield row

    def picture(self, file: Path, path: str) -> bytes:
        """The picture that a row of `file` names, looked for beside the file and in each folder above it, up to the root.

        Raises DataError for a path that leaves the root or leads to no file.
        """
        root = self._folder.resolve()
        for folder in [file.parent, *file.parent.parents]:
            place = (folder / path).resolve()
            if not place.is_relative_to(root):
                break
            if place.is_file():
                return place.read_bytes()
        raise DataError(f"picture {path!r} is neither beside {file.name} nor in a folder above it, up to {root}")

    def fingerprint(self) -> str:
        """Digest of names, sizes and times of all files: changes when a set is added, removed or written again."""
        lines = [
            f"{file.relative_to(self._folder)} {file.stat().st_size} {file.stat().st_mtime_ns}"
            for file in self._files()
        ]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    @property
    def _folder(self) -> Path:
        if self.root is None:
            raise AssertionError("there is no folder, so no file of it can be asked for")
        return self.root

    def _files(self) -> list[Path]:
        if self.root is None:
            return []
        return sorted(file for file in self.root.rglob("*") if file.is_file() and file.name.endswith(SUFFIXES))


def _json_rows(file: Path) -> Iterator[Any]:
    with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8") as lines:
        if file.suffix == ".json":
            rows = json.load(lines)
            if not isinstance(rows, list):
                raise DataError(f"{file} must hold one array of rows, got {type(rows).__name__}")
            yield from rows
            return
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    yield json.loads(line)
                except json.JSONDecodeError as error:
                    raise DataError(f"{file}, line {number}: not JSON: {error.msg}; one object a line") from error


def _hub_rows(file: Path) -> Iterator[Any]:
    """Rows of a set on the hub, streamed by the library datasets, an optional extra."""
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise ConfigError(
            f"{file.name} names a set on the hub, which needs the library datasets; install nyx[sets] with "
            "-c constraints.txt"
        ) from error
    arguments = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(arguments, dict) or not {"path", "split"} <= arguments.keys():
        raise DataError(f"{file} must hold the arguments of load_dataset, path and split at least, got {arguments!r}")
    yield from load_dataset(**arguments, streaming=True)
