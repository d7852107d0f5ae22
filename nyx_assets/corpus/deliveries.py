"""Finds the deliveries of a crawl folder: files of pages, or a sub-folder of them, named by the delivery's key.

A file of pages is Parquet in the OBELICS schema or JSON lines of the same; a sub-folder without such a file is a delivery
of Markdown and HTML files, at any depth. Only listings and Parquet footers are read here, so that 10,000 deliveries are
looked through in seconds; of JSON lines, which have no footer, the lines are counted, once for each version of a file.
"""

import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from nyx_assets.corpus.jsonl import count_json_rows
from training_kernels.errors import DataError

ALLOWED_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""A crawl key names a partition and a folder; a comma, for one, would break Dagster's backfills."""

MARKER = "_SUCCESS"
ROW_SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz")
PAGE_SUFFIXES = (".md", ".markdown", ".html", ".htm")
OBELICS_COLUMNS = "images list<string>, texts list<string>, metadata string, general_metadata string"


_States = Mapping[str, os.stat_result | None]
"""By name of a file: what the operating system says of it; None for one that went away."""

CountedRows = Callable[[str, str], Mapping[Path, int]]
"""Rows by file of a delivery of this key and fingerprint, where they were counted before; else nothing."""


def _none_counted(key: str, fingerprint: str) -> Mapping[Path, int]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveredFile:
    """A file of web pages, or of one."""

    path: Path
    num_rows: int
    num_bytes: int

    @property
    def kind(self) -> Literal["parquet", "json_rows", "page"]:
        return _kind_of(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One crawl partition as it lies in the crawl folder."""

    key: str
    folder: Path
    """What its picture references are relative to: the folder of its Parquet or JSON files, or of all its pages."""
    files: tuple[DeliveredFile, ...]
    """In the order of their names."""
    fingerprint: str
    """SHA-256 over names, sizes and times of its files; pictures of a folder that deliveries share do not count."""
    is_marked_complete: bool

    @property
    def num_rows(self) -> int:
        return sum(file.num_rows for file in self.files)

    def name_of(self, file: DeliveredFile) -> str:
        """The file's name relative to the crawl folder."""
        is_single_file = _key_of(file.path.name) == self.key and len(self.files) == 1 and self.folder.name != self.key
        return file.path.name if is_single_file else f"{self.key}/{file.path.relative_to(self.folder).as_posix()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedDelivery:
    """Something in the crawl folder that looks like a delivery and cannot be one."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundDeliveries:
    """What a look into the crawl folder found, each list in the order of the keys."""

    deliveries: tuple[Delivery, ...]
    unchanged: tuple[str, ...]
    """Keys whose fingerprint is the known one: their footers were not read."""
    refused: tuple[RefusedDelivery, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listing:
    """A delivery before its footers are read."""

    key: str
    name: str
    """Of the file or sub-folder."""
    folder: Path
    files: tuple[str, ...]
    """From `folder`."""
    fingerprint: str
    is_marked_complete: bool


def find_deliveries(
    crawl_folder: Path,
    *,
    known: Mapping[str, str] = MappingProxyType({}),
    counted: CountedRows = _none_counted,
) -> FoundDeliveries:
    """All deliveries of a crawl folder, and what had to be refused with the reason.

    Args:
        known: fingerprint by key of deliveries that were taken already; while theirs is the same they are left out.
        counted: rows that were counted before; such files are not opened.

    Raises DataError if there is no such folder or no delivery in it.
    """
    listings = _listings(crawl_folder)
    listings_by_key: dict[str, list[_Listing]] = {}
    for listing in sorted(listings, key=lambda listing: listing.key):
        listings_by_key.setdefault(listing.key, []).append(listing)
    deliveries, unchanged, refused = [], [], []
    for key, (listing, *others) in listings_by_key.items():
        if reason := _key_fault(key, [one.name for one in (listing, *others)]):
            refused.append(RefusedDelivery(key=key, reason=reason))
        elif known.get(key) == listing.fingerprint:
            unchanged.append(key)
        else:
            try:
                deliveries.append(_open(listing, counted(key, listing.fingerprint)))
            except DataError as error:
                refused.append(RefusedDelivery(key=key, reason=str(error)))
    return FoundDeliveries(deliveries=tuple(deliveries), unchanged=tuple(unchanged), refused=tuple(refused))


def require_deliveries(crawl_folder: Path) -> None:
    """Raise DataError if there is no such folder, or nothing in it that looks like a delivery. Opens no file."""
    _listings(crawl_folder)


def _listings(crawl_folder: Path) -> list[_Listing]:
    """What looks like a delivery. Raises DataError as find_deliveries does."""
    if not crawl_folder.is_dir():
        raise DataError(
            f"crawl folder {crawl_folder} is not there; give a folder of Parquet files in the OBELICS schema "
            f"({OBELICS_COLUMNS}), of JSON lines (*.jsonl, *.jsonl.gz) of the same, or of sub-folders that hold such files "
            "or Markdown and HTML files"
        )
    listings = [*_files(crawl_folder), *_folders(crawl_folder)]
    if not listings:
        raise DataError(
            f"crawl folder {crawl_folder} holds no delivery: neither a *.parquet, *.jsonl or *.jsonl.gz file nor a sub-folder with "
            f"one, or with *.md or *.html files; put Parquet files in the OBELICS schema there ({OBELICS_COLUMNS})"
        )
    return listings


def delivery_from_rows(key: str, rows: Sequence[Mapping[str, Any]]) -> Delivery:
    """The delivery that rows of `landed_crawl` describe, in the order of its files. Raises DataError if there are none."""
    if not rows:
        raise DataError(f"landed_crawl has no file for crawl {key}; register the delivery again with nyx run")
    files = [
        DeliveredFile(path=Path(row["file"]), num_rows=row["num_rows"], num_bytes=row["num_bytes"]) for row in rows
    ]
    return Delivery(
        key=key,
        folder=Path(rows[0]["folder"]),
        files=tuple(sorted(files, key=lambda file: file.path)),
        fingerprint=rows[0]["fingerprint"],
        is_marked_complete=True,
    )


def _kind_of(path: Path) -> Literal["parquet", "json_rows", "page"]:
    if path.name.endswith(ROW_SUFFIXES):
        return "parquet" if path.suffix == ".parquet" else "json_rows"
    return "page"


def _key_of(name: str) -> str:
    return next((name.removesuffix(suffix) for suffix in ROW_SUFFIXES if name.endswith(suffix)), name)


def _files(crawl_folder: Path) -> Iterable[_Listing]:
    names = set(os.listdir(crawl_folder))
    for name in sorted(one for one in names if one.endswith(ROW_SUFFIXES)):
        state = _state(f"{crawl_folder}/{name}")
        if state is None or not stat.S_ISREG(state.st_mode):
            continue
        key = _key_of(name)
        yield _Listing(
            key=key,
            name=name,
            folder=crawl_folder,
            files=(name,),
            fingerprint=_fingerprint({name: state}),
            is_marked_complete=f"{name}.done" in names or f"{key}.{MARKER}" in names,
        )


def _folders(crawl_folder: Path) -> Iterable[_Listing]:
    with os.scandir(crawl_folder) as entries:
        names = sorted(entry.name for entry in entries if _is_folder(entry))
    for name in names:
        states, is_marked_complete = _all_files(f"{crawl_folder}/{name}")
        # beside files of pages, a README.md is no page
        if files := _row_files(states) or _page_files(states):
            yield _Listing(
                key=name,
                name=f"{name}/",
                folder=crawl_folder / name,
                files=tuple(files),
                fingerprint=_fingerprint(states),
                is_marked_complete=is_marked_complete,
            )


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    """Whether an entry is a folder, or a link to one. A link to itself is none, and its entry would raise when asked."""
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def _row_files(states: _States) -> list[str]:
    return [
        name for name, state in states.items() if "/" not in name and name.endswith(ROW_SUFFIXES) and _is_file(state)
    ]


def _page_files(states: _States) -> list[str]:
    """Markdown and HTML files that are not hidden, nor in a hidden folder such as .git."""
    return [
        name
        for name, state in states.items()
        if os.path.splitext(name)[1].lower() in PAGE_SUFFIXES
        and not any(part.startswith(".") for part in name.split("/"))
        and _is_file(state)
    ]


def _all_files(folder: str) -> tuple[_States, bool]:
    """Every file below a delivery's own folder but its marker, whose coming changes nothing; and whether that is there.

    Names are relative, in the order of their parts.
    """
    names = []
    for parent, _, own in os.walk(folder):
        below = parent[len(folder) + 1 :]
        names += [f"{below}/{name}" if below else name for name in own]
    is_marked_complete = MARKER in names
    ordered = sorted((name for name in names if name != MARKER), key=lambda name: name.split("/"))
    return {name: _state(f"{folder}/{name}") for name in ordered}, is_marked_complete


def _state(path: str) -> os.stat_result | None:
    """None for a link that leads nowhere or to itself, or a temporary file of whoever is copying."""
    try:
        return os.stat(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return None
        raise


def _is_file(state: os.stat_result | None) -> bool:
    return state is not None and stat.S_ISREG(state.st_mode)


def _fingerprint(states: _States) -> str:
    digest = hashlib.sha256()
    for name, state in states.items():
        said = "gone" if state is None else f"{state.st_size}\0{state.st_mtime_ns}"
        digest.update(f"{name}\0{said}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _key_fault(key: str, names: Sequence[str]) -> str | None:
    if not ALLOWED_KEY.fullmatch(key):
        return (
            f"{key!r} cannot be a crawl key; allowed are letters, digits and . _ - after a first letter or digit, "
            "so rename the file or folder"
        )
    if len(names) > 1:
        return f"{' and '.join(names)} are there together; a key names one delivery, so rename or remove all but one"
    return None


def _open(listing: _Listing, num_rows: Mapping[Path, int]) -> Delivery:
    """The delivery with its rows counted. Raises DataError if a file cannot be read or lacks the OBELICS columns.

    Args:
        num_rows: of the files that were counted before.
    """
    return Delivery(
        key=listing.key,
        folder=listing.folder,
        files=tuple(
            DeliveredFile(
                path=path,
                num_rows=num_rows[path] if path in num_rows else _count_rows(path),
                num_bytes=path.stat().st_size,
            )
            for path in (listing.folder / name for name in listing.files)
        ),
        fingerprint=listing.fingerprint,
        is_marked_complete=listing.is_marked_complete,
    )


def _count_rows(path: Path) -> int:
    kind = _kind_of(path)
    return _num_parquet_rows(path) if kind == "parquet" else count_json_rows(path) if kind == "json_rows" else 1


def _num_parquet_rows(path: Path) -> int:
    try:
        with pq.ParquetFile(path) as parquet:
            schema, num_rows = parquet.schema_arrow, parquet.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} cannot be read as Parquet ({error}); if it is still being copied it is looked at again when it "
            "has changed, else deliver it again"
        ) from error
    if faults := _schema_faults(schema):
        got = ", ".join(f"{column.name} {column.type}" for column in schema)
        raise DataError(
            f"{path} has no OBELICS columns: {'; '.join(faults)}. Got: {got}. Allowed: {OBELICS_COLUMNS}, and any more. "
            "Rename or convert its columns"
        )
    return num_rows


def _schema_faults(schema: pa.Schema) -> list[str]:
    faults = []
    for name, is_right in {
        "images": _is_list_of_texts,
        "texts": _is_list_of_texts,
        "metadata": _is_text,
        "general_metadata": _is_text,
    }.items():
        places = schema.get_all_field_indices(name)
        if len(places) != 1:
            faults.append(f"{name} is there {len(places)} times")
        elif not is_right(schema.field(places[0]).type):
            faults.append(f"{name} is {schema.field(places[0]).type}")
    return faults


def _is_text(kind: pa.DataType) -> bool:
    texts = (pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view())
    return kind in (*texts, pa.null())


def _is_list_of_texts(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return is_list and _is_text(kind.value_type)
