"""Drafts: hidden files that are written beside their place and renamed, and what is left of them by killed writers.

A draft is locked by its writer. The lock ends with the process, however it ends, so a draft that anybody can lock belongs
to nobody. Where there are no locks (some network disks) its age has to tell.
"""

import fcntl
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

DRAFT_NAMES = ".part-*.writing"
MAX_AGE_SECONDS = 7 * 24 * 3600.0
"""Choice: where only age tells, a week after its last byte nobody writes a draft any more."""


@contextmanager
def draft_in(folder: str) -> Iterator[str]:
    """A path for a draft in this folder; the file is there, empty, and locked until the end."""
    while True:
        path = f"{folder}/.part-{uuid.uuid4().hex}.writing"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            _lock(descriptor)
            # whoever sweeps may have locked it first, and removed it
            if os.fstat(descriptor).st_nlink:
                yield path
                return
        finally:
            os.close(descriptor)


def sweep(paths: Iterable[str]) -> list[str]:
    """Remove the drafts among these paths that nobody writes any more; returns what was removed."""
    return [path for path in paths if _removed_unless_locked(path)]


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # a disk without locks: age will tell
        return


def _removed_unless_locked(path: str) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:  # its writer has finished since it was listed
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_left_over = True
    except BlockingIOError:
        is_left_over = False
    except OSError:
        is_left_over = time.time() - os.fstat(descriptor).st_mtime > MAX_AGE_SECONDS
    try:
        if is_left_over:  # the lock is held until it is gone, so that a writer that only just made it starts anew
            os.unlink(path)
    except FileNotFoundError:
        return False
    finally:
        os.close(descriptor)
    return is_left_over
