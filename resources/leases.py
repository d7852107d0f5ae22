"""Leases: who writes what on storage that several hosts share, where no lock of an operating system reaches.

    <root>/<what>/<number>.json    who took the lease of this number, and how often it was renewed since

The highest number holds. Taking a lease is creating the next number, which a store grants to one of two who ask at once;
giving it back is saying so in one's own file. A holder renews from a thread. Whoever waits watches the holder's file by
his own clock, never by that of the holder, and takes the next number when nothing was renewed for LEASE_SECONDS. A holder
that was only asleep finds the higher number before it puts anything in place, and stops.
"""

import json
import os
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from resources.commits import utc_now
from resources.stores import create_bytes, files_below, open_store
from training_kernels.errors import LeaseLost

LEASE_SECONDS = 60.0
"""Choice: long beside a renewal that a store is slow to take, short beside the hours that a host's death would hold others."""
RENEWALS_PER_LEASE = 6
LOOKS_PER_LEASE = 60
LOOKS_AT_ONCE = 16
"""Choice: a name stays when its lease is given back, one for each partition that was ever made; 500 looks a second on S3."""


@dataclass(slots=True)
class Lease:
    """A lease that this process holds."""

    what: str
    number: int
    path: str
    since: str
    lost: bool = field(default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldLease:
    """A lease that some process, here or elsewhere, has not given back."""

    what: str
    holder: str
    silent_seconds: float | None
    """Since it was last renewed, by the store's clock against that of this host; None where the store does not say."""


class Leases:
    """Named leases under a root of any fsspec file system that can create a file only where none is."""

    def __init__(self, root: str, *, seconds: float = LEASE_SECONDS) -> None:
        self._fs, self._base = open_store(root)
        self._seconds = seconds
        self._seen: dict[str, tuple[tuple[int, bytes], float]] = {}

    @contextmanager
    def held(self, what: str, *, log: Callable[[str], None]) -> Iterator[Lease]:
        """Hold the lease of this name; waits, and says so, while another process, here or elsewhere, holds it."""
        lease = self.take(what)
        if lease is None:
            log(f"waiting: {self.holder(what)} works on {what}")
            lease = self._waited_for(what)
        with self._renewed(lease):
            yield lease

    @contextmanager
    def held_if_free(self, what: str) -> Iterator[Lease | None]:
        """The lease, or None where another process holds it."""
        lease = self.take(what)
        if lease is None:
            yield None
            return
        with self._renewed(lease):
            yield lease

    def holder(self, what: str) -> str:
        """Who holds a lease, for people; "nobody" where it is free."""
        number, content = self._latest(what)
        if not number or _is_given_back(content):
            return "nobody"
        known = _fields(content)
        return f"process {known.get('process', '?')} of host {known.get('host', '?')}, since {known.get('since', '?')},"

    def held_now(self) -> list[HeldLease]:
        """Every lease that was not given back, for people: nothing is decided by what this says of time."""
        return [
            HeldLease(what=what, holder=self.holder(what), silent_seconds=self._silent_seconds(what))
            for what in sorted(self._not_given_back())
        ]

    def require(self, lease: Lease) -> None:
        """Raise LeaseLost if another process took the lease over: it found this one silent for too long."""
        if lease.lost or self._latest(lease.what)[0] != lease.number:
            raise LeaseLost(
                f"{lease.what}: this process was silent for {self._seconds:g} s (asleep, or cut off from the store), and "
                f"{self.holder(lease.what)} took it over; what was not put in place is dropped, run again"
            )

    def wait_for_all(self, own: Collection[str], *, log: Callable[[str], None]) -> None:
        """Wait until every lease that another process holds now is given back, by its last holder, or silent for too long.

        Args:
            own: names of leases that are not waited for.
        """
        for what in sorted(self._not_given_back().difference(own)):
            first = latest = self._latest(what)
            if not first[0] or _is_given_back(first[1]):
                continue
            log(f"waiting: {self.holder(what)} works on {what}")
            seen_at = time.monotonic()
            while not _is_given_back(latest[1]):  # not even by who took it over, and may have begun before as well
                if time.monotonic() - seen_at > self._seconds:
                    break
                time.sleep(self._seconds / LOOKS_PER_LEASE)
                before, latest = latest, self._latest(what)
                seen_at = seen_at if latest == before else time.monotonic()

    def number(self, what: str) -> int:
        """The number that holds now, or held last; 0 where there never was one."""
        return self._latest(what)[0]

    def is_over(self, what: str, number: int) -> bool | None:
        """Whether the holder of this number is done: it gave the lease back, lost it, or was silent for too long.

        None while there is no telling: silence shows only to who looks again later, by his own clock.
        """
        before = self._seen.pop(what, None)  # where the store does not answer now, its holder may not reach it either
        latest = self._latest(what)
        if latest[0] > number or (latest[0] == number and _is_given_back(latest[1])):
            return True
        if latest[0] < number:  # not the store that it was taken in
            return None
        seen, since = before or (None, 0.0)
        self._seen[what] = latest, since if latest == seen else time.monotonic()
        if latest == seen:
            return True if time.monotonic() - since > self._seconds else None
        return None if seen is None else False

    def over(self, taken: Collection[tuple[str, int]], *, log: Callable[[str], None]) -> set[tuple[str, int]]:
        """Those of these names and numbers whose holder is done; looks at them for as long as a lease lives at most."""
        asked, found = set(taken), set[tuple[str, int]]()
        until = time.monotonic() + self._seconds * (1 + 2 / LOOKS_PER_LEASE)
        while asked:
            known = {one: self.is_over(*one) for one in asked}
            found |= {one for one, is_over in known.items() if is_over}
            unknown = {one for one, is_over in known.items() if is_over is None}
            if not unknown or time.monotonic() > until:
                break
            if asked == set(taken):
                log(f"waiting: do their holders live, of {', '.join(sorted(what for what, _ in unknown))}?")
            asked = unknown
            time.sleep(self._seconds / LOOKS_PER_LEASE)
        return found

    def take(self, what: str) -> Lease | None:
        """The lease if nobody holds it. A file that its writer has only created counts as held."""
        number, content = self._latest(what)
        return self._created(what, number + 1) if not number or _is_given_back(content) else None

    def _waited_for(self, what: str) -> Lease:
        seen: tuple[int, bytes] = (0, b"")
        seen_at = time.monotonic()
        while True:
            latest = self._latest(what)
            if latest != seen:
                seen, seen_at = latest, time.monotonic()
            is_silent = time.monotonic() - seen_at > self._seconds
            if (is_silent or _is_given_back(latest[1])) and (lease := self._created(what, latest[0] + 1)):
                return lease
            time.sleep(self._seconds / LOOKS_PER_LEASE)

    def _not_given_back(self) -> set[str]:
        """Names of the leases that somebody may hold, by one listing and one look at the last of each name that ever was one."""
        path_by_name: dict[str, str] = {}
        for path in files_below(self._fs, self._base):
            what = urllib.parse.unquote(path.rsplit("/", 2)[1])
            path_by_name[what] = max(path, path_by_name.get(what, path), key=_number)
        with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
            are_free = pool.map(lambda path: _is_given_back(self._said(path)), path_by_name.values())
            return {what for what, is_free in zip(path_by_name, are_free, strict=True) if not is_free}

    def _silent_seconds(self, what: str) -> float | None:
        number, _ = self._latest(what)
        try:
            renewed_at = self._fs.modified(f"{self._folder(what)}/{number:08d}.json")
        except (FileNotFoundError, NotImplementedError):
            return None
        return max(0.0, (datetime.now(UTC) - renewed_at).total_seconds())

    def _said(self, path: str) -> bytes:
        """What a lease's file says; nothing where a later holder removed it since it was listed."""
        try:
            return self._fs.cat_file(path)
        except FileNotFoundError:
            return b""

    def _created(self, what: str, number: int) -> Lease | None:
        """The lease of this number, or None if another process was first."""
        folder = self._folder(what)
        self._fs.makedirs(folder, exist_ok=True)
        lease = Lease(what, number, f"{folder}/{number:08d}.json", utc_now())
        try:
            create_bytes(self._fs, lease.path, _content(lease, renewals=0))
        except FileExistsError:
            return None
        for path in files_below(self._fs, folder):
            if _number(path) < number:
                self._remove(path)
        return lease

    @contextmanager
    def _renewed(self, lease: Lease) -> Iterator[None]:
        ended = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(lease, ended), name=f"lease {lease.what}", daemon=True)
        renewing.start()
        try:
            yield
        finally:
            ended.set()
            renewing.join()
            if not lease.lost:
                self._fs.pipe_file(lease.path, json.dumps({"given_back": utc_now()}).encode())

    def _renew(self, lease: Lease, ended: threading.Event) -> None:
        renewals = 0
        while not ended.wait(self._seconds / RENEWALS_PER_LEASE):
            renewals += 1
            try:
                if self._latest(lease.what)[0] != lease.number:
                    lease.lost = True
                    return
                self._fs.pipe_file(lease.path, _content(lease, renewals=renewals))
            except Exception:  # noqa: BLE001 - the store does not answer, as its client puts it: the next look will tell
                continue

    def _latest(self, what: str) -> tuple[int, bytes]:
        """The highest number and what its file says; 0 where there is none."""
        while True:
            try:
                path = max(files_below(self._fs, self._folder(what)), key=_number, default="")
                return (_number(path), self._fs.cat_file(path)) if path else (0, b"")
            except FileNotFoundError:  # a later holder removed it since it was listed
                continue

    def _folder(self, what: str) -> str:
        return f"{self._base}/{urllib.parse.quote(what, safe='')}"

    def _remove(self, path: str) -> None:
        try:
            self._fs.rm_file(path)
        except FileNotFoundError:
            return


def _number(path: str) -> int:
    return int(path.rpartition("/")[2].partition(".")[0])


def _content(lease: Lease, *, renewals: int) -> bytes:
    who = {"host": socket.gethostname(), "process": os.getpid(), "since": lease.since, "renewals": renewals}
    return json.dumps(who).encode()


def _fields(content: bytes) -> dict[str, Any]:
    try:
        return json.loads(content)
    except ValueError:
        return {}


def _is_given_back(content: bytes) -> bool:
    return "given_back" in _fields(content)
