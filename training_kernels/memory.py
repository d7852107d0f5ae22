"""What to say, and to lower, when a batch or the weights do not fit the device."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from training_kernels.collate import TokenSequence
from training_kernels.config import LoraTuning, TrainConfig
from training_kernels.device import device_name, peak_memory_bytes, total_memory_bytes
from training_kernels.errors import OutOfMemory

NO_MEMORY = re.compile(
    r"can't allocate memory|not enough memory|bad_alloc|cannot allocate memory"  # torch's CPU allocator and libraries
    r"|out of memory"  # CUDA itself, and NCCL when CUDA refuses it
    r"|CU\w+_STATUS_ALLOC_FAILED",  # cuBLAS, cuDNN, cuSOLVER
    re.IGNORECASE,
)
"""What a RuntimeError says when memory could not be had."""

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Pass:
    """What goes through the backbone at once."""

    num_documents: int
    num_tokens: int
    """With padding."""

    @classmethod
    def of(cls, sequences: Sequence[TokenSequence]) -> "Pass":
        """Of these together."""
        return cls(len(sequences), len(sequences) * max(map(len, sequences)))

    def __str__(self) -> str:
        return f"{self.num_documents:,} document{'s' if self.num_documents > 1 else ''}, {self.num_tokens:,} tokens with padding"


@contextmanager
def step_errors_explained(
    config: TrainConfig,
    device: torch.device,
    *,
    step: int,
    num_documents: int,
    last_pass: Callable[[], Pass | None],
    state: str,
) -> Iterator[None]:
    """Turns a failed allocation into OutOfMemory, which states the batch and the pass that failed, device memory and the
    setting to lower.

    Args:
        num_documents: queries and candidates of the step's batch, at most.
        last_pass: what went through the backbone last; None for what is no pass.
        state: what became of the training state.
    """
    try:
        yield
    except OutOfMemory:
        raise  # explained where it was met
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        seen = last_pass()
        of_pass = f", the last pass of {seen}" if seen else ""
        raise OutOfMemory(
            f"step {step + 1} does not fit {_device_now(device)}: a batch of {config.batch_size} queries, up to "
            f"{num_documents} documents{of_pass} (token_budget {config.token_budget:,}, inputs.max_tokens "
            f"{config.inputs.max_tokens:,}), activations {config.activations}. {_advice(config, seen)} {state} "
            f"{_said(error)}"
        ) from error


@contextmanager
def weights_errors_explained(what: str, device: torch.device, *, advice: str) -> Iterator[None]:
    """Turns a failed allocation into OutOfMemory, where weights are put on the device or moved there."""
    try:
        yield
    except OutOfMemory:
        raise
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(f"{what} does not fit {_device_now(device)}. {advice} {_said(error)}") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had, on a GPU or a CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(NO_MEMORY.search(str(error)))


def _advice(config: TrainConfig, seen: Pass | None) -> str:
    is_lora = isinstance(config.tuning, LoraTuning)
    if seen is None:
        smaller = "a lower tuning.rank" if is_lora else "tuning=LoraTuning(...)"
        return f"It is no pass that failed, but the optimizer, which keeps two numbers a weight that learns: take {smaller}."
    if config.activations == "kept":
        return (
            "Set activations=recomputed, which needs the memory of one pass only and gives the same gradient; then, if "
            "need be, lower token_budget."
        )
    if config.kept_tokens > seen.num_tokens:
        return (
            f"Set kept_tokens (now {config.kept_tokens:,}) to 0: it has the activations of several passes kept; the "
            "gradient stays the same."
        )
    if seen.num_documents > 1:
        return f"Lower token_budget, to {seen.num_tokens // 2:,} say; the gradient stays the same."
    other = "" if is_lora else ", or use LoraTuning"
    return (
        f"The pass was one document by now: lower inputs.max_tokens below its {seen.num_tokens:,} tokens, or "
        f"inputs.max_pixels, which changes what is learned{other}."
    )


def _device_now(device: torch.device) -> str:
    return (
        f"{device_name(device)}, which has {total_memory_bytes(device) / GIB:.1f} GiB (the most that this process has used "
        f"so far is {peak_memory_bytes(device) / GIB:.1f} GiB)"
    )


def _said(error: BaseException) -> str:
    return f"The allocator said: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
