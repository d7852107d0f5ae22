"""Can the home be written, is there room in it, and is anything of killed writers left?"""

import fcntl
import os
import shutil
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from nyx_assets.doctor.findings import Finding, bad, good, note, one_line
from resources.drafts import MAX_AGE_SECONDS
from resources.home import Home
from resources.stores import create_bytes, is_url, open_store, put_bytes, store_trouble

RESERVE_BYTES = 2 * 10**9
"""Choice: a training of the tiny recipe writes some hundred MB of states; below this a run is likely to end half-way."""


def nearest_folder(path: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def examine_home(home: Home) -> Finding:
    """Whether files can be written, renamed and locked in the home, or where it would be made; of a home that hosts share,
    in this host's part of it, and whether the store takes, creates and removes a file."""
    folder = nearest_folder(home.root)
    if not folder.is_dir():
        return bad("home", f"{folder} is a file", "set NYX_HOME to a folder, or to a place for one")
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor.", delete=False) as file:
            file.write(b"x")
            os.fsync(file.fileno())
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                has_locks = True
            except OSError:
                has_locks = False
        moved = Path(file.name).rename(f"{file.name}.moved")
        moved.unlink()
    except OSError as error:
        return bad(
            "home",
            f"{folder} cannot be written: {error.strerror}",
            f"make {folder} writable, or set NYX_HOME to another folder",
        )
    if not has_locks:
        return bad(
            "home",
            f"the disk of {folder} has no locks (flock), so that two runs at once cannot wait for each other",
            "set NYX_HOME to a disk that has, or start one process at a time",
        )
    if home.is_shared and (fault := _fault_of_store(home.store)) is not None:
        return fault
    if folder != home.root:
        return note("home", f"{home.root} is not there yet, and can be made", "start with `nyx run`")
    return good("home", f"{home}, made from {home.crawl or 'no crawl yet'}; writable")


def _fault_of_store(store: str) -> Finding | None:
    """What is wrong with a store that hosts share, found by writing a small file, creating it twice and removing it."""
    fs, base = open_store(store)
    folder = base if is_url(store) else str(nearest_folder(Path(base)))
    path = f"{folder}/.doctor.{uuid.uuid4().hex}"
    try:
        put_bytes(fs, path, b"x")
        fs.rm_file(path)
    except Exception as error:  # noqa: BLE001 - clients of stores raise errors of every kind
        said, _, remedy = store_trouble(store, error, setting="NYX_HOME").rpartition("; ")
        return bad("home", one_line(said), remedy)
    if reason := _why_it_creates_twice(fs, path):
        return bad(
            "home",
            f"{store} does not create a file only where none is ({reason}), so that two hosts may both believe that they "
            "hold a lease",
            "set NYX_HOME to a store that does (S3 with If-None-Match), or let one host at a time use the home",
        )
    return None


def _why_it_creates_twice(fs: Any, path: str) -> str:
    """What a store does instead of refusing to create a file that is there; "" where it refuses, as leases need it."""
    try:
        create_bytes(fs, path, b"first")
        try:
            create_bytes(fs, path, b"second")
        except FileExistsError:
            return ""
        finally:
            fs.rm_file(path)
    except Exception as error:  # noqa: BLE001 - clients of stores raise errors of every kind
        return one_line(f"{type(error).__name__}: {error}")[:300]
    return "the second of two was written over the first"


def examine_disk(home: Home, needed_bytes: float) -> Finding:
    """Whether there is room for what a run writes.

    Args:
        needed_bytes: what the next run is likely to write, as far as it can be foreseen.
    """
    folder = nearest_folder(home.root)
    free_bytes = shutil.disk_usage(folder).free
    said = f"{free_bytes / 1e9:,.1f} GB free at {folder}; the next run writes about {needed_bytes / 1e9:,.2f} GB"
    if free_bytes < needed_bytes + RESERVE_BYTES:
        wanted = (needed_bytes + RESERVE_BYTES) / 1e9
        return bad("disk", said, f"make room for {wanted:,.1f} GB, or move the home and set NYX_HOME")
    return good("disk", said)


def examine_drafts(home: Home) -> Finding:
    """What killed writers have left beside the tables, or in NYX_LOCAL/drafts of a home that hosts share; what a living one writes is no remainder."""
    left = [path for path in home.tables.drafts() if _is_left(path)]
    if left:
        size = sum(path.stat().st_size for path in left)
        return note(
            "drafts",
            f"{len(left)} left by killed writers, {size / 1e6:,.1f} MB, e.g. {left[0]}",
            "the next `nyx run` removes them",
        )
    return good("drafts", "none left by killed writers")


def _is_left(path: Path) -> bool:
    """True if nobody holds the draft's lock."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except FileNotFoundError:  # its writer has finished
        return False
    except OSError:  # a disk without locks
        return time.time() - path.stat().st_mtime > MAX_AGE_SECONDS
    return True
