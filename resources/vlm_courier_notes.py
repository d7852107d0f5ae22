"""A file a courier, so that everybody sees the couriers of workers that are dead and waits for what they carry.

`<home>/vlm/couriers/<host>-<process>-<random>.log` is what a courier writes to standard error. It is locked for as long as
the courier lives, and the system releases it even after kill -9; a courier that ends in order removes it.
"""

import fcntl
import json
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.1
SHOWN_CHARACTERS = 600


@contextmanager
def locked_note(folder: Path) -> Iterator[IO[bytes]]:
    """A new note, locked: the lock belongs to whoever holds the file open, so a courier that is given it holds it on."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:12]}.log"
    with path.open("ab", buffering=0) as note:
        fcntl.flock(note, fcntl.LOCK_EX)
        yield note


def finishing_line(*, worker: int, under_way: int, until: float) -> str:
    """What a courier writes when its worker has gone: how many calls it still waits for, and until when at most."""
    return json.dumps({"worker": worker, "under_way": under_way, "until": until})


def wait_for_finishing(folder: Path, *, clock: Callable[[], float] = time.time) -> None:
    """Return when no courier of a dead worker is at work any more, or has had its time; says on the log what it waits for.

    Notes of couriers that were killed are removed, and what they said is logged.
    """
    told = set()
    while finishing := [(path, notice) for path in _notes(folder) if (notice := _notice(path)) is not None]:
        finishing = [(path, notice) for path, notice in finishing if notice["until"] > clock()]
        if not finishing:
            return
        for path, notice in finishing:
            if path not in told:
                told.add(path)
                logger.warning(
                    "worker %d ended with %d VLM calls under way; waiting up to %.0f s for its courier to keep their replies",
                    notice["worker"],
                    notice["under_way"],
                    notice["until"] - clock(),
                )
        time.sleep(POLL_SECONDS)


def _notes(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.log"))


def _notice(path: Path) -> dict | None:
    """What a living courier says about a worker that is dead; None where its worker lives, or nobody holds the note."""
    try:
        with path.open("rb") as note:
            try:
                fcntl.flock(note, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return _last_notice(note.read())
            _remove_left_note(path, note.read().decode(errors="replace"))
    except FileNotFoundError:
        pass  # its courier has ended in order meanwhile
    return None


def _last_notice(content: bytes) -> dict | None:
    for line in reversed(content.splitlines()):
        if line.startswith(b'{"worker": '):
            return json.loads(line)
    return None


def _remove_left_note(path: Path, said: str) -> None:
    if not said and time.time() - path.stat().st_mtime < 1.0:
        return  # its worker is about to lock it
    logger.warning(
        "the courier of %s was ended before it had finished; calls that it had under way may be paid again%s",
        path.name,
        f": {said[-SHOWN_CHARACTERS:]}" if said else "",
    )
    path.unlink(missing_ok=True)
