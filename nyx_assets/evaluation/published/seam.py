"""What a published benchmark is to evaluation, and what readers of several share."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from nyx_assets.evaluation.suites import Suite, SuiteQuery
from nyx_assets.records import content_id, document_key
from training_kernels.documents import Document
from training_kernels.errors import DataError

TakePicture = Callable[[Path], str]
"""Takes a picture file into the store and returns its digest. Raises DataError for one that is missing or broken."""


class PublishedSuite(Protocol):
    """One published benchmark."""

    @property
    def name(self) -> str:
        """As it is asked for at the command line."""
        ...

    @property
    def files(self) -> str:
        """What its folder has to hold, for a person."""
        ...

    def read(self, folder: Path, part: str, take_picture: TakePicture) -> Suite:
        """The suite of the files in a folder. Raises DataError naming the file and row of what is wrong.

        Args:
            part: what stands after the colon in `NAME:PART`; "" for the whole.
        """
        ...


class Pool:
    """Candidates of a whole benchmark, each content once."""

    def __init__(self) -> None:
        self.documents: dict[str, Document] = {}

    def add(self, document: Document) -> str:
        """The id of a candidate, made from its content."""
        candidate_id = content_id(document_key(document))
        self.documents[candidate_id] = document
        return candidate_id


def passage(title: str, text: str) -> Document:
    """A passage as retrievers read it: its title on a line of its own."""
    return Document.of(*([f"{title}\n{text}"] if title else [text]))


def suite_from(name: str, pool: Pool, queries: Iterable[SuiteQuery], left_out: Iterable[tuple[str, str]]) -> Suite:
    """The suite of these queries. Raises DataError if none is left, with the first reason."""
    made, out = tuple(queries), tuple(left_out)
    if not made:
        why = f"; query {out[0][0]}: {out[0][1]}" if out else ""
        raise DataError(f"{name}: no query with a gold candidate is left of {len(out)}{why}")
    return Suite(name, pool.documents, made, left_out=out)


def json_file(folder: Path, names: Sequence[str]) -> tuple[Path, Any]:
    """The first of the files that is there, and its content."""
    path = one_of(folder, names)
    try:
        return path, json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not JSON: {error.msg} in line {error.lineno}; get the file again") from error


def json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Line numbers and values of the lines that are not blank."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except json.JSONDecodeError as error:
                    raise DataError(f"{path}, line {number}: not JSON: {error.msg}; get the file again") from error


def one_of(folder: Path, names: Sequence[str]) -> Path:
    """The first of these files that is there. Raises DataError naming them all."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise DataError(f"{folder} holds none of {', '.join(names)}; put the published file there")


def field(row: Mapping[str, Any], name: str, kind: type | tuple[type, ...], where: str) -> Any:
    """A field of a row. Raises DataError with the place if it is missing or of another kind."""
    value = row.get(name) if isinstance(row, dict) else None
    if not isinstance(value, kind):
        raise DataError(f"{where}: field {name!r} is missing or of another kind, got {value!r}"[:400])
    return value
