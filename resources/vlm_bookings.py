"""What the hosts of a shared home have spent and may still spend, so that a cap holds for all of them together.

    <store>/vlm/bookings/<number>.json     one host: what it spent by minute, and up to where it may go
    <local>/vlm/journals/booking.json      the same ceiling, for the processes of this host

A host asks before it spends: it reads what all others have spent or may spend, and books an eighth of what is left, or what
its next call may take if that is more. Asking is creating the next number, which a store grants to one of two who ask at
once; the other reads again and asks again. So no two bookings are made without one having seen the other, and together
hosts never spend more than the cap. What a host booked and did not spend it gives back when its calls are through. A host
that died keeps what it had booked, since its server may have billed it, until it makes calls again with the same local
folder; the others go on with the rest. Only the last entry of a host counts, and it removes those before.
"""

import json
import math
import os
import socket
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from resources.stores import create_bytes, files_below, open_store
from resources.vlm_budget import MINUTE_SECONDS, Caps, Spending
from training_kernels.errors import ConfigError

SHARE = 8
"""Choice: a host that dies keeps at most an eighth of what was left from the others, and a cap of a million calls is booked
in some hundred steps."""
WRITING_SECONDS = 2.0
"""Choice: a file of some kilobytes is written in far less, once it is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSpending:
    """What one host has spent, and what it may spend without asking."""

    host: str
    by_minute: Mapping[int, Spending]
    """By minutes since 1970, as journalled when it was entered."""
    ceiling: Spending
    """All that it may have spent, from its beginning on."""
    booked_at: float
    """Seconds since 1970."""

    def spent(self, since: float) -> Spending:
        """What it had spent since that moment when it was entered; the moment's minute counts whole."""
        first = since // MINUTE_SECONDS
        return sum((amount for minute, amount in self.by_minute.items() if minute >= first), Spending())

    def booked(self, since: float) -> Spending:
        """What it may have spent on top, or may still spend; nothing where it booked before that moment."""
        return self.ceiling.beyond(sum(self.by_minute.values(), Spending())) if self.booked_at >= since else Spending()


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """What other hosts have spent and may still spend."""

    spent: Spending = field(default_factory=Spending)
    booked: Spending = field(default_factory=Spending)
    hosts: tuple[str, ...] = ()
    """Those that may still spend."""


class Bookings:
    """The entries of all hosts of a home, by number."""

    def __init__(self, root: str) -> None:
        self._fs, self._base = open_store(root)
        self._known: dict[str, HostSpending] = {}

    def read(self) -> tuple[int, dict[str, HostSpending]]:
        """The last number, 0 where there is none, and the last entry of each host. Raises ConfigError for a torn one."""
        until = time.monotonic() + WRITING_SECONDS
        while True:
            paths = sorted(files_below(self._fs, self._base), key=_number)
            try:
                self._known = {path: self._known.get(path) or self._entry(path) for path in paths}
            except FileNotFoundError:  # its host has entered a later one since it was listed
                continue
            except ConfigError:  # on a mounted folder it may have been created only, and be about to be written
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)
                continue
            return (_number(paths[-1]) if paths else 0), {entry.host: entry for entry in self._known.values()}

    def enter(self, number: int, entry: HostSpending) -> bool:
        """Enter as this number, and remove what the host entered before; False if others have entered since it read.

        A host that entered this number and a later one has removed it again, so that it can be created once more.
        """
        self._fs.makedirs(self._base, exist_ok=True)
        place = f"{self._base}/{number:08d}.json"
        try:
            create_bytes(self._fs, place, _content(entry))
        except FileExistsError:
            return False
        if any(_number(path) > number for path in files_below(self._fs, self._base)):
            self._remove(place)
            return False
        for path in [path for path, known in self._known.items() if known.host == entry.host and path != place]:
            self._remove(path)
        return True

    def _remove(self, path: str) -> None:
        with suppress(FileNotFoundError):  # another process has removed it
            self._fs.rm_file(path)

    def _entry(self, path: str) -> HostSpending:
        content = self._fs.cat_file(path)
        try:
            said = json.loads(content)
            return HostSpending(
                host=said["host"],
                by_minute={int(minute): Spending.from_list(amount) for minute, amount in said["by_minute"].items()},
                ceiling=Spending.from_list(said["ceiling"]),
                booked_at=said["booked_at"],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{path}, which says what a host may spend, was torn ({error!r}); remove it when no host is making calls"
            ) from error


class Share:
    """This host's part of the caps. Its methods are called while the journals of this machine are locked."""

    def __init__(self, bookings: Bookings, journals: Path, caps: Caps) -> None:
        self._bookings = bookings
        self._journals = journals
        self._caps = caps
        self.elsewhere = Elsewhere()
        """As it was at the last look."""

    def covers(self, reached: Spending) -> bool:
        """Whether this host may spend as much, counted from its beginning on, without asking."""
        if not self._caps.limit_anything:
            return True
        ceiling = self._ceiling()
        return ceiling is not None and not self._caps.set_to(ceiling).passed_by(reached)

    def book(
        self, by_minute: Mapping[int, Spending], reached: Spending, counted: Spending, most: Spending, *, now: float
    ) -> bool:
        """Book room for one more call, and for some that follow; False where the cap leaves none, and nothing is booked.

        Args:
            reached: what this host has spent from its beginning on, calls under way at the most that they may take.
            counted: the same since the moment from which the caps count.
            most: what the next call may take.
        """
        while True:
            number = self.look()
            taken = counted + self.elsewhere.spent + self.elsewhere.booked
            if self._caps.passed_by(taken + most):
                return False
            if self._enter(number + 1, by_minute, reached + self._block(taken, most), now=now):
                return True

    def give_back(self, by_minute: Mapping[int, Spending], reached: Spending, *, now: float) -> None:
        """Keep what calls under way may take and let the others have the rest; they see what was spent as well."""
        self._note(reached)  # before the others are told, so that nobody here spends what they take
        while not self._enter(self.look() + 1, by_minute, reached, now=now):
            continue

    def look(self) -> int:
        """See what the others have entered; returns the last number."""
        number, by_host = self._bookings.read()
        others = [entry for host, entry in by_host.items() if host != self._host()]
        booked = {entry.host: entry.booked(self._caps.since) for entry in others}
        self.elsewhere = Elsewhere(
            spent=sum((entry.spent(self._caps.since) for entry in others), Spending()),
            booked=sum(booked.values(), Spending()),
            hosts=tuple(sorted(host for host, amount in booked.items() if amount != Spending())),
        )
        return number

    def _block(self, taken: Spending, most: Spending) -> Spending:
        """A share of what is left of each cap, what the next call may take at least."""
        caps = self._caps
        return Spending(
            calls=most.calls + _share(caps.max_calls - taken.calls - most.calls, whole=True),
            tokens=most.tokens + _share(caps.max_tokens - taken.tokens - most.tokens, whole=True),
            usd=most.usd + _share(caps.max_usd - taken.usd - most.usd, whole=False),
        )

    def _enter(self, number: int, by_minute: Mapping[int, Spending], ceiling: Spending, *, now: float) -> bool:
        host = self._host() or self._named()
        entry = HostSpending(host=host, by_minute=dict(by_minute), ceiling=ceiling, booked_at=now)
        if not self._bookings.enter(number, entry):
            return False
        self._note(ceiling)
        return True

    def _ceiling(self) -> Spending | None:
        """What was booked under these very caps, None where nothing was."""
        try:
            noted = json.loads((self._journals / "booking.json").read_bytes())
        except FileNotFoundError:
            return None
        return Spending.from_list(noted["ceiling"]) if noted["caps"] == list(astuple(self._caps)) else None

    def _note(self, ceiling: Spending) -> None:
        content = {"ceiling": ceiling.to_list(), "caps": astuple(self._caps)}
        _replace(self._journals / "booking.json", json.dumps(content))

    def _host(self) -> str:
        """The name of this local folder, "" while it has none."""
        try:
            return (self._journals / "host").read_text()
        except FileNotFoundError:
            return ""

    def _named(self) -> str:
        """A name for it, kept before anything is entered under it."""
        name = f"{socket.gethostname()}-{uuid.uuid4().hex[:12]}"
        _replace(self._journals / "host", name)
        return name


def _share(left: float, *, whole: bool) -> Any:
    """An eighth of what is left; of what has no cap nothing has to be booked."""
    if math.isinf(left) or left <= 0:
        return 0
    return int(left // SHARE) if whole else left / SHARE


def _replace(file: Path, content: str) -> None:
    beside = file.with_name(f".{file.name}.{os.getpid()}.part")
    beside.write_text(content)
    beside.replace(file)


def _number(path: str) -> int:
    return int(path.rpartition("/")[2].partition(".")[0])


def _content(entry: HostSpending) -> bytes:
    said = {
        "host": entry.host,
        "by_minute": {minute: amount.to_list() for minute, amount in entry.by_minute.items()},
        "ceiling": entry.ceiling.to_list(),
        "booked_at": entry.booked_at,
    }
    return json.dumps(said).encode()
