"""The courier: makes a worker's VLM calls in a session of its own, so that killing the worker loses no reply.

`python -m resources.vlm_courier_process <note>`, started by vlm_courier.py only. Standard input is the control socket:
the order comes over it, and then one more socket for each event loop that asks. While the worker lives, its requests
are looked up, entered in the journal, asked, kept and entered in the ledger here. When the worker dies, nothing more is
asked; what is under way is finished, kept and entered, and the courier ends. If the courier itself is killed, the calls
that it had under way, at most as many as the endpoint takes at once, may be paid again; the journal names them.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

from resources.vlm import Reply
from resources.vlm_cached import CachedVLM, PaidVLM
from resources.vlm_courier_notes import finishing_line
from resources.vlm_courier_wire import MAX_LINE_BYTES, Ask, Order, line_of, receive_order
from resources.vlm_embeddings import EmbeddingsVLM, TextLists
from resources.vlm_folders import budget_in, ledger_in, replies_in
from resources.vlm_ledger import MeteredVLM
from resources.vlm_openai import OpenAIVLM
from training_kernels.errors import CourierFailed, NyxError
from training_kernels.images import PictureFolder

logger = logging.getLogger(__name__)

GRACE_SECONDS = 5.0
"""Beyond the endpoint's time-out, for what follows an answer: it is kept, entered and settled."""

IDLE_SECONDS = 3.0
"""After as long without a call, what the host booked of the caps and did not spend goes back to the others. Choice: calls
come in rows without such a pause, and to book anew takes half a second."""


class Courier:
    """The calls of one worker."""

    def __init__(self, order: Order, *, worker: int) -> None:
        self._order = order
        self._worker = worker
        self._paid = paid_vlm(order)
        self._budget = budget_in(order.vlm_root, order.caps, store=order.replies_root)
        self._cached = CachedVLM(self._paid, replies_in(order.replies_root), self._budget)
        self._metered: dict[tuple[str, str | None], MeteredVLM] = {}
        self._calls: dict[asyncio.Task[None], str] = {}
        """Calls that have not come to an end, each with its request's digest."""
        self._num_asked = 0
        self._lines: set[asyncio.Task[None]] = set()
        self._worker_has_gone = asyncio.Event()

    async def serve(self, control: socket.socket) -> None:
        """Until the worker has gone and what was under way by then is finished."""
        loop = asyncio.get_running_loop()
        control.setblocking(False)
        loop.add_reader(control, self._accept, control)
        loop.add_signal_handler(signal.SIGTERM, self._worker_has_gone.set)
        giving_back = asyncio.create_task(self._give_back_when_idle())
        with _watched(self._worker, self._worker_has_gone):
            await self._worker_has_gone.wait()
        giving_back.cancel()
        loop.remove_reader(control)
        await self._finish()
        self._budget.give_back()

    async def _give_back_when_idle(self) -> None:
        """Between steps that ask, a run may train for hours; what is booked meanwhile is missing elsewhere."""
        seen = given_back = 0
        while True:
            await asyncio.sleep(IDLE_SECONDS)
            is_idle = not self._calls and self._num_asked == seen
            if is_idle and seen != given_back:
                self._budget.give_back()
                given_back = seen
            seen = self._num_asked

    def _accept(self, control: socket.socket) -> None:
        """One more event loop of the worker, or the news that the worker has gone."""
        try:
            said, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        except BlockingIOError:
            return
        except ConnectionError:
            said, descriptors = b"", []
        if not said:
            self._worker_has_gone.set()
        for descriptor in descriptors:
            line = asyncio.create_task(self._serve_line(socket.socket(fileno=descriptor)))
            self._lines.add(line)
            line.add_done_callback(self._lines.discard)

    async def _serve_line(self, end: socket.socket) -> None:
        """The requests of one event loop; when it has ended, its calls that have not gone out yet are dropped."""
        reader, writer = await asyncio.open_unix_connection(sock=end, limit=MAX_LINE_BYTES)
        calls: set[asyncio.Task[None]] = set()
        try:
            while (line := await reader.readline()).endswith(b"\n"):
                ask = Ask.from_line(line)
                call = asyncio.create_task(self._answer(ask, writer))
                self._num_asked += 1
                self._calls[call] = ask.request.digest(self._cached.model)
                calls.add(call)
                call.add_done_callback(calls.discard)
                call.add_done_callback(self._calls.pop)
        except ConnectionError:
            logger.info("a worker's event loop ended without closing its line")
        finally:
            self._drop(calls)
            writer.close()

    async def _answer(self, ask: Ask, writer: asyncio.StreamWriter) -> None:
        outcome: Reply | NyxError
        try:
            outcome = await self._metered_for(ask.asset, ask.partition).complete(ask.request)
        except NyxError as error:
            outcome = error
        except Exception as error:  # noqa: BLE001 - a process boundary: the worker raises it
            outcome = CourierFailed(f"{error!r}\n{traceback.format_exc()}")
        if not writer.is_closing():
            writer.write(line_of(ask.number, outcome))

    def _metered_for(self, asset: str, partition: str | None) -> MeteredVLM:
        key = (asset, partition)
        if key not in self._metered:
            ledger = ledger_in(self._order.vlm_root)
            self._metered[key] = MeteredVLM(self._cached, ledger, asset=asset, partition=partition)
        return self._metered[key]

    def _drop(self, calls: set[asyncio.Task[None]]) -> None:
        for call in list(calls):
            if not self._cached.is_under_way(self._calls[call]):
                call.cancel()

    async def _finish(self) -> None:
        under_way = {call for call, digest in self._calls.items() if self._cached.is_under_way(digest)}
        self._drop(set(self._calls))
        self._paid.stop_retrying()
        if under_way:
            seconds = self._order.endpoint.timeout_seconds + GRACE_SECONDS
            until = time.time() + seconds
            notice = finishing_line(worker=self._worker, under_way=len(under_way), until=until)
            print(notice, file=sys.stderr, flush=True)
            await asyncio.wait(under_way, timeout=seconds)


class _watched:
    """Sets an event when a process has ended, where the system can tell; its sockets tell everywhere else.

    A process that the worker forked may hold the worker's sockets open after the worker's end.
    """

    def __init__(self, process: int, has_ended: asyncio.Event) -> None:
        self._process = process
        self._has_ended = has_ended
        self._descriptor = -1

    def __enter__(self) -> None:
        if os.getppid() != self._process:
            self._has_ended.set()
        elif hasattr(os, "pidfd_open"):
            with suppress(OSError):
                self._descriptor = os.pidfd_open(self._process)
                asyncio.get_running_loop().add_reader(self._descriptor, self._has_ended.set)

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)


def paid_vlm(order: Order) -> PaidVLM:
    """The client of what an order asks for."""
    if order.service == "embeddings":
        lists = TextLists(order.vlm_root, order.endpoint.model, store=order.replies_root)
        return EmbeddingsVLM(order.endpoint, api_key=order.api_key, lists=lists)
    images = PictureFolder(order.images_root)
    return OpenAIVLM(order.endpoint, api_key=order.api_key, images=images)


def main(note: Path) -> None:
    """Serve one worker."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    control = socket.socket(fileno=sys.stdin.fileno())
    try:
        order, worker = receive_order(control)
    except EOFError:
        note.unlink(missing_ok=True)
        return

    async def serve() -> None:
        await Courier(order, worker=worker).serve(control)

    asyncio.run(serve())
    note.unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
