"""Where kernels run, and in what precision: chosen once, the same everywhere."""

import torch

from training_kernels.config import Precision


def pick_device() -> torch.device:
    """The first CUDA device, or the CPU."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def pick_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """bfloat16 where it is asked for and the device computes in it; float32 otherwise, and always on a CPU."""
    if precision == "bfloat16" and device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32
