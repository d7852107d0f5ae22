"""A disk that is full or may not be written, or a store that does not answer, told in one line, whichever library met it."""

import errno
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

from resources.stores import is_url, store_trouble

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
FULL_WORDS = ("disk is full", "No space left on device", "disk I/O error", "File too large")
FORBIDDEN_WORDS = ("readonly database", "Read-only file system", "Permission denied", "unable to open database file")
"""What SQLite says in Dagster's records, and what libraries without error numbers say."""
STORE_CLIENTS = frozenset({"botocore", "aiobotocore", "s3fs", "aiohttp", "gcsfs", "google", "azure", "adlfs"})
"""Packages whose errors are about a store, and often no OSError."""


def trouble_of_home(error: BaseException, env: Mapping[str, str]) -> str | None:
    """What a person has to do about the disk or the store of the home that the settings name; None if it is about neither."""
    home = env.get("NYX_HOME") or "nyx_home"
    if not is_url(home):
        return disk_trouble(error, Path(home).absolute())
    for one in _chain(error):
        if isinstance(one, Exception) and type(one).__module__.partition(".")[0] in STORE_CLIENTS:
            return store_trouble(home, one, setting="NYX_HOME")
    return disk_trouble(error, Path(env.get("NYX_LOCAL") or ".").absolute())


def disk_trouble(error: BaseException, root: Path) -> str | None:
    """What a person has to do about the disk behind an error of a home; None if it is about something else."""
    for one in _chain(error):
        number = one.errno if isinstance(one, OSError) else None
        is_of_the_disk = number is not None or isinstance(one, sqlite3.Error)
        said = " ".join(str(one).split())[:300]
        if number in FULL or (is_of_the_disk and any(words in said for words in FULL_WORDS)):
            return (
                f"the disk of {root} is full ({said}); nothing is lost: what was finished is kept, what was half written is "
                "not read. Make room, or move the home and set NYX_HOME, and run again"
            )
        if number in FORBIDDEN and isinstance(one, OSError) and not _is_within(one.filename, root):
            return f"this user may not use {one.filename} ({said}); change its rights, or name another"
        if number in FORBIDDEN or (is_of_the_disk and any(words in said for words in FORBIDDEN_WORDS)):
            return (
                f"{root} may not be written ({said}); make it writable for this user, or set NYX_HOME to another folder"
            )
    return None


def _is_within(file: str | bytes | int | None, root: Path) -> bool:
    """Whether an error is about a file of the home; one that names no file is taken for one."""
    return not isinstance(file, str) or Path(file).absolute().is_relative_to(root)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what stands behind it, the outermost first."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = getattr(one, "orig", None) or one.__cause__ or one.__context__  # SQLAlchemy keeps the driver's as `orig`
