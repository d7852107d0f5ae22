"""What looks like a delivery in a crawl, before any file is opened: a file of rows, or a sub-folder of rows or pages.

A folder of this machine is listed by the operating system; a crawl in a store by one listing of all that lies below its
URL, a request for 1,000 objects, one after the other: 10,000 deliveries of one file are ten requests, some 500,000 objects
take the minute that Dagster grants a tick of the sensor. Pictures beside the rows are objects like any other; those that
rows refer to by http(s) are not.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Literal, TypeVar

from resources.crawl_store import Crawl, CrawlStore, StoredFile, removed
from training_kernels.errors import DataError

MARKER = "_SUCCESS"
ROW_SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz")
PAGE_SUFFIXES = (".md", ".markdown", ".html", ".htm")
OBELICS_COLUMNS = "images list<string>, texts list<string>, metadata string, general_metadata string"

GONE = frozenset({errno.ENOENT, errno.ELOOP})
NO_DELIVERY = "lost+found"
"""The system's own folder on each disk, which nobody but root may see."""

Kind = Literal["parquet", "json_rows", "page"]

_States = Mapping[str, os.stat_result | None]
"""By name of a file: what the operating system says of it; None for one that went away."""
_Said = TypeVar("_Said")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A delivery before its footers are read."""

    key: str
    name: str
    """Of the file or sub-folder."""
    folder: PurePath
    url: str
    """Of the folder, where it is in a store; "" for a folder of this machine."""
    files: Mapping[str, int]
    """Bytes by name from `folder`."""
    fingerprint: str
    is_marked_complete: bool
    fault: str = ""
    """Why what lies there cannot be listed whole; "" where it can."""


@dataclass(slots=True)
class _Look:
    """A look through one delivery of a folder, and the first thing that the system would not show."""

    fault: str = ""

    def state(self, path: str) -> os.stat_result | None:
        """None for a link that leads nowhere or to itself, a temporary file of whoever is copying, or what may not be seen."""
        try:
            return os.stat(path)
        except OSError as error:
            self.note(error)
            return None

    def note(self, error: OSError) -> None:
        if error.errno not in GONE and not self.fault:
            self.fault = (
                f"{error.filename} cannot be read ({error.strerror}); let this user read it, folders with the right to "
                "search them (chmod -R u+rX), or move it out of the crawl folder"
            )


def listings_of(crawl: Crawl) -> list[Listing]:
    """What looks like a delivery, or hides whether it is one. Raises DataError if there is no such crawl, or nothing in it."""
    listings = _in_store(crawl) if isinstance(crawl, str) else _in_folder(crawl)
    if not listings:
        raise DataError(
            f"crawl folder {crawl} holds no delivery: neither a *.parquet, *.jsonl or *.jsonl.gz file nor a sub-folder with "
            f"one, or with *.md or *.html files; put Parquet files in the OBELICS schema there ({OBELICS_COLUMNS})"
        )
    return listings


def kind_of(name: str) -> Kind:
    if name.endswith(ROW_SUFFIXES):
        return "parquet" if name.endswith(".parquet") else "json_rows"
    return "page"


def key_of(name: str) -> str:
    return next((name.removesuffix(suffix) for suffix in ROW_SUFFIXES if name.endswith(suffix)), name)


def fingerprints_now(folder: PurePath, names: Sequence[str], *, is_beside_others: bool) -> set[str]:
    """What the fingerprint of a delivery of this machine may be now: as a folder of its own, or as a file beside others.

    Args:
        names: of the files of pages, from the delivery's folder.
        is_beside_others: it is one file of the crawl folder, of which nothing else is looked at.

    Raises DataError if a file of these names is gone, or cannot be seen.
    """
    look = _Look()
    if is_beside_others:
        states: _States = {name: look.state(f"{folder}/{name}") for name in names}
    else:
        states, _ = _all_files(str(folder), look)
    for name in names:
        if states.get(name) is None:
            raise DataError(look.fault or removed(f"{folder}/{name}"))
    return {_fingerprint(one) for one in _ways(states, names)}


def stored_fingerprints_now(store: CrawlStore, names: Sequence[str], *, is_beside_others: bool) -> set[str]:
    """The same of a delivery in a store, which is that of its folder."""
    if is_beside_others:
        files = {name: store.file(name) for name in names}
    else:
        files = _without_marker(store.files())
    for name in names:
        if name not in files:
            raise DataError(removed(f"{store.url}/{name}"))
    return {_stored_fingerprint(one) for one in _ways(files, names)}


def _ways(files: Mapping[str, _Said], names: Sequence[str]) -> list[Mapping[str, _Said]]:
    """The files of which a fingerprint may be: all, and the one alone, whose crawl folder may have the name of its key."""
    return [files, {names[0]: files[names[0]]}] if len(names) == 1 else [files]


def _in_folder(crawl_folder: Path) -> list[Listing]:
    if not crawl_folder.is_dir():
        raise DataError(
            f"crawl folder {crawl_folder} is not there; give a folder of Parquet files in the OBELICS schema "
            f"({OBELICS_COLUMNS}), of JSON lines (*.jsonl, *.jsonl.gz) of the same, or of sub-folders that hold such files "
            "or Markdown and HTML files"
        )
    try:
        return [*_files(crawl_folder), *_folders(crawl_folder)]
    except OSError as error:
        raise DataError(
            f"crawl folder {crawl_folder} cannot be listed ({error}); let this user read and search it"
        ) from error


def _files(crawl_folder: Path) -> Iterable[Listing]:
    names = set(os.listdir(crawl_folder))
    for name in sorted(one for one in names if one.endswith(ROW_SUFFIXES)):
        look = _Look()
        state = look.state(f"{crawl_folder}/{name}")
        if not look.fault and (state is None or not stat.S_ISREG(state.st_mode)):
            continue
        key = key_of(name)
        yield Listing(
            key=key,
            name=name,
            folder=crawl_folder,
            url="",
            files={name: state.st_size} if state is not None else {},
            fingerprint=_fingerprint({name: state}),
            is_marked_complete=_is_marked(name, key, names),
            fault=look.fault,
        )


def _folders(crawl_folder: Path) -> Iterable[Listing]:
    with os.scandir(crawl_folder) as entries:
        names = sorted(entry.name for entry in entries if _is_folder(entry))
    for name in names:
        look = _Look()
        states, is_marked_complete = _all_files(f"{crawl_folder}/{name}", look)
        may_hide_some = bool(look.fault) and name != NO_DELIVERY and not name.startswith(".")
        if (files := _files_of_pages(states)) or may_hide_some:
            yield Listing(
                key=name,
                name=f"{name}/",
                folder=crawl_folder / name,
                url="",
                files={one: state.st_size for one in files if (state := states[one]) is not None},
                fingerprint=_fingerprint(states),
                is_marked_complete=is_marked_complete,
                fault=look.fault,
            )


def _in_store(url: str) -> list[Listing]:
    place = PurePosixPath(url.partition("://")[2])
    beside: dict[str, StoredFile] = {}
    by_folder: dict[str, dict[str, StoredFile]] = {}
    for name, file in CrawlStore(url).files().items():
        first, is_below, rest = name.partition("/")
        if is_below:
            by_folder.setdefault(first, {})[rest] = file
        else:
            beside[name] = file
    listings = [
        Listing(
            key=key_of(name),
            name=name,
            folder=place,
            url=url,
            files={name: beside[name].num_bytes},
            fingerprint=_stored_fingerprint({name: beside[name]}),
            is_marked_complete=_is_marked(name, key_of(name), beside),
        )
        for name in sorted(beside)
        if name.endswith(ROW_SUFFIXES)
    ]
    for name, files in sorted(by_folder.items()):
        own = _without_marker(files)
        if pages := _files_of_pages(own):
            listings.append(
                Listing(
                    key=name,
                    name=f"{name}/",
                    folder=place / name,
                    url=f"{url}/{name}",
                    files={one: own[one].num_bytes for one in pages},
                    fingerprint=_stored_fingerprint(own),
                    is_marked_complete=MARKER in files,
                )
            )
    return listings


def _is_marked(name: str, key: str, beside: Container[str]) -> bool:
    return f"{name}.done" in beside or f"{key}.{MARKER}" in beside


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    """Whether an entry is a folder, or a link to one. A link to itself is none, and its entry would raise when asked."""
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def _files_of_pages(files: Mapping[str, os.stat_result | StoredFile | None]) -> list[str]:
    """The files of rows among a sub-folder's files; where there is none, those of pages. Beside rows, a README.md is no page."""
    rows = [name for name in files if "/" not in name and name.endswith(ROW_SUFFIXES) and _is_file(files[name])]
    return rows or [name for name in files if _is_page(name) and _is_file(files[name])]


def _is_file(said: os.stat_result | StoredFile | None) -> bool:
    return isinstance(said, StoredFile) or (said is not None and stat.S_ISREG(said.st_mode))


def _is_page(name: str) -> bool:
    """Markdown and HTML files that are not hidden, nor in a hidden folder such as .git."""
    is_hidden = any(part.startswith(".") for part in name.split("/"))
    return os.path.splitext(name)[1].lower() in PAGE_SUFFIXES and not is_hidden


def _all_files(folder: str, look: _Look) -> tuple[_States, bool]:
    """Every file below a delivery's own folder but its marker, whose coming changes nothing; and whether that is there.

    Names are relative, in the order of their parts.
    """
    names = []
    for parent, _, own in os.walk(folder, onerror=look.note):
        below = parent[len(folder) + 1 :]
        names += [f"{below}/{name}" if below else name for name in own]
    is_marked_complete = MARKER in names
    ordered = sorted((name for name in names if name != MARKER), key=_parts)
    return {name: look.state(f"{folder}/{name}") for name in ordered}, is_marked_complete


def _without_marker(files: Mapping[str, StoredFile]) -> dict[str, StoredFile]:
    return {name: files[name] for name in sorted(files, key=_parts) if name != MARKER}


def _parts(name: str) -> list[str]:
    return name.split("/")


def _fingerprint(states: _States) -> str:
    digest = hashlib.sha256()
    for name, state in states.items():
        said = "gone" if state is None else f"{state.st_size}\0{state.st_mtime_ns}"
        digest.update(f"{name}\0{said}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _stored_fingerprint(files: Mapping[str, StoredFile]) -> str:
    digest = hashlib.sha256()
    for name, file in files.items():
        digest.update(f"{name}\0{file.num_bytes}\0{file.tag}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
