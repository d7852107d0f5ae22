"""Matrix products that add up in place, by whichever library multiplies fastest on the processor at hand.

Torch multiplies float32 on CPU by MKL, which gives AVX2 kernels to processors that are not Intel's, at half the rate that
AVX-512 would have (measured: 80 against 140 GFLOP/s on an AMD EPYC). Torch brings oneDNN as well, which looks at the
instruction set instead of the maker; its products want dense operands, so they are copied tile by tile.
"""

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

TILE_BYTES = 2**22
"""Choice: measured among 0.5, 2 and 8 MiB; smaller tiles are a fifth slower, larger ones only take more memory."""

MIN_MULTIPLICATIONS = 2**22
"""Choice: below it the calls cost more than the faster kernel saves."""


def add_product(out_NM: Tensor, left_NK: Tensor, right_KM: Tensor, *, base_NM: Tensor | None) -> None:
    """Writes base + left @ right, or the product alone, into out; base may be out itself."""
    num_rows, width = left_NK.shape
    is_large = num_rows * width * right_KM.shape[1] >= MIN_MULTIPLICATIONS
    if is_large and out_NM.device.type == "cpu" and out_NM.dtype == torch.float32 and onednn_is_faster():
        _add_product_by_onednn(out_NM, left_NK, right_KM, base_NM)
    elif base_NM is None:
        torch.mm(left_NK, right_KM, out=out_NM)
    elif base_NM is out_NM:
        out_NM.addmm_(left_NK, right_KM)
    else:
        torch.addmm(base_NM, left_NK, right_KM, out=out_NM)


@lru_cache(maxsize=1)
def onednn_is_faster() -> bool:
    """Whether torch multiplies by MKL here, on a processor with AVX-512 that MKL does not give it to."""
    cpuinfo = Path("/proc/cpuinfo")
    return (
        torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and cpuinfo.is_file()
        and "GenuineIntel" not in cpuinfo.read_text()
    )


def _add_product_by_onednn(out_NM: Tensor, left_NK: Tensor, right_KM: Tensor, base_NM: Tensor | None) -> None:
    """Cuts the longest of the three sides into tiles, so that copies and results stay small and near."""
    num_rows, width = left_NK.shape
    num_columns = right_KM.shape[1]
    longest = max(num_rows, width, num_columns)
    if longest == width:
        if base_NM is None:
            out_NM.zero_()
        elif base_NM is not out_NM:
            out_NM.copy_(base_NM)
        for tile in _tiles(width, num_columns):
            out_NM += _product(left_NK[:, tile], right_KM[tile])
        return
    by_rows = longest == num_rows
    fixed = _dense(right_KM) if by_rows else left_NK.contiguous()
    for tile in _tiles(longest, width):
        place = (tile, slice(None)) if by_rows else (slice(None), tile)
        product = _product(left_NK[tile], fixed) if by_rows else _product(fixed, right_KM[:, tile])
        if base_NM is None:
            out_NM[place] = product
        else:
            torch.add(base_NM[place], product, out=out_NM[place])


def _tiles(length: int, other_length: int) -> list[slice]:
    step = max(64, TILE_BYTES // (4 * other_length))
    return [slice(start, start + step) for start in range(0, length, step)]


def _product(left_NK: Tensor, right_KM: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(left_NK, _dense(right_KM).T, None, "none", [], "")


def _dense(matrix: Tensor) -> Tensor:
    """The same matrix without gaps between its rows, or between its columns if those are its runs in memory."""
    return matrix.contiguous() if matrix.stride(-1) == 1 else matrix.T.contiguous().T
