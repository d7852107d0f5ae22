"""Linear layers in float32 by oneDNN where the processor is not Intel's.

torch multiplies float32 matrices by Intel's MKL, which runs other makers' processors below their width: on an AMD EPYC
with AVX-512 oneDNN, which torch holds as well, does the same product in about half the time. Results differ by
rounding alone.

Shape letters: M rows, I inputs, O outputs.
"""

from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

MIN_PRODUCTS = 2**21
"""Multiplications below which the call costs more than it saves. Choice: measured."""


def use_fast_linears(model: nn.Module) -> None:
    """Has the linear layers of the model, and its patch embedding, computed by oneDNN from now on, if that is faster.

    Names, weights and gradients stay what they are.
    """
    if not _is_faster():
        return
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = _OneDnnLinear
        elif type(module) is nn.Conv3d and module.stride == module.kernel_size:
            module.__class__ = _OneDnnPatches


class _OneDnnLinear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return _linear(input, self.weight, self.bias)


class _OneDnnPatches(nn.Conv3d):
    """A convolution over patches that do not overlap is a linear layer on each patch."""

    def forward(self, input: Tensor) -> Tensor:
        if input.shape[2:] != self.kernel_size:
            return super().forward(input)
        output_MO = _linear(input.flatten(1), self.weight.flatten(1), self.bias)
        return output_MO[:, :, None, None, None]


def _linear(input: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    is_ours = input.device.type == "cpu" and input.dtype == weight_OI.dtype == torch.float32
    if not is_ours or input.numel() * len(weight_OI) < MIN_PRODUCTS:
        return F.linear(input, weight_OI, bias_O)
    return _Linear.apply(input, weight_OI, bias_O)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
        ctx.save_for_backward(input, weight_OI)
        return _product(input, weight_OI, bias_O)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        input, weight_OI = ctx.saved_tensors
        wants_input, wants_weight, wants_bias = ctx.needs_input_grad
        gradient_MO = gradient.flatten(0, -2)
        return (
            _product(gradient, weight_OI.T, None) if wants_input else None,
            _product(gradient_MO.T, input.flatten(0, -2).T, None) if wants_weight else None,
            gradient_MO.sum(0) if wants_bias else None,
        )


def _product(input: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(input, weight_OI, bias_O, "none", [], "")


@cache
def _is_faster() -> bool:
    """Decided by the maker of the processor, not by a stopwatch: equal runs on a machine must give equal weights."""
    cpuinfo = Path("/proc/cpuinfo")
    maker = cpuinfo.read_text(encoding="utf-8") if cpuinfo.is_file() else ""
    return torch.backends.mkldnn.is_available() and "AuthenticAMD" in maker
