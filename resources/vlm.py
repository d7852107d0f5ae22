"""The VLM seam: messages of interleaved text and pictures in, one reply out. No vendor is imported here.

Teacher, generator and judge are three roles of this one seam, each with an endpoint of its own.
"""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any, Literal, Protocol, TypeVar

from training_kernels.documents import Document, Segment
from training_kernels.errors import VLMError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

STAND_IN_MODEL = "offline-extractive"
"""Model name of the rule-based stand-in, in process and over HTTP alike; what it wrote is marked by it everywhere."""

LOOK_AHEAD = 32
"""Requests drawn beyond the reply that is handed out next, in multiples of max_in_flight. Choice: one call in its last
retry may take 30 times as long as the others before it holds them up; a finished reply waits in about 2 kB."""

REMEMBERED_DIGESTS = 512
"""Choice: a request's digest is asked for several times while it is under way; so many requests take some megabytes."""

CLOSING_POLL_SECONDS = 0.05
CLOSING_SECONDS = 60.0
"""How long calls under way may go on when their reader stops: they will be paid for, so their replies are worth keeping.
Choice: most replies take less; a person who cannot wait interrupts a second time."""


def segment_digest(segment: Segment) -> str:
    """Of a text or a picture; a picture's own digest does not show in it."""
    said = f"text {segment.text}" if segment.image is None else f"image {segment.image}"
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:20]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; its content is an interleaved document."""

    role: Literal["system", "user", "assistant"]
    content: Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a reply is drawn."""

    temperature: float
    max_output_tokens: int
    seed: int
    json_schema: str | None = None
    """JSON schema of the reply as JSON text, for servers that can hold to one; None for free text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call: what is said to the model, how the reply is drawn, and which version of our prompt said it."""

    messages: tuple[Message, ...]
    sampling: Sampling
    prompt_version: str

    def digest(self, model: str) -> str:
        """SHA-256 of everything the reply depends on: model, messages with picture digests, sampling, prompt version."""
        return _digest(self, model)

    def segment_digests(self) -> list[str]:
        """A digest of each text and picture that the messages hold, by which a kept reply is found when one goes."""
        segments = [segment for message in self.messages for segment in message.content.segments]
        return sorted({segment_digest(segment) for segment in segments})


@lru_cache(maxsize=REMEMBERED_DIGESTS)
def _digest(request: Request, model: str) -> str:
    content = {
        "model": model,
        "messages": [[message.role, message.content.to_rows()] for message in request.messages],
        "sampling": [
            request.sampling.temperature,
            request.sampling.max_output_tokens,
            request.sampling.seed,
            request.sampling.json_schema,
        ],
        "prompt_version": request.prompt_version,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back, and what it cost."""

    text: str
    model: str
    request_digest: str
    input_tokens: int
    output_tokens: int
    cost_usd: float
    latency_seconds: float
    finish_reason: str
    """"stop" for a whole reply, "length" for one cut off at the token limit."""
    is_stand_in: bool
    """True where no real VLM answered: shown in every table and report."""
    is_cached: bool = False

    def from_cache(self) -> "Reply":
        """The same reply, marked as not paid again."""
        return replace(self, is_cached=True)

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


class VLM(Protocol):
    """A model that reads interleaved text and pictures and writes text."""

    @property
    def model(self) -> str:
        """Name of the model, part of every request's digest."""
        ...

    @property
    def is_stand_in(self) -> bool:
        """True if no real VLM is behind it."""
        ...

    @property
    def max_in_flight(self) -> int:
        """How many requests its endpoint wants at once."""
        ...

    async def complete(self, request: Request) -> Reply:
        """The reply. Raises VLMError when the endpoint refuses after retries."""
        ...


def complete_all(vlm: VLM, requests: Iterable[Request]) -> Iterator[Reply | VLMError]:
    """Replies in the order of the requests, at most `vlm.max_in_flight` under way at once; see answered_in_order.

    A request that fails after its retries yields its VLMError in its place, so that one bad row does not lose the
    others.
    """

    async def answer(request: Request) -> Reply | VLMError:
        try:
            return await vlm.complete(request)
        except VLMError as error:
            return error

    return answered_in_order(answer, requests, at_once=vlm.max_in_flight)


def answered_in_order(
    answer: Callable[[Item], Awaitable[Answer]], items: Iterable[Item], *, at_once: int
) -> Generator[Answer, None, None]:
    """What `answer` gives for each item, in their order, at most `at_once` under way.

    An exception, of an answer or of `items` itself, ends the stream after the answers before it and is raised here.
    `items` is drawn lazily, in a thread of its own, never more than LOOK_AHEAD * at_once beyond the answer that is
    handed out next, so a partition of any size streams through.

    Whatever ends the stream early, nothing further starts and what is under way is given time to finish, because a cache
    behind it keeps what it was answered: after an exception as long as it needs, after closing the iterator
    CLOSING_SECONDS.
    """
    answers: Queue[Answer | _End] = Queue(maxsize=2 * at_once)
    closing = Event()

    def work() -> None:
        try:
            asyncio.run(_stream(answer, items, answers, closing, at_once=at_once))
        except BaseException as error:  # noqa: BLE001 - a thread boundary: the reader raises it
            answers.put(_End(error))
        else:
            answers.put(_End(None))

    worker = Thread(target=work, daemon=True, name="vlm-requests")
    worker.start()
    try:
        while not isinstance(item := answers.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        closing.set()
        while worker.is_alive():
            with suppress(Empty):
                answers.get(timeout=CLOSING_POLL_SECONDS)  # room for a put that blocks the worker


@dataclass(frozen=True, slots=True)
class _End:
    """Last item of a stream of replies: nothing more comes, because of `error` unless it is None."""

    error: BaseException | None


async def _stream(
    answer: Callable[[Item], Awaitable[Answer]],
    items: Iterable[Item],
    answers: "Queue[Any]",
    closing: Event,
    *,
    at_once: int,
) -> None:
    """Put every answer into `answers`, in order; return early once `closing` is set. asyncio.run cancels the rest."""
    slots = asyncio.Semaphore(at_once)
    ahead = asyncio.Semaphore(LOOK_AHEAD * at_once)
    started: asyncio.Queue[asyncio.Task[Answer] | None] = asyncio.Queue()
    under_way: set[asyncio.Task[Answer]] = set()
    stopped = asyncio.Event()

    async def answered(item: Item) -> Answer:
        try:
            return await answer(item)
        except BaseException:
            stopped.set()
            raise
        finally:
            slots.release()

    def ended(task: asyncio.Task[Answer]) -> None:
        under_way.discard(task)
        if not task.cancelled():
            task.exception()  # looked at: of several that break, the first in order is raised and the others are not missed

    async def start() -> None:
        try:
            for item in items:
                await ahead.acquire()
                await slots.acquire()
                if stopped.is_set():
                    break
                task = asyncio.create_task(answered(item))
                under_way.add(task)
                task.add_done_callback(ended)
                started.put_nowait(task)
        finally:
            started.put_nowait(None)

    async def hand_over() -> None:
        while (task := await started.get()) is not None:
            given = await task
            ahead.release()
            try:
                answers.put_nowait(given)
            except Full:  # the reader is busy: wait outside the loop, so that what is under way goes on
                await asyncio.to_thread(answers.put, given)
        await starting

    async def wait_for_closing() -> None:
        while not closing.is_set():
            await asyncio.sleep(CLOSING_POLL_SECONDS)

    starting = asyncio.create_task(start())
    handing_over = asyncio.create_task(hand_over())
    wait_to_close = asyncio.create_task(wait_for_closing())
    await asyncio.wait({handing_over, wait_to_close}, return_when=asyncio.FIRST_COMPLETED)
    stopped.set()
    starting.cancel()
    while under_way and not wait_to_close.done():
        await asyncio.wait({*under_way, wait_to_close}, return_when=asyncio.FIRST_COMPLETED)
    if under_way:
        await asyncio.wait(under_way, timeout=CLOSING_SECONDS)
    if handing_over.done():
        handing_over.result()
