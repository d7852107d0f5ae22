"""The curve of a run: said every few seconds, kept for the report, and written to TensorBoard's event files."""

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from training_kernels.objective import BatchLoss

LOG_EVERY_SECONDS = 5.0


class Progress:
    """Takes in steps and dev scores, and says how far the run is."""

    def __init__(
        self,
        num_steps: int,
        *,
        temperature: float,
        curves: Path,
        is_writer: bool,
        log: Callable[[str], None],
        state: dict[str, Any],
    ) -> None:
        """`state`: what `to_state` gave in the run that this one goes on from; empty for a new one."""
        self.num_steps, self.temperature, self.log = num_steps, temperature, log
        self.curve: list[dict[str, Any]] = list(state.get("curve", []))
        self.dev: list[dict[str, Any]] = list(state.get("dev", []))
        self.num_tokens, self.num_queries = state.get("num_tokens", 0), state.get("num_queries", 0)
        self.earlier_seconds: float = state.get("seconds", 0.0)
        self.events = EventFile(curves, first_step=len(self.curve) + 1) if is_writer else None
        self.started = self.last_log = time.perf_counter()
        self._first_step, self._first_tokens, self._first_queries = len(self.curve), self.num_tokens, self.num_queries

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.events is not None:
            self.events.close()

    @property
    def seconds(self) -> float:
        """Time that the run has taken, in all its processes one after the other."""
        return self.earlier_seconds + time.perf_counter() - self.started

    def add_step(self, batch_loss: BatchLoss, *, queries: int, rate: float, norm: float, memory_bytes: int) -> None:
        """Takes in one step that is done."""
        self.num_tokens += batch_loss.num_tokens
        self.num_queries += queries
        now = time.perf_counter()
        here = now - self.started
        point = {
            "step": len(self.curve) + 1,
            "loss": batch_loss.loss,
            "loss_by_dim": {str(dim): loss for dim, loss in batch_loss.loss_by_dim.items()},
            "learning_rate": rate,
            "gradient_norm": norm,
            "temperature": self.temperature,
            "queries_per_second": (self.num_queries - self._first_queries) / here,
            "tokens_per_second": (self.num_tokens - self._first_tokens) / here,
            "memory_bytes": memory_bytes,
        }
        self.curve.append(point)
        if self.events is not None:
            self.events.add(point)
        if now - self.last_log >= LOG_EVERY_SECONDS or len(self.curve) == self.num_steps:
            self.last_log = now
            done = len(self.curve)
            left = here / (done - self._first_step) * (self.num_steps - done)
            dims = " ".join(f"{dim}:{loss:.3f}" for dim, loss in point["loss_by_dim"].items())
            self.log(
                f"step {done}/{self.num_steps}  loss {batch_loss.loss:.3f} ({dims})  gradient norm {norm:.2f}  "
                f"rate {rate:.2g}  {point['queries_per_second']:,.1f} queries/s  {point['tokens_per_second']:,.0f} tokens/s  "
                f"{memory_bytes / 2**20:,.0f} MiB  {left:.0f} s left"
            )

    def add_dev(self, scores: dict[str, float], *, is_best: bool) -> None:
        """Takes in one dev score."""
        point = {"step": len(self.curve), **scores}
        self.dev.append(point)
        if self.events is not None:
            self.events.add(point, prefix="dev/")
        best = "  the best so far" if is_best else ""
        self.log(f"step {len(self.curve)}/{self.num_steps}  dev nDCG@10 {scores['ndcg@10']:.3f}{best}")

    def to_state(self) -> dict[str, Any]:
        """What a run needs that goes on from here."""
        return {
            "curve": self.curve,
            "dev": self.dev,
            "num_tokens": self.num_tokens,
            "num_queries": self.num_queries,
            "seconds": self.seconds,
        }

    def summary(self) -> dict[str, Any]:
        """First and last loss, tokens, rates, time, and the whole curve."""
        return {
            "steps": len(self.curve),
            "first_loss": self.curve[0]["loss"],
            "last_loss": self.curve[-1]["loss"],
            "tokens": self.num_tokens,
            "tokens_per_second": self.num_tokens / self.seconds,
            "queries_per_second": self.num_queries / self.seconds,
            "peak_memory_bytes": max(point["memory_bytes"] for point in self.curve),
            "seconds": self.seconds,
            "dev": self.dev,
            "curve": self.curve,
        }


class EventFile:
    """TensorBoard's files of one run, by TensorBoard's own writer."""

    def __init__(self, folder: Path, *, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # points that a killed process wrote after its last state are struck out
        self._writer = SummaryWriter(str(folder), purge_step=first_step)

    def add(self, point: dict[str, Any], *, prefix: str = "") -> None:
        """One point of every curve; nested ones become `name/key`."""
        for name, value in point.items():
            if isinstance(value, dict):
                self.add({"step": point["step"], **value}, prefix=f"{prefix}{name}/")
            elif name != "step":
                self._writer.add_scalar(f"{prefix}{name}", value, point["step"])

    def close(self) -> None:
        self._writer.close()
