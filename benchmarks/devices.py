"""Where a benchmark runs: the device that --device names, its clock, its peak memory and its peak arithmetic."""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakArithmetic:
    """What the maker says that dense matrix products reach, in TFLOP/s."""

    bfloat16: float
    """By tensor cores, without sparsity, which data sheets count double."""
    float32: float
    """Without TF32, which torch does not use for products of float32 unless it is told to."""

    def of(self, dtype: torch.dtype) -> float | None:
        """None for a precision that is not on record."""
        return {torch.bfloat16: self.bfloat16, torch.float32: self.float32}.get(dtype)


# Sources: NVIDIA's data sheets of the H200 and the H100 (bfloat16 1,979 and 1,513 with sparsity, so 989.4 and 756 dense),
# and its architecture papers of H100 (table 2) and A100 (table 1).
_HOPPER_SXM = PeakArithmetic(bfloat16=989.4, float32=66.9)
_A100 = PeakArithmetic(bfloat16=312.0, float32=19.5)

PEAK_BY_DEVICE_NAME = {
    "NVIDIA H200": _HOPPER_SXM,
    "NVIDIA H100 80GB HBM3": _HOPPER_SXM,
    "NVIDIA H100 PCIe": PeakArithmetic(bfloat16=756.0, float32=51.2),
    "NVIDIA A100-SXM4-40GB": _A100,
    "NVIDIA A100-SXM4-80GB": _A100,
    "NVIDIA A100-PCIE-40GB": _A100,
    "NVIDIA A100 80GB PCIe": _A100,
}
"""By the name that torch.cuda.get_device_name gives. A device that is not here has no known utilisation."""


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """--device, which parses to a torch.device that is there."""
    parser.add_argument("--device", type=present_device, default=torch.device("cpu"), help="cpu (default) or cuda")


def present_device(name: str) -> torch.device:
    """The device of that name, a GPU with its number. Raises argparse.ArgumentTypeError for one that is not there."""
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or not (number or "0").isdigit() or (kind == "cpu" and number):
        raise argparse.ArgumentTypeError(f"got {name!r}, allowed are cpu, cuda and cuda:NUMBER")
    if kind == "cpu":
        return torch.device("cpu")
    if int(number or 0) >= torch.cuda.device_count():
        raise argparse.ArgumentTypeError(
            f"got {name!r}, but torch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices; run on a machine "
            "with an NVIDIA GPU and a torch built for CUDA, or with --device cpu"
        )
    return torch.device("cuda", int(number or 0))


def wait_for(device: torch.device) -> None:
    """Until the device has done all that it was given; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def wall_seconds(work: Callable[[], object], device: torch.device) -> float:
    """Of one call, from an idle device to an idle device."""
    wait_for(device)
    start = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - start


def extra_gpu_bytes(work: Callable[[], object], device: torch.device) -> int:
    """The most that torch's allocator held during one call above what it held before; of a GPU alone."""
    wait_for(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    wait_for(device)
    return torch.cuda.max_memory_allocated(device) - before


def described(device: torch.device) -> str:
    """A GPU's name, its memory and what drives it; empty for a CPU."""
    if device.type != "cuda":
        return ""
    properties = torch.cuda.get_device_properties(device)
    return (
        f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, torch {torch.__version__}, "
        f"CUDA {torch.version.cuda}"
    )


def utilisation(flops_per_second: float, device: torch.device, dtype: torch.dtype) -> str:
    """Model FLOPs utilisation (arXiv:2204.02311, appendix B): the share of the device's peak, or 'not known'."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    peak = PEAK_BY_DEVICE_NAME[name].of(dtype) if name in PEAK_BY_DEVICE_NAME else None
    return "not known" if peak is None else f"{flops_per_second / (peak * 1e12):.1%}"
