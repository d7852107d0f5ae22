"""Where kernels run, in what precision, and with how much memory: chosen once, the same everywhere."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from training_kernels.config import Precision
from training_kernels.errors import ConfigError

CUBLAS_SETTING = "CUBLAS_WORKSPACE_CONFIG"
"""Set where the package is imported (training_kernels/__init__.py)."""


def pick_device() -> torch.device:
    """The CUDA device of this process's place on the machine (LOCAL_RANK, set by torchrun), or the CPU.

    Raises ConfigError where NYX_DEVICE=cuda and there is none: what was given a GPU is not to compute for days without.
    """
    if not torch.cuda.is_available():
        if os.environ.get("NYX_DEVICE") == "cuda":
            built = f"is built for CUDA {torch.version.cuda}" if torch.version.cuda else "is built without CUDA"
            raise ConfigError(
                f"NYX_DEVICE=cuda, and there is no CUDA device here: torch {torch.__version__} {built}; give this process a "
                "GPU and a torch with CUDA (on Kubernetes the image …-gpu, deploy/steps.yaml), or unset NYX_DEVICE"
            )
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", _place)))


_place = 0


def use_device(place: int) -> None:
    """Has this process compute on the CUDA device of that number, unless torchrun gave it a place."""
    global _place
    _place = place
    torch.cuda.set_device(place)  # for libraries that take the current one


def pick_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """bfloat16 where it is asked for and the device computes in it; float32 otherwise, and always on a CPU."""
    if precision == "bfloat16" and device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32


def device_name(device: torch.device) -> str:
    """What the device is, e.g. "cpu" or "cuda:0 (NVIDIA H200)"."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory that this process has held on the device; on a CPU, its resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def total_memory_bytes(device: torch.device) -> int:
    """What the device has; on a CPU, what this process may take: the machine's memory or the process's limit."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return machine if limit == resource.RLIM_INFINITY else min(machine, limit)


@contextmanager
def repeatable(device: torch.device, *, is_asked: bool) -> Iterator[None]:
    """On a GPU, only kernels that give the same bits every time; a CPU with fixed threads does anyway.

    Merely to warn would not do: attention then takes its faster backward, which adds up in any order.

    Raises ConfigError where a kernel has no such form.
    """
    if device.type != "cuda" or not is_asked:
        yield
        return
    was = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        raise ConfigError(
            f"a step cannot be repeated bit for bit on {device_name(device)}: {str(error).splitlines()[0]} "
            f"{_how_to_repeat(str(error))}set is_repeatable=false to train without; a run that is stopped then goes on "
            "with the same data, but not with the same bits"
        ) from error
    finally:
        torch.use_deterministic_algorithms(was)


def _how_to_repeat(said: str) -> str:
    """What to do that repeats the step all the same, if anything does."""
    if CUBLAS_SETTING not in said:
        return "For this one there is no such kernel: "
    now = os.environ.get(CUBLAS_SETTING)
    return (
        f"Start this process with {CUBLAS_SETTING}=:4096:8 or :16:8 in its environment (now {now!r}; it counts from the "
        "first use of the GPU on), or "
    )
