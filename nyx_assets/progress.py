"""Is it slow or is it stuck: a line every few seconds with what is done, the rate and the time left."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


class Progress:
    """Counts finished rows and says so through `log`, at most once in `every_seconds`."""

    def __init__(
        self,
        log: Callable[[str], None],
        what: str,
        total: int | None,
        *,
        every_seconds: float = 5.0,
        beside: Callable[[], str] = str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            beside: what else each line says, such as the money that is spent; "" for nothing.
        """
        self._log, self._what, self._total, self._beside = log, what, total, beside
        self._every, self._clock = every_seconds, clock
        self._start = self._said = clock()
        self.done = 0

    def advance(self, count: int = 1) -> None:
        """Count rows that are finished."""
        self.done += count
        now = self._clock()
        if now - self._said >= self._every:
            self._said = now
            self._log(self.line())

    def over(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, each counted once whoever asked for it comes back for the next."""
        for item in items:
            yield item
            self.advance()

    @property
    def seconds(self) -> float:
        return self._clock() - self._start

    @property
    def rate(self) -> float:
        """Rows a second so far."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    def line(self) -> str:
        """What is done, of how many, how fast, and how long the rest will take at that rate."""
        beside = f"; {more}" if (more := self._beside()) else ""
        if self._total is None or self.rate == 0:
            return f"{self.done:,} {self._what}, {self.rate:,.0f}/s{beside}"
        left = (self._total - self.done) / self.rate
        return f"{self.done:,} of {self._total:,} {self._what}, {self.rate:,.0f}/s, {left:,.0f} s left{beside}"
