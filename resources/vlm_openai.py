"""A VLM behind any OpenAI-compatible server: hosted, vLLM, SGLang, llama.cpp, or resources/vlm_server.py."""

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from resources.file_work import at_hand, is_near
from resources.retrying import RETRIED_STATUSES, retry_after_seconds
from resources.vlm import STAND_IN_MODEL, Message, Reply, Request
from resources.vlm_budget import Spending
from resources.vlm_tokens import most_input_tokens
from training_kernels.errors import ConfigError, VLMError
from training_kernels.images import PictureFolder

if TYPE_CHECKING:
    from openai import AsyncOpenAI

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
PAUSE_STEP_SECONDS = 0.25
"""How long a pause goes on after it was told to end."""
SHORTEST_SECRET = 8
LONGEST_RETRY_AFTER_SECONDS = 300.0
"""A server that asks for a longer rest has refused: a partition must not sleep for an hour on one row."""

REMEMBERED_PICTURES = 64
"""Choice: a page's pictures are shown in several requests, one soon after the other; this many take some 10 MB encoded."""

MEDIA_TYPE_BY_SUFFIX = {"jpg": "image/jpeg"}
"""Where a media type is not `image/<suffix>`."""


class _Fault(Exception):
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


class OpenAIVLM:
    """Chat completions with interleaved pictures, sent as data URLs of the stored files' own bytes.

    Rate limits, server errors, time-outs, lost connections and bodies that are cut off or not JSON are tried again,
    `max_retries` times, after a pause that doubles or that the server's Retry-After asks for. One HTTP client lives as
    long as the event loop that first used it: connections cannot be shared between loops.
    """

    def __init__(self, endpoint: Endpoint, *, api_key: str, images: PictureFolder) -> None:
        self.endpoint = endpoint
        self._api_key = api_key
        self._images = images
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[AsyncOpenAI, AsyncIterator]] = (
            WeakKeyDictionary()
        )
        self._data_urls = lru_cache(maxsize=REMEMBERED_PICTURES)(self._data_url)
        self._is_stopping = False

    def __repr__(self) -> str:
        return f"OpenAIVLM({self.endpoint.model!r} at {self.endpoint.base_url!r})"

    @property
    def model(self) -> str:
        return self.endpoint.model

    @property
    def is_stand_in(self) -> bool:
        return self.model == STAND_IN_MODEL

    @property
    def max_in_flight(self) -> int:
        return self.endpoint.max_in_flight

    def bound(self, request: Request) -> Spending:
        """The most that one call may take: a token a byte, pictures at full resolution, the longest reply allowed."""
        input_tokens = most_input_tokens(request, self._images)
        output_tokens = request.sampling.max_output_tokens
        return Spending(
            calls=1,
            tokens=input_tokens + output_tokens,
            usd=self.endpoint.cost_usd(input_tokens, output_tokens),
        )

    def stop_retrying(self) -> None:
        """From now on an attempt that fails is a refusal, and pauses end at once."""
        self._is_stopping = True

    async def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._is_stopping and (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, PAUSE_STEP_SECONDS))

    async def complete(self, request: Request) -> Reply:
        digest = request.digest(self.model)
        body = await at_hand(is_near(self._images.fs), self.body, request)
        attempt = 0
        while True:
            began = time.perf_counter()
            try:
                answer = await self._ask(body)
            except _Fault as fault:
                if not fault.is_transient or attempt >= self.endpoint.max_retries:
                    raise VLMError(self._refusal(str(fault), digest, attempt + 1)) from None
                await self._pause(max(fault.retry_after_seconds, pause_seconds(attempt, digest)))
                if self._is_stopping:
                    raise VLMError(self._refusal(str(fault), digest, attempt + 1)) from None
                attempt += 1
            else:
                return self._reply(answer, digest, time.perf_counter() - began)

    async def _ask(self, body: bytes) -> dict[str, Any]:
        """The decoded answer of one attempt. Raises _Fault."""
        import openai

        client = await self._client()
        try:
            # client.chat.completions.create would walk through the body field by field, 40 % of a call's processor time
            text = await client.post("/chat/completions", cast_to=str, content=body)
        except openai.APITimeoutError:
            raise _Fault(f"no answer within {self.endpoint.timeout_seconds} s", is_transient=True) from None
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            raise _Fault(f"lost connection ({type(cause).__name__}: {cause})", is_transient=True) from None
        except openai.APIStatusError as error:
            raise _status_fault(error.status_code, error.response.headers.get("retry-after"), error.message) from None
        return checked_answer(text)

    async def _client(self) -> "AsyncOpenAI":
        from openai import AsyncOpenAI

        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            client = AsyncOpenAI(
                base_url=self.endpoint.base_url,
                api_key=self._api_key,
                timeout=self.endpoint.timeout_seconds,
                max_retries=0,  # retried in `complete`, which also knows cut-off and unreadable bodies
            )
            guard = _closed_with_its_loop(client)
            self._clients[loop] = (client, guard)
            await anext(guard)
        return self._clients[loop][0]

    def body(self, request: Request) -> bytes:
        """What is posted: a chat completion's JSON."""
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": message.role, "content": self._content(message)} for message in request.messages],
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_output_tokens,
            "seed": sampling.seed,
        }
        if sampling.json_schema is not None:
            schema = json.loads(sampling.json_schema)
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "reply", "schema": schema, "strict": True},
            }
        return json.dumps(body, separators=(",", ":")).encode()

    def _content(self, message: Message) -> str | list[dict[str, Any]]:
        """Parts in reading order; a plain string where there is one text only, which every server takes for a system."""
        segments = message.content.segments
        if len(segments) == 1 and segments[0].text is not None:
            return segments[0].text
        return [
            {"type": "text", "text": segment.text}
            if segment.image is None
            else {"type": "image_url", "image_url": {"url": self._data_urls(segment.image)}}
            for segment in segments
        ]

    def _data_url(self, image: str) -> str:
        path = self._images.path(image)
        suffix = path.rsplit(".", 1)[-1]
        media_type = MEDIA_TYPE_BY_SUFFIX.get(suffix, f"image/{suffix}")
        return f"data:{media_type};base64,{base64.b64encode(self._images.fs.cat_file(path)).decode()}"

    def _reply(self, answer: dict[str, Any], digest: str, latency_seconds: float) -> Reply:
        choice, usage = answer["choices"][0], answer.get("usage") or {}
        input_tokens, output_tokens = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
        return Reply(
            text=choice["message"]["content"],
            model=self.model,
            request_digest=digest,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cost_usd=self.endpoint.cost_usd(input_tokens, output_tokens),
            latency_seconds=latency_seconds,
            finish_reason=choice.get("finish_reason") or "stop",
            is_stand_in=STAND_IN_MODEL in (self.model, answer.get("model")),
        )

    def _refusal(self, what: str, digest: str, num_attempts: int) -> str:
        text = (
            f"{self.model} at {self.endpoint.base_url} did not answer request {digest} after {num_attempts} "
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


def checked_answer(text: str) -> dict[str, Any]:
    """The JSON of a chat completion that carries a text. Raises _Fault for anything else that came with status 200."""
    try:
        answer = json.loads(text)
    except json.JSONDecodeError as error:
        raise _Fault(f"status 200 with a body that is not JSON ({error}): {text[:80]!r}", is_transient=True) from None
    try:
        message = answer["choices"][0]["message"]
        content, refusal = message.get("content"), message.get("refusal")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise _Fault(f"status 200 without choices[0].message: {text[:80]!r}", is_transient=True) from None
    if not isinstance(content, str):
        raise _Fault(f"the model declined: {refusal or 'no content'}", is_transient=False)
    return answer


def _status_fault(status: int, retry_after: str | None, message: str) -> _Fault:
    wait_seconds = retry_after_seconds(retry_after, now=datetime.now(UTC))
    if wait_seconds > LONGEST_RETRY_AFTER_SECONDS:
        return _Fault(f"HTTP {status}, Retry-After of {wait_seconds:.0f} s: {message[:300]}", is_transient=False)
    return _Fault(
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
