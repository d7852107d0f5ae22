"""Where a home is: a folder of this machine, or any fsspec URL that hosts share; and files put there whole or not at all."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from resources.file_work import is_near
from training_kernels.errors import ConfigError

OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "memory"})
"""File systems whose upload of a file is seen when it is complete and not before, so that nothing has to be renamed: an S3
rename is a copy and a deletion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedHome:
    """A home that hosts share, and the folder of this machine for what has to be locked, or is read again and again."""

    store: str
    local: Path
    has_index_server: bool
    """The index is a server's, which hosts share as well; else each host has one of its own, built from shared tables."""


def is_url(text: str) -> bool:
    return "://" in text


def open_store(url: str) -> tuple[Any, str]:
    """The file system behind a URL or path, and the path there; listings are never remembered, since others write too.

    Raises ConfigError for a kind of store that is unknown, or whose client is not installed.
    """
    try:
        return fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"{url} cannot be opened: {error}; known are a folder, and s3://, gs://, abfs:// and others whose fsspec client is "
            "installed (for S3: pip install -c constraints.txt -e '.[s3]')"
        ) from None


@contextmanager
def store_answers(url: str) -> Iterator[None]:
    """Say of a store that does not answer which one it is and what to look at: clients raise errors of every kind.

    A folder of this machine is no such store: what is wrong with it, the system says.
    """
    try:
        yield
    except Exception as error:
        if not is_url(url):
            raise
        raise ConfigError(store_trouble(url, error, setting="NYX_HOME")) from error


def store_trouble(url: str, error: Exception, *, setting: str) -> str:
    """What a person has to look at where a store does not do what it is asked.

    Args:
        setting: that named the URL.
    """
    if isinstance(error, FileNotFoundError):
        return f"{url} cannot be used: {error}; create the bucket, or correct {setting}"
    right = "read" if setting == "NYX_CRAWL" else "write"
    return (
        f"{url} cannot be used: {type(error).__name__}: {error}; look at the address, the credentials (for S3: "
        f"AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, or the machine's role) and the right to {right}"
    )


def is_object_store(fs: Any) -> bool:
    protocols = (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol
    return not OBJECT_STORES.isdisjoint(protocols)


def put_bytes(fs: Any, path: str, content: bytes) -> None:
    """The content in its place, whole: whoever reads meanwhile sees what was there before."""
    with _put_in_place(fs, path) as draft:
        fs.pipe_file(draft, content)


def create_bytes(fs: Any, path: str, content: bytes) -> None:
    """The content in a new file. Of many who ask at once one is served; raises FileExistsError for the others."""
    if is_near(fs):  # fsspec looks first and writes then, and two may both have seen nothing
        file = open(path, "xb")  # noqa: SIM115 - what fails from here on leaves no torn file that others would wait for
        try:
            with file:
                file.write(content)
        except BaseException:
            Path(path).unlink(missing_ok=True)
            raise
    else:
        fs.pipe_file(path, content, mode="create")


def put_file(fs: Any, local: Path, path: str) -> None:
    """A file of this machine in its place, whole."""
    with _put_in_place(fs, path) as draft:
        fs.put_file(str(local), draft)


@contextmanager
def _put_in_place(fs: Any, path: str) -> Iterator[str]:
    """Where to write a file that is in its place when it is whole: beside it, or there where a store sees to that itself."""
    if is_object_store(fs):
        yield path
        return
    folder, _, name = path.rpartition("/")
    fs.makedirs(folder, exist_ok=True)
    beside = f"{folder}/.{name}.{uuid.uuid4().hex}.writing"
    try:
        yield beside
        fs.mv(beside, path)
    finally:
        if fs.exists(beside):
            fs.rm_file(beside)


def files_below(fs: Any, folder: str) -> dict[str, dict[str, Any]]:
    """What a store says of each file below a folder, by path; {} where there is none.

    The folder itself is left out: `find` gives it back where it was empty at the first look and no more at the second.
    """
    found = fs.find(folder, detail=True)
    return {path: info for path, info in found.items() if info["type"] == "file" and path != folder}


@contextmanager
def readable_by(connection: Any, fs: Any) -> Iterator[None]:
    """Let a DuckDB connection read the files of a file system by their URL."""
    names = (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol
    if "file" in names:
        yield
        return
    connection.register_filesystem(fs)
    try:
        yield
    finally:  # what stays registered when the process ends is reported as a leak
        for name in names:
            connection.unregister_filesystem(name)
