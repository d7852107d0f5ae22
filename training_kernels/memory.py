"""What to say, and to lower, when a batch does not fit the device."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from training_kernels.config import TrainConfig
from training_kernels.device import device_name, peak_memory_bytes, total_memory_bytes
from training_kernels.errors import OutOfMemory

CPU_ALLOCATOR_SAYS = ("can't allocate memory", "not enough memory", "bad_alloc", "Cannot allocate memory")
"""What a RuntimeError says when torch's CPU allocator or one of its libraries got no memory."""


@contextmanager
def memory_errors_explained(
    config: TrainConfig, device: torch.device, *, step: int, num_documents: int, state: str
) -> Iterator[None]:
    """Turns a failed allocation into OutOfMemory, which states tokens, batch, device memory and the setting to lower.

    Args:
        num_documents: queries and candidates of the step's batch.
        state: what became of the training state.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if not is_out_of_memory(error):
            raise
        gib = 2**30
        raise OutOfMemory(
            f"step {step + 1} does not fit {device_name(device)}, which has {total_memory_bytes(device) / gib:.1f} GiB "
            f"(the most used so far is {peak_memory_bytes(device) / gib:.1f} GiB): a batch of {config.batch_size} queries, "
            f"up to {num_documents} documents of at most {config.inputs.max_tokens:,} tokens each, in passes of "
            f"{config.token_budget:,} tokens, activations {config.activations}. {_advice(config)} {state} "
            f"The allocator said: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had, on a GPU or a CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in CPU_ALLOCATOR_SAYS)


def _advice(config: TrainConfig) -> str:
    if config.activations == "kept":
        return (
            "Set activations=recomputed, which needs the memory of one pass only and gives the same gradient; then, if "
            "need be, lower token_budget."
        )
    if config.token_budget > config.inputs.max_tokens:
        return f"Lower token_budget, to {config.token_budget // 2:,} say; the gradient stays the same."
    return (
        "A pass is one document by now: lower inputs.max_tokens or inputs.max_pixels, which changes what is learned, or "
        "use LoraTuning."
    )
