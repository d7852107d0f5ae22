"""The ledger: one row for each VLM call, so that anybody can ask what a table cost and which model saw which page."""

import json
import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Lock
from typing import Any

import fsspec

from resources.file_work import is_near
from resources.vlm import VLM, Reply, Request
from training_kernels.errors import VLMError

PROCESS_START_NS = time.time_ns()
"""Part of the ledger file's name: process ids come again, a pair of process id and start does not."""

_WRITING = Lock()


class Ledger:
    """Rows in `<root>/<host>-<process>.jsonl`, under one asset and partition.

    Row: time (ISO 8601, UTC), asset, partition, model, request_digest, input_tokens, output_tokens, cost_usd (0 for a
    cached reply: it was paid before), latency_seconds, finish_reason, is_cached, is_stand_in, and error (why the
    call was refused; null otherwise). A file is appended to by one process only, a whole line in one write, so a
    process that is killed leaves whole lines.
    """

    def __init__(self, root: str, *, asset: str, partition: str | None, clock: Callable[[], float] = time.time) -> None:
        self.asset = asset
        self.partition = partition
        self._clock = clock
        self._fs, self._base = fsspec.core.url_to_fs(str(root))
        self._fs.makedirs(self._base, exist_ok=True)
        self._is_near = is_near(self._fs)

    def enter(self, reply: Reply, seconds: float) -> None:
        """A call that was answered; `seconds` is what a cached reply took to find."""
        self._append(
            {
                "model": reply.model,
                "request_digest": reply.request_digest,
                "input_tokens": reply.input_tokens,
                "output_tokens": reply.output_tokens,
                "cost_usd": 0.0 if reply.is_cached else reply.cost_usd,
                "latency_seconds": round(seconds if reply.is_cached else reply.latency_seconds, 6),
                "finish_reason": reply.finish_reason,
                "is_cached": reply.is_cached,
                "is_stand_in": reply.is_stand_in,
                "error": None,
            }
        )

    def enter_refusal(self, vlm: VLM, request: Request, error: str, seconds: float) -> None:
        """A call that was refused after `seconds`."""
        self._append(
            {
                "model": vlm.model,
                "request_digest": request.digest(vlm.model),
                "input_tokens": 0,
                "output_tokens": 0,
                "cost_usd": 0.0,
                "latency_seconds": round(seconds, 6),
                "finish_reason": "refused",
                "is_cached": False,
                "is_stand_in": vlm.is_stand_in,
                "error": error,
            }
        )

    def _append(self, row: dict[str, Any]) -> None:
        moment = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")
        heading = {"time": moment, "asset": self.asset, "partition": self.partition}
        path = f"{self._base}/{socket.gethostname()}-{os.getpid()}-{PROCESS_START_NS:x}.jsonl"
        line = json.dumps(heading | row, ensure_ascii=True).encode() + b"\n"
        with _WRITING, open(path, "ab", buffering=0) if self._is_near else self._fs.open(path, "ab") as file:
            file.write(line)


class MeteredVLM:
    """Another VLM whose every call leaves a row in the ledger. Wrap the cache, not the other way round: hits are rows too."""

    def __init__(
        self,
        inner: VLM,
        ledger_root: str,
        *,
        asset: str,
        partition: str | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.inner = inner
        self._ledger = Ledger(ledger_root, asset=asset, partition=partition, clock=clock)

    @property
    def model(self) -> str:
        return self.inner.model

    @property
    def is_stand_in(self) -> bool:
        return self.inner.is_stand_in

    @property
    def max_in_flight(self) -> int:
        return self.inner.max_in_flight

    async def complete(self, request: Request) -> Reply:
        began = time.perf_counter()
        try:
            reply = await self.inner.complete(request)
        except VLMError as error:
            self._ledger.enter_refusal(self, request, str(error), time.perf_counter() - began)
            raise
        self._ledger.enter(reply, time.perf_counter() - began)
        return reply
