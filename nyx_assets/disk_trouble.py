"""A disk that is full or may not be written, told in one line, whichever library met it."""

import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
FULL_WORDS = ("disk is full", "No space left on device", "disk I/O error", "File too large")
FORBIDDEN_WORDS = ("readonly database", "Read-only file system", "Permission denied", "unable to open database file")
"""What SQLite says in Dagster's records, and what libraries without error numbers say."""


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
