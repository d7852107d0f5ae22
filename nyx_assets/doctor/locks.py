"""Which locks of the home are held, and by whom. A lock ends with its process, so one that is held has a holder."""

import fcntl
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nyx_assets.doctor.findings import Finding, bad, good, note, one_line
from resources.home import Home

HELD = re.compile(r"^\d+: FLOCK\s+\S+\s+\S+\s+(?P<process>-?\d+) \S+?:\S+?:(?P<inode>\d+) ")
"""A line of /proc/locks about a lock that is held; one of a process that waits for it has an arrow after the number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process that holds a lock."""

    process: int
    command: str
    is_stopped: bool
    has_inherited: bool
    """The process that took the lock is dead, and this one, which it started, holds it on."""


def lock_files(home: Home) -> Iterator[Path]:
    """Every lock file that a run takes: of the home, of a training, of the embedded index."""
    yield from sorted(home.root.glob(".*.lock"))
    yield from sorted((home.root / "checkpoints").glob("*/.*.lock"))
    yield from sorted((home.root / "index").glob("*.db/LOCK"))


def is_held(path: Path) -> bool:
    """Whether any process holds the lock."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def holders(path: Path, proc: Path = Path("/proc")) -> list[Holder]:
    """Processes of this machine, as far as this user may see them, that hold the lock of a file."""
    inode = path.stat().st_ino
    try:
        lines = (proc / "locks").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    takers = {int(held["process"]) for line in lines if (held := HELD.match(line)) and int(held["inode"]) == inode}
    alive = {process for process in takers if (proc / str(process)).is_dir()}
    if alive:
        return [_holder(proc, process, has_inherited=False) for process in sorted(alive)]
    return [_holder(proc, process, has_inherited=True) for process in sorted(_who_has_open(path, proc))]


def _who_has_open(path: Path, proc: Path) -> Iterator[int]:
    for folder in proc.glob("[0-9]*/fd"):
        try:
            names = [os.readlink(entry) for entry in folder.iterdir()]
        except OSError:  # ended meanwhile, or another user's
            continue
        if str(path) in names:
            yield int(folder.parent.name)


def _holder(proc: Path, process: int, *, has_inherited: bool) -> Holder:
    try:
        command = (proc / str(process) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        state = (proc / str(process) / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        command, state = "ended meanwhile", "?"
    return Holder(
        process=process, command=one_line(command)[:120], is_stopped=state in "Tt", has_inherited=has_inherited
    )


def examine_locks(home: Home) -> Finding:
    """Who holds what; bad where a holder does nothing any more, so that whoever waits would wait for ever."""
    held = [path for path in lock_files(home) if is_held(path)]
    if not held:
        return good("locks", "none held: nothing is at work in this home")
    said, remedies = [], []
    for path in held:
        name = path.relative_to(home.root)
        found = holders(path)
        if not found:
            said.append(f"{name} is held by a process that cannot be seen from here")
            remedies.append(
                f"look for it on the hosts and in the containers that share the home, as root: fuser {path}"
            )
        for holder in found:
            said.append(f"{name} is held by process {holder.process} ({holder.command})")
            if holder.is_stopped:
                said[-1] += ", which is stopped"
                remedies.append(
                    f"let it go on with `kill -CONT {holder.process}`, or end it with `kill -9 {holder.process}`"
                )
            elif holder.has_inherited:
                said[-1] += ", left behind by a process that is dead"
                remedies.append(f"end it: kill {holder.process}")
    if remedies:
        return bad("locks", "; ".join(said), "; ".join(remedies))
    return note("locks", "; ".join(said), "another process is at work; a second `nyx run` waits for it")
