"""Products that add up in place equal those in float64, by either library and whatever the strides."""

import pytest
import torch

from training_kernels import products
from training_kernels.products import add_product, onednn_is_faster


@pytest.mark.parametrize("by_onednn", [False, True])
@pytest.mark.parametrize("shape", [(700, 96, 40), (40, 96, 700), (40, 700, 96)], ids=["tall", "wide", "deep"])
@pytest.mark.parametrize("base", ["none", "itself", "another"])
def test_a_product_equals_that_in_float64(monkeypatch, by_onednn, shape, base):
    if by_onednn and not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this torch has no oneDNN")
    monkeypatch.setattr(products, "onednn_is_faster", lambda: by_onednn)
    monkeypatch.setattr(products, "MIN_MULTIPLICATIONS", 0)
    monkeypatch.setattr(products, "TILE_BYTES", 64 * 4 * 100)
    num_rows, width, num_columns = shape
    generator = torch.Generator().manual_seed(0)

    def drawn(rows: int, columns: int) -> torch.Tensor:
        return torch.randn(rows, columns + 5, generator=generator)[:, 2 : columns + 2]

    for left in (drawn(num_rows, width), drawn(width, num_rows).T):
        for right in (drawn(width, num_columns), drawn(num_columns, width).T):
            out, other = drawn(num_rows, num_columns), drawn(num_rows, num_columns)
            base_NM = {"none": None, "itself": out, "another": other}[base]
            expected = left.double() @ right.double() + (0.0 if base_NM is None else base_NM.double())
            add_product(out, left, right, base_NM=base_NM)
            torch.testing.assert_close(out.double(), expected, atol=2e-4, rtol=0)


def test_the_choice_of_library_is_made_once_and_can_be_asked():
    assert onednn_is_faster() is onednn_is_faster()
