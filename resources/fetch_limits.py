"""How hard the web may be asked: time, redirects, attempts, and how many requests at once and one after the other."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from resources.images import PictureRefused
from training_kernels.errors import ConfigError

REMEMBERED_HOSTS = 10_000
"""Choice: hosts whose last request is remembered; a window of pages names far fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """Bounds of everything that another server could draw out."""

    max_in_flight: int
    """Requests at once. Each may hold one picture of the largest size in memory."""
    max_in_flight_per_host: int
    seconds_between_requests: float
    """From one request to a host to the next; a Crawl-delay in its robots.txt makes it longer."""
    connect_seconds: float
    silence_seconds: float
    """Longest wait for the next bytes."""
    request_seconds: float
    """From connecting to the last byte."""
    max_redirects: int
    max_attempts: int
    first_pause_seconds: float
    """Before the second attempt; it doubles from one attempt to the next."""
    longest_pause_seconds: float
    """A server that asks for a longer rest has refused, and a longer Crawl-delay is cut to it."""
    retry_failures_after_seconds: float
    """How long a failure that is on record counts, before the address is tried again."""

    def __post_init__(self) -> None:
        if min(self.max_in_flight, self.max_in_flight_per_host, self.max_attempts) < 1 or self.max_redirects < 0:
            raise ConfigError(
                "fetching needs max_in_flight, max_in_flight_per_host and max_attempts of at least 1 and max_redirects of "
                f"at least 0, got {self.max_in_flight}, {self.max_in_flight_per_host}, {self.max_attempts} and "
                f"{self.max_redirects}"
            )
        if min(self.connect_seconds, self.silence_seconds, self.request_seconds) <= 0:
            raise ConfigError(
                "fetching needs connect_seconds, silence_seconds and request_seconds above 0, got "
                f"{self.connect_seconds}, {self.silence_seconds} and {self.request_seconds}"
            )

    def pause_seconds(self, attempt: int, address: str) -> float:
        """Pause after attempt `attempt` (0 for the first), spread over half of itself by address.

        So requests that failed together do not come back together, and a rerun waits the same.
        """
        longest = min(self.longest_pause_seconds, self.first_pause_seconds * 2**attempt)
        drawn = hashlib.sha256(f"{attempt}/{address}".encode()).digest()
        return longest * (0.5 + int.from_bytes(drawn[:4], "big") / 2**33)


class PassingFault(PictureRefused):
    """A refusal that another attempt may not meet."""

    def __init__(self, rule: str, reason: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(rule, reason)
        self.retry_after_seconds = retry_after_seconds


@dataclass(slots=True)
class _Gate:
    """What is known about one host in this process."""

    places: asyncio.Semaphore
    next_start: float = 0.0
    """When the next in line may begin, on the event loop's clock."""
    held_until: float = 0.0
    """When the rest ends that the host asked for."""
    num_users: int = 0


class Gates:
    """Who may ask which host when. One event loop only."""

    def __init__(self, limits: FetchLimits) -> None:
        self._limits = limits
        self._everywhere = asyncio.Semaphore(limits.max_in_flight)
        self._gate_by_host: dict[str, _Gate] = {}

    @asynccontextmanager
    async def passage(self, host: str, *, seconds_apart: float) -> AsyncIterator[None]:
        """Holds one of the host's places and one of all places, from when the host may be asked again.

        The place among all is taken last, so that a host that makes wait does not hold up the others.
        """
        gate = self._gate(host)
        gate.num_users += 1
        try:
            async with gate.places:
                now = asyncio.get_running_loop().time()
                start = max(now, gate.next_start)
                gate.next_start = start + seconds_apart
                await asyncio.sleep(start - now)
                while (rest_seconds := gate.held_until - asyncio.get_running_loop().time()) > 0:
                    await asyncio.sleep(rest_seconds)
                async with self._everywhere:
                    yield
        finally:
            gate.num_users -= 1

    def hold(self, host: str, seconds: float) -> None:
        """Let no further request to a host begin for so long."""
        gate = self._gate(host)
        gate.held_until = max(gate.held_until, asyncio.get_running_loop().time() + seconds)

    def _gate(self, host: str) -> _Gate:
        if host not in self._gate_by_host:
            if len(self._gate_by_host) >= REMEMBERED_HOSTS:
                self._forget_idle()
            self._gate_by_host[host] = _Gate(asyncio.Semaphore(self._limits.max_in_flight_per_host))
        return self._gate_by_host[host]

    def _forget_idle(self) -> None:
        now = asyncio.get_running_loop().time()
        self._gate_by_host = {
            host: gate
            for host, gate in self._gate_by_host.items()
            if gate.num_users or max(gate.next_start, gate.held_until) > now
        }
