"""What every benchmark prints: ours against a named peer on the same work, measured in turns."""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Medians over the rounds; `ratio` is the median of ours / peer within a round, `spread` its least and greatest."""

    name: str
    ours: float
    peer: float
    ratio: float
    spread: tuple[float, float]
    unit: str
    machine: str


def compare_speed(
    name: str,
    *,
    ours: Callable[[], object],
    peer: Callable[[], object],
    amount: float,
    unit: str,
    num_rounds: int = 7,
    seconds_of: Callable[[Callable[[], object]], float] | None = None,
    accelerator: str = "",
) -> Comparison:
    """Both done once to warm up, then in turns, so that a slow minute of the machine falls on both.

    Args:
        amount: units of work that one call of either does; `unit` is per second.
        seconds_of: the clock; by default the wall's, which does not wait for an accelerator.
        accelerator: as in `comparison_of`.
    """
    clock = seconds_of or _seconds
    ours()
    peer()
    speeds = [(amount / clock(ours), amount / clock(peer)) for _ in range(num_rounds)]
    return comparison_of(name, speeds, unit=unit, accelerator=accelerator)


def comparison_of(name: str, rounds: Sequence[tuple[float, float]], *, unit: str, accelerator: str = "") -> Comparison:
    """The comparison that rounds of (ours, peer) give.

    Args:
        accelerator: what the work ran on, where it was not the processor.
    """
    ratios = [ours / peer for ours, peer in rounds]
    return Comparison(
        name=name,
        ours=statistics.median(ours for ours, _ in rounds),
        peer=statistics.median(peer for _, peer in rounds),
        ratio=statistics.median(ratios),
        spread=(min(ratios), max(ratios)),
        unit=unit,
        machine=f"{accelerator}; {machine()}" if accelerator else machine(),
    )


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def machine() -> str:
    """Processor, usable cores and Python, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = models[0] if models else platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{processor}, {cores} cores, {platform.system()}, Python {platform.python_version()}"


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON object a comparison")
    return parser


def print_comparison(comparison: Comparison, *, as_json: bool) -> None:
    """One line for a program, or one for a person."""
    if as_json:
        print(json.dumps(asdict(comparison)))
        return
    low, high = comparison.spread
    print(
        f"{comparison.name}: ours {comparison.ours:,.4g}, peer {comparison.peer:,.4g} {comparison.unit}; "
        f"ratio {comparison.ratio:.2f} ({low:.2f} to {high:.2f}) on {comparison.machine}"
    )
