"""Posts to an OpenAI-compatible endpoint, tried again where that may help."""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from resources.retrying import RETRIED_STATUSES, retry_after_seconds
from training_kernels.errors import ConfigError, VLMError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
PAUSE_STEP_SECONDS = 0.25
"""How long a pause goes on after it was told to end."""
SHORTEST_SECRET = 8
LONGEST_RETRY_AFTER_SECONDS = 300.0
"""A server that asks for a longer rest has refused: a partition must not sleep for an hour on one row."""


class Fault(Exception):
    """One attempt that failed: what happened, whether another attempt may help, how long the server asked to wait."""

    def __init__(self, what: str, *, is_transient: bool, retry_after_seconds: float = 0.0) -> None:
        super().__init__(what)
        self.is_transient = is_transient
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a VLM is served, how hard it may be asked, and what it charges."""

    base_url: str
    model: str
    max_in_flight: int
    timeout_seconds: float
    max_retries: int
    """Attempts after the first."""
    price_per_million_input_tokens: float
    price_per_million_output_tokens: float

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")) or not self.model:
            raise ConfigError(
                f"a VLM endpoint needs an http(s) base URL and a model name, got base_url={self.base_url!r}, "
                f"model={self.model!r}; the base URL usually ends in /v1"
            )
        if self.max_in_flight < 1 or self.timeout_seconds <= 0 or self.max_retries < 0:
            raise ConfigError(
                "a VLM endpoint needs max_in_flight >= 1, timeout_seconds > 0 and max_retries >= 0, got "
                f"{self.max_in_flight}, {self.timeout_seconds} and {self.max_retries}"
            )

    def cost_usd(self, input_tokens: float, output_tokens: float) -> float:
        """What so many tokens cost here."""
        return (
            input_tokens * self.price_per_million_input_tokens + output_tokens * self.price_per_million_output_tokens
        ) / 1e6


class EndpointClient:
    """The client of one endpoint.

    Rate limits, server errors, time-outs, lost connections and bodies that are cut off or not JSON are tried again,
    `max_retries` times, after a pause that doubles or that the server's Retry-After asks for. One HTTP client lives as
    long as the event loop that first used it: connections cannot be shared between loops.
    """

    def __init__(self, endpoint: Endpoint, *, api_key: str) -> None:
        self.endpoint = endpoint
        self._api_key = api_key
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[AsyncOpenAI, AsyncIterator]] = (
            WeakKeyDictionary()
        )
        self._is_stopping = False

    def stop_retrying(self) -> None:
        """From now on an attempt that fails is a refusal, and pauses end at once."""
        self._is_stopping = True

    async def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._is_stopping and (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, PAUSE_STEP_SECONDS))

    async def post(
        self, path: str, body: bytes, check: Callable[[Any], None], *, digest: str
    ) -> tuple[dict[str, Any], float]:
        """The decoded answer of the first attempt that has one, and the seconds that this attempt took.

        Args:
            check: raises Fault for JSON that is no answer.
            digest: names the request in the error.

        Raises VLMError when the endpoint refuses after retries.
        """
        attempt = 0
        while True:
            began = time.perf_counter()
            try:
                answer = _decoded(await self._text(path, body))
                check(answer)
            except Fault as fault:
                if not fault.is_transient or attempt >= self.endpoint.max_retries:
                    raise VLMError(self._refusal(str(fault), digest, attempt + 1)) from None
                await self._pause(max(fault.retry_after_seconds, pause_seconds(attempt, digest)))
                if self._is_stopping:
                    raise VLMError(self._refusal(str(fault), digest, attempt + 1)) from None
                attempt += 1
            else:
                return answer, time.perf_counter() - began

    async def _text(self, path: str, body: bytes) -> str:
        """What one attempt brought. Raises Fault."""
        import openai

        client = await self._client()
        try:
            # client.chat.completions.create would walk through the body field by field, 40 % of a call's processor time
            return await client.post(path, cast_to=str, content=body)
        except openai.APITimeoutError:
            raise Fault(f"no answer within {self.endpoint.timeout_seconds} s", is_transient=True) from None
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            raise Fault(f"lost connection ({type(cause).__name__}: {cause})", is_transient=True) from None
        except openai.APIStatusError as error:
            raise _status_fault(error.status_code, error.response.headers.get("retry-after"), error.message) from None

    async def _client(self) -> "AsyncOpenAI":
        from openai import AsyncOpenAI

        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            client = AsyncOpenAI(
                base_url=self.endpoint.base_url,
                api_key=self._api_key,
                timeout=self.endpoint.timeout_seconds,
                max_retries=0,  # retried in `post`, which also knows cut-off and unreadable bodies
            )
            guard = _closed_with_its_loop(client)
            self._clients[loop] = (client, guard)
            await anext(guard)
        return self._clients[loop][0]

    def _refusal(self, what: str, digest: str, num_attempts: int) -> str:
        text = (
            f"{self.endpoint.model} at {self.endpoint.base_url} did not answer request {digest} after {num_attempts} "
            f"attempt(s): {what}; check the server, its key and its limits, then materialize again: answered requests "
            "are kept"
        )
        # a server may quote the key in its message; a placeholder key is an ordinary word, and no secret
        return text.replace(self._api_key, "***") if len(self._api_key) >= SHORTEST_SECRET else text


async def _closed_with_its_loop(client: "AsyncOpenAI") -> AsyncIterator[None]:
    """Holds a client open until its event loop ends: asyncio.run closes the asynchronous generators that are left."""
    try:
        yield
    finally:
        await client.close()


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise Fault(f"status 200 with a body that is not JSON ({error}): {text[:80]!r}", is_transient=True) from None


def _status_fault(status: int, retry_after: str | None, message: str) -> Fault:
    wait_seconds = retry_after_seconds(retry_after, now=datetime.now(UTC))
    if wait_seconds > LONGEST_RETRY_AFTER_SECONDS:
        return Fault(f"HTTP {status}, Retry-After of {wait_seconds:.0f} s: {message[:300]}", is_transient=False)
    return Fault(
        f"HTTP {status}: {message[:300]}",
        is_transient=status in RETRIED_STATUSES,
        retry_after_seconds=wait_seconds,
    )


def pause_seconds(attempt: int, digest: str) -> float:
    """Pause before the attempt after `attempt` (0-based): doubling, and spread over half of itself by request.

    The spread follows from the request's digest, so that calls that failed together do not come back together and a
    rerun waits the same.
    """
    longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**attempt)
    share = int.from_bytes(hashlib.sha256(f"{digest}/{attempt}".encode()).digest()[:4], "big") / 2**32
    return longest * (0.5 + share / 2)
