"""What VLM calls have taken in a home, entered before each call, and the caps that no process may pass.

    <root>/lock                               held by whoever reads all journals and adds an entry
    <root>/<host>-<process>-<random>.jsonl    one journal a process: an "open" row before a call, a "settled" row after

A process holds a lock on its own journal for as long as it lives, and the system releases it even after kill -9. So
everybody can tell a call that is under way from one whose process died: the latter counts with what its reply cost if
that was kept, else with the most that it can have taken, because the server may have billed it.

Journals are of one machine. Where hosts share a home, each books its share of the caps before it spends (vlm_bookings.py).
"""

import fcntl
import json
import logging
import math
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING, Any, Self

from resources.vlm import Reply
from resources.vlm_replies import ReplyFolder
from training_kernels.errors import BudgetReached, ConfigError

if TYPE_CHECKING:
    from resources.vlm_bookings import Elsewhere, Share

logger = logging.getLogger(__name__)

MINUTE_SECONDS = 60
WAIT_SECONDS = 1.0
"""How often a host whose share is used up asks again while it waits for its own calls. Choice: a call takes a second or
more."""
TELL_SECONDS = 60.0
"""How often a host without a cap tells the others what it spent. Choice: for people who look, so not often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """An amount of calls, tokens (in and out) and US dollars."""

    calls: int = 0
    tokens: int = 0
    usd: float = 0.0

    @classmethod
    def of(cls, reply: Reply) -> "Spending":
        return cls(calls=1, tokens=reply.input_tokens + reply.output_tokens, usd=reply.cost_usd)

    def __add__(self, other: "Spending") -> "Spending":
        return Spending(calls=self.calls + other.calls, tokens=self.tokens + other.tokens, usd=self.usd + other.usd)

    def beyond(self, other: "Spending") -> "Spending":
        """What is more of this than of the other, amount by amount."""
        return Spending(
            calls=max(0, self.calls - other.calls),
            tokens=max(0, self.tokens - other.tokens),
            usd=max(0.0, self.usd - other.usd),
        )

    def to_list(self) -> list[float]:
        return [self.calls, self.tokens, self.usd]

    @classmethod
    def from_list(cls, amounts: list[Any]) -> "Spending":
        calls, tokens, usd = amounts
        return cls(calls=calls, tokens=tokens, usd=usd)

    def __str__(self) -> str:
        return f"{self.calls:,} calls, {self.tokens:,} tokens, {self.usd:,.4f} USD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """The most that may be spent in a home from a moment on, by all its processes and hosts together; inf is no cap.

    Choice: a cap belongs to the home, not to a run, so that a run that is started again, by hand or by a daemon, does
    not get a fresh allowance.
    """

    max_calls: float
    max_tokens: float
    max_usd: float
    since: float
    """Seconds since 1970; what was started before does not count."""

    def __post_init__(self) -> None:
        if not all(cap >= 0 for cap in (self.max_calls, self.max_tokens, self.max_usd)):
            raise ConfigError(
                "caps on calls, tokens and US dollars must be 0 or more, got "
                f"{self.max_calls}, {self.max_tokens} and {self.max_usd}"
            )

    def __str__(self) -> str:
        named = ((self.max_calls, ",.0f", "calls"), (self.max_tokens, ",.0f", "tokens"), (self.max_usd, ",.2f", "USD"))
        caps = [f"{most:{how}} {what}" for most, how, what in named if not math.isinf(most)]
        return f"at most {', '.join(caps)}" if caps else "no cap"

    @property
    def limit_anything(self) -> bool:
        return not all(map(math.isinf, (self.max_calls, self.max_tokens, self.max_usd)))

    def set_to(self, amount: Spending) -> Self:
        """These amounts where there are caps, and no cap where there is none."""
        return replace(
            self,
            max_calls=self.max_calls if math.isinf(self.max_calls) else amount.calls,
            max_tokens=self.max_tokens if math.isinf(self.max_tokens) else amount.tokens,
            max_usd=self.max_usd if math.isinf(self.max_usd) else amount.usd,
        )

    def passed_by(self, spent: Spending) -> list[str]:
        """The settings whose cap the amount passes."""
        pairs = (
            ("NYX_MAX_CALLS", self.max_calls, spent.calls),
            ("NYX_MAX_TOKENS", self.max_tokens, spent.tokens),
            # a sum of prices that equals the cap on paper may stand above it by rounding
            ("NYX_MAX_USD", self.max_usd, spent.usd - 1e-9),
        )
        return [f"{name}={cap:g}" for name, cap, amount in pairs if amount > cap]


@dataclass(slots=True)
class _Journal:
    """What is known of one process's journal."""

    path: Path
    num_bytes_read: int = 0
    is_ended: bool = False
    """Its process is gone, and all of it was read."""
    open: dict[str, tuple[float, Spending]] = field(default_factory=dict)
    """By request digest: when the call began, and the most that it may take."""


class Budget:
    """The journals of a home, and room for one more call under the caps. Nothing is written before the first call.

    Args:
        share: this host's part of the caps, where hosts share the home.
    """

    def __init__(
        self,
        root: Path,
        caps: Caps,
        replies: ReplyFolder,
        *,
        share: "Share | None" = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.root = Path(root)
        self.caps = caps
        self._replies = replies
        self._share = share
        self._clock = clock
        self._guard = Lock()
        self._journals: dict[str, _Journal] = {}
        self._settled = Spending()
        self._by_minute: dict[int, Spending] = {}
        """All that was ever settled here, by the minute in which the call began."""
        self._ever = Spending()
        self._asks_again_at = self._tells_at = 0.0
        self._interrupted: list[str] = []
        self._ours: IO[bytes] | None = None
        self._our_name = ""
        self.num_foreign_rows = 0
        """Rows of other processes seen so far; while it stays, no other process can have kept a reply."""

    def start(self, digest: str, most: Spending) -> bool:
        """Enter a call, to be settled by `settle`; False while it has to wait.

        It waits while a live process has the same request under way, or while calls under way hold back more tokens or
        money than they may turn out to take. Raises BudgetReached when waiting cannot make room.
        """
        with self._guard, self._locked():
            self._catch_up()
            live = [call for journal in self._journals.values() for call in journal.open.items()]
            if any(open_digest == digest for open_digest, _ in live):
                return False
            held_back = sum((amount for _, (began, amount) in live if began >= self.caps.since), Spending())
            spent = self._settled
            if self._share is None:
                has_room = not self.caps.passed_by(spent + held_back + most)
            else:
                has_room = self._has_share(self._share, spent, held_back, most)
                spent += self._share.elsewhere.spent + self._share.elsewhere.booked
            if has_room:
                self._enter("open", digest, most)
                return True
            # what is under way may take less than it holds back
            if held_back.calls and not self.caps.passed_by(spent + most):
                return False
            raise BudgetReached(self._message(spent, held_back, most))

    def _has_share(self, share: "Share", spent: Spending, held_back: Spending, most: Spending) -> bool:
        """Whether this host may make one more call; books room for it where it has none."""
        reached = self._reached()
        if share.covers(reached + most):
            return True
        now = self._clock()
        if held_back.calls and now < self._asks_again_at:
            return False
        if share.book(self._by_minute, reached, spent + held_back, most, now=now):
            return True
        self._asks_again_at = now + WAIT_SECONDS
        return False

    def _reached(self) -> Spending:
        """All that was ever spent here, calls under way at the most that they may take."""
        under_way = (amount for journal in self._journals.values() for _, amount in journal.open.values())
        return sum(under_way, self._ever)

    def settle(self, digest: str, spent: Spending) -> None:
        """Enter what a call that was started took."""
        with self._guard, self._locked():
            self._enter("settled", digest, spent)
            if self._share is not None and not self.caps.limit_anything and self._clock() >= self._tells_at:
                self._tells_at = self._clock() + TELL_SECONDS
                self._tell(self._share)

    def _tell(self, share: "Share") -> None:
        """Let other hosts see what this one spent; a store that does not answer fails no call, the next time tells it all."""
        self._catch_up()
        try:
            share.give_back(self._by_minute, self._reached(), now=self._clock())
        except Exception as error:  # noqa: BLE001 - clients of stores raise errors of every kind
            logger.warning("other hosts do not see yet what this one has spent and gives back: %r", error)

    def give_back(self) -> None:
        """Let other hosts have what this one booked and did not spend, and see what it spent. Nothing, where none share."""
        if self._share is None or self._ours is None:
            return
        with self._guard, self._locked():
            self._tell(self._share)

    def elsewhere(self) -> "Elsewhere | None":
        """What other hosts have spent and may still spend; None where none share the home. Writes nothing."""
        if self._share is None:
            return None
        with self._guard:
            self._share.look()
            return self._share.elsewhere

    def spent_by_all(self) -> Spending:
        """What this machine spent, and what other hosts that share the home are known to have spent. Writes nothing."""
        elsewhere = self.elsewhere()
        return self.spent() + (elsewhere.spent if elsewhere is not None else Spending())

    def against_cap(self) -> str:
        """What all hosts spent, and what may be spent, for a person."""
        return f"{self.spent_by_all()} spent, {self.caps}"

    def spent(self) -> Spending:
        """What this machine spent since `caps.since`, calls under way at the most that they may take. Writes nothing."""
        with self._guard:
            self._catch_up()
            return sum(
                (
                    amount
                    for journal in self._journals.values()
                    for began, amount in journal.open.values()
                    if began >= self.caps.since
                ),
                self._settled,
            )

    def open_calls(self) -> list[str]:
        """Request digests of calls that a living process has under way; writes nothing."""
        with self._guard:
            self._catch_up()
            return [digest for journal in self._journals.values() for digest in journal.open]

    def interrupted(self) -> list[str]:
        """Request digests of calls that were under way when their process died, one a call; writes nothing.

        Where the reply had not been kept by then, the request was or will be asked again, and may be billed twice.
        """
        with self._guard:
            self._catch_up()
            return list(self._interrupted)

    def _message(self, spent: Spending, held_back: Spending, most: Spending) -> str:
        passed = " and ".join(self.caps.passed_by(spent + held_back + most))
        elsewhere = ""
        if self._share is not None and (hosts := self._share.elsewhere.hosts):
            elsewhere = (
                f" (of these {self._share.elsewhere.booked} are only booked, by {', '.join(hosts)}: a host gives back what "
                "it does not spend when its calls are through)"
            )
        return (
            f"the cap {passed} leaves no room for one more call: {spent} were spent{elsewhere} and {held_back.calls} calls are under "
            f"way by {self.root}, the next call may take {most.tokens:,} tokens and {most.usd:.4f} USD; every reply so far "
            "is kept: raise the cap, or set NYX_BUDGET_SINCE to count from a later moment, and run again"
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among all processes; opens this process's own journal on first use."""
        self.root.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.root / "lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._ours is None:
                self._our_name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:12]}.jsonl"
                self._ours = (self.root / self._our_name).open("ab", buffering=0)
                fcntl.flock(self._ours, fcntl.LOCK_EX)
                self._journals[self._our_name] = _Journal(self.root / self._our_name)
            yield
        finally:
            os.close(lock)

    def _enter(self, state: str, digest: str, amount: Spending) -> None:
        assert self._ours is not None
        row = {
            "state": state,
            "time": self._clock(),
            "digest": digest,
            "calls": amount.calls,
            "tokens": amount.tokens,
            "usd": amount.usd,
        }
        self._ours.write(json.dumps(row).encode() + b"\n")
        self._take_in(self._journals[self._our_name], row)

    def _catch_up(self) -> None:
        """Read what journals have gained since the last look."""
        try:
            names = os.listdir(self.root)
        except FileNotFoundError:
            return
        for name in names:
            if not name.endswith(".jsonl") or name == self._our_name:  # our own rows are taken in as they are entered
                continue
            journal = self._journals.setdefault(name, _Journal(self.root / name))
            if not journal.is_ended and (journal.open or os.stat(journal.path).st_size != journal.num_bytes_read):
                self._read_on(journal)

    def _read_on(self, journal: _Journal) -> None:
        with journal.path.open("rb") as file:
            # asked before reading: a journal whose process is gone gains nothing afterwards
            is_ended = _is_released(file)
            file.seek(journal.num_bytes_read)
            lines = file.read()
        lines = lines[: lines.rfind(b"\n") + 1]  # a torn last line belongs to a call that was never made
        journal.num_bytes_read += len(lines)
        rows = [json.loads(line) for line in lines.splitlines()]
        for row in rows:
            self._take_in(journal, row)
        self.num_foreign_rows += len(rows)
        if is_ended and journal.num_bytes_read:  # an empty one may be about to be locked
            self._end(journal)

    def _take_in(self, journal: _Journal, row: dict[str, Any]) -> None:
        amount = Spending(calls=row["calls"], tokens=row["tokens"], usd=row["usd"])
        if row["state"] == "open":
            journal.open[row["digest"]] = (row["time"], amount)
            return
        began, _ = journal.open.pop(row["digest"])
        self._add(began, amount)

    def _add(self, began: float, amount: Spending) -> None:
        minute = int(began // MINUTE_SECONDS)
        self._by_minute[minute] = self._by_minute.get(minute, Spending()) + amount
        self._ever += amount
        if began >= self.caps.since:
            self._settled += amount

    def _end(self, journal: _Journal) -> None:
        """Settle what a dead process left open: by the reply if it was kept, else at the most it can have taken."""
        for digest, (began, most) in journal.open.items():
            reply = self._replies.peek(digest)
            self._interrupted.append(digest)
            self._add(began, most if reply is None else Spending.of(reply))
        journal.open.clear()
        journal.is_ended = True


def _is_released(file: IO[bytes]) -> bool:
    """True if the process that wrote a journal has ended."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(file, fcntl.LOCK_UN)
    return True
