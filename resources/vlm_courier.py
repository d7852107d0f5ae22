"""A VLM whose calls are made by a process of their own, which a killed worker leaves to finish what is under way.

    worker (this module)     looks in the cache, hands the rest on, and waits for replies
    courier (vlm_courier_process.py)    cache, journal, caps, HTTP, ledger; a session of its own

They talk over socket pairs, one for each event loop of the worker, so nothing of them is seen outside.
"""

import asyncio
import itertools
import os
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from resources.vlm import STAND_IN_MODEL, VLM, Reply, Request
from resources.vlm_courier_notes import locked_note, wait_for_finishing
from resources.vlm_courier_wire import MAX_LINE_BYTES, Ask, Order, outcome_of, send_order
from resources.vlm_folders import couriers_in, ledger_in, replies_in
from resources.vlm_ledger import Ledger
from training_kernels.errors import CourierFailed, NyxError

ENDING_SECONDS = 5.0
"""How long a worker that ends waits for its courier to end. Choice: with nothing under way it takes a tenth of a second; a
courier that has something under way finishes alone."""


class CourierVLM:
    """One endpoint behind a courier, which starts with the first request whose reply is not kept yet."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.replies = replies_in(order.replies_root)
        self._courier: _Courier | None = None
        self._starting = threading.Lock()
        self._lines: dict[asyncio.AbstractEventLoop, asyncio.Task[_Line]] = {}

    def __repr__(self) -> str:
        return f"CourierVLM({self.order})"

    @property
    def model(self) -> str:
        return self.order.endpoint.model

    @property
    def is_stand_in(self) -> bool:
        return self.model == STAND_IN_MODEL

    @property
    def max_in_flight(self) -> int:
        """As many as the endpoint takes at once, and as many again that are looked up, prepared or kept meanwhile."""
        return 2 * self.order.endpoint.max_in_flight

    def for_step(self, asset: str, partition: str | None) -> VLM:
        """The VLM, its calls entered in the ledger under this asset and partition."""
        return _StepVLM(self, asset, partition)

    def close(self) -> None:
        """End the courier. It finishes what is under way."""
        with self._starting:
            if self._courier is not None:
                self._courier.end()
                self._courier = None

    async def ask(self, request: Request, asset: str, partition: str | None) -> Reply:
        """The courier's reply. Raises what its call raised, or CourierFailed if the courier was ended."""
        return await (await self._line()).ask(request, asset, partition)

    async def _line(self) -> "_Line":
        loop = asyncio.get_running_loop()
        opening = self._lines.get(loop)
        if opening is None or (opening.done() and (opening.exception() is not None or opening.result().is_broken)):
            opening = self._lines[loop] = loop.create_task(self._open_line(loop))
        return await asyncio.shield(opening)

    async def _open_line(self, loop: asyncio.AbstractEventLoop) -> "_Line":
        ours = await asyncio.to_thread(self._connect)
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=MAX_LINE_BYTES)
        line = _Line(reader, writer)
        line.guard = self._closed_with(loop, writer)
        await anext(line.guard)
        return line

    async def _closed_with(self, loop: asyncio.AbstractEventLoop, writer: asyncio.StreamWriter) -> AsyncIterator[None]:
        """Holds a line open until its event loop ends: asyncio.run closes the asynchronous generators that are left."""
        try:
            yield
        finally:
            self._lines.pop(loop, None)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def _connect(self) -> socket.socket:
        """This end of a new socket to the courier, which is started if there is none."""
        with self._starting:
            courier = self._courier
            if courier is None or not courier.is_ours_and_alive():
                wait_for_finishing(couriers_in(self.order.vlm_root))
                courier = self._courier = _Courier(self.order)
            return courier.connect()


class _StepVLM:
    """A step's way to the courier; replies that are kept are found and entered here."""

    def __init__(self, couriers: CourierVLM, asset: str, partition: str | None) -> None:
        self._couriers = couriers
        self._asset, self._partition = asset, partition
        self._ledger = Ledger(ledger_in(couriers.order.vlm_root), asset=asset, partition=partition)
        self.model = couriers.model
        self.is_stand_in = couriers.is_stand_in
        self.max_in_flight = couriers.max_in_flight

    async def complete(self, request: Request) -> Reply:
        began = time.perf_counter()
        stored = await self._couriers.replies.find(request.digest(self.model))
        if stored is None:
            return await self._couriers.ask(request, self._asset, self._partition)
        self._ledger.enter(stored, time.perf_counter() - began)
        return stored


class _Line:
    """The socket of one event loop, and the requests that wait for an answer over it."""

    guard: AsyncIterator[None]

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._reading = asyncio.create_task(self._read(reader))

    @property
    def is_broken(self) -> bool:
        return self._reading.done()

    async def ask(self, request: Request, asset: str, partition: str | None) -> Reply:
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._writer.write(Ask(number, asset, partition, request).to_line())
            return await answer
        finally:
            del self._waiting[number]

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionError):
            while (line := await reader.readline()).endswith(b"\n"):
                self._hand_over(*outcome_of(line))
        failed = CourierFailed(
            f"the process that makes VLM calls ended with {len(self._waiting)} of them under way; answered requests are "
            "kept, those under way may be paid again (nyx plan counts them): run again"
        )
        for number in list(self._waiting):
            self._hand_over(number, failed)

    def _hand_over(self, number: int, outcome: Reply | NyxError) -> None:
        answer = self._waiting.get(number)
        if answer is None or answer.done():  # who asked was cancelled; the reply is kept
            return
        if isinstance(outcome, Reply):
            answer.set_result(outcome)
        else:
            answer.set_exception(outcome)


class _Courier:
    """A running courier process."""

    def __init__(self, order: Order) -> None:
        self._owner = os.getpid()
        self._control, theirs = socket.socketpair()
        with theirs, locked_note(couriers_in(order.vlm_root)) as note:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "resources.vlm_courier_process", note.name],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=note,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(part for part in import_path() if part)},
                start_new_session=True,
            )
        self._end = weakref.finalize(self, _end, self._control, self._process, self._owner)
        send_order(self._control, order, worker=self._owner)

    def is_ours_and_alive(self) -> bool:
        """False in a process that was forked after the start, and after the courier's end."""
        return self._owner == os.getpid() and self._process.poll() is None

    def connect(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [b"+"], [theirs.fileno()])
        return ours

    def end(self) -> None:
        self._end()


def _end(control: socket.socket, process: "subprocess.Popen[bytes]", owner: int) -> None:
    control.close()
    if owner == os.getpid():
        with suppress(subprocess.TimeoutExpired):
            process.wait(ENDING_SECONDS)


def import_path() -> list[str]:
    """Where this process finds modules, so that a process that it starts finds the same."""
    here = str(Path(__file__).resolve().parents[1])
    return [here, *(entry for entry in sys.path if entry != here)]
