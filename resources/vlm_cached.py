"""Replies kept by the content of their request: what was paid for once is not paid for again."""

import asyncio
from concurrent.futures import Future
from threading import Lock
from typing import Protocol
from weakref import WeakKeyDictionary

from resources.file_work import at_hand
from resources.vlm import VLM, Reply, Request
from resources.vlm_budget import Budget, Spending
from resources.vlm_replies import ReplyFolder
from training_kernels.errors import VLMError

POLL_SECONDS = 0.1
"""How often a call that has to wait looks again: for another process's reply, or for room under a cap. Choice: calls
take a second or more."""


class PaidVLM(VLM, Protocol):
    """A VLM whose calls cost something."""

    def bound(self, request: Request) -> Spending:
        """The most that one call may take, to hold back under a cap until it is known what it took."""
        ...

    def stop_retrying(self) -> None:
        """From now on an attempt that fails is a refusal."""
        ...


class CachedVLM:
    """Another VLM behind a folder of replies, which asks only for what is not there and only within a budget.

    Equal requests that are under way at once share one call, within a process and between processes of one host.
    Refusals are not kept. The order of a call is: entered in the journal, asked, reply kept, entry settled. So a process
    that is killed leaves its replies, and for the calls whose replies it had not kept yet, at most as many as its
    endpoint takes at once, an open entry: those and no others may be paid a second time. Behind a courier
    (vlm_courier.py) the killed process is not the one that makes the calls. Raises BudgetReached when a cap leaves no
    room for a call.
    """

    def __init__(self, inner: PaidVLM, replies: ReplyFolder, budget: Budget) -> None:
        self.inner = inner
        self._replies = replies
        self._budget = budget
        self._under_way: dict[str, Future[Reply | None]] = {}
        self._entered: set[str] = set()
        self._lock = Lock()
        self._places: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    @property
    def model(self) -> str:
        return self.inner.model

    @property
    def is_stand_in(self) -> bool:
        return self.inner.is_stand_in

    @property
    def max_in_flight(self) -> int:
        """As many as the endpoint takes at once, and as many again that are looked up, prepared or kept meanwhile."""
        return 2 * self.inner.max_in_flight

    def is_under_way(self, digest: str) -> bool:
        """True if a call for this request is entered in the journal and not settled yet: it is or may be paid for."""
        return digest in self._entered

    async def complete(self, request: Request) -> Reply:
        digest = request.digest(self.model)
        while True:
            with self._lock:
                others = self._under_way.get(digest)
                if others is None:
                    ours: Future[Reply | None] = Future()
                    self._under_way[digest] = ours
                    break
            # shield: if this caller is cancelled, the call goes on for the others that wait for it
            reply = await asyncio.shield(asyncio.wrap_future(others))
            if reply is not None:
                return reply.from_cache()
            # None: whoever made the call was cancelled or stopped; this caller tries itself
        outcome: Reply | VLMError | None = None
        try:
            outcome = await self._stored_or_paid(request, digest)
            return outcome
        except VLMError as error:
            outcome = error
            raise
        finally:
            with self._lock:
                del self._under_way[digest]
            if isinstance(outcome, VLMError):
                ours.set_exception(outcome)
            else:
                ours.set_result(outcome)

    async def _stored_or_paid(self, request: Request, digest: str) -> Reply:
        num_foreign_rows = self._budget.num_foreign_rows
        if (stored := await self._replies.find(digest)) is not None:
            return stored
        most = await at_hand(self._replies.is_near, self.inner.bound, request)
        spent = most  # of a call that is cancelled nobody knows what it took
        is_entered = False
        try:
            async with self._endpoint_places():
                while not self._budget.start(digest, most):
                    await asyncio.sleep(POLL_SECONDS)
                    if (stored := await self._replies.find(digest)) is not None:
                        return stored
                is_entered = True
                self._entered.add(digest)
                # another process may have kept it between the first look and our entry in the journal
                others_wrote = self._budget.num_foreign_rows != num_foreign_rows
                if others_wrote and (stored := await self._replies.find(digest)) is not None:
                    spent = Spending()
                    return stored
                reply = await self.inner.complete(request)
            # whoever waits for the place asks before this reply is kept: the endpoint stays busy
            await asyncio.sleep(0)
            segments = request.segment_digests()
            await at_hand(self._replies.is_near, self._replies.write, digest, reply, segments)
            spent = Spending.of(reply)
            return reply
        except VLMError:
            spent = Spending(calls=1)
            raise
        finally:
            if is_entered:
                self._entered.discard(digest)
                self._budget.settle(digest, spent)

    def _endpoint_places(self) -> asyncio.Semaphore:
        """Places at the endpoint. A semaphore belongs to one event loop."""
        return self._places.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(self.inner.max_in_flight))
