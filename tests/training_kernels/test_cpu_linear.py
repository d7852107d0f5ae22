"""The products of oneDNN are those of torch, forward and backward, for every layer that is handed to it."""

import pytest
import torch
from torch import nn

from training_kernels.backbones import cpu_linear
from training_kernels.backbones.cpu_linear import use_fast_linears


@pytest.fixture
def always(monkeypatch):
    """On any processor, and for products of any size."""
    monkeypatch.setattr(cpu_linear, "_is_faster", lambda: True)
    monkeypatch.setattr(cpu_linear, "MIN_PRODUCTS", 0)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(48, 32), (5, 7, 48)),
        (nn.Linear(48, 32, bias=False), (70, 48)),
        (nn.Conv3d(3, 16, (2, 14, 14), stride=(2, 14, 14), bias=False), (9, 3, 2, 14, 14)),
        (nn.Conv3d(3, 16, (2, 14, 14), stride=(2, 14, 14)), (2, 3, 2, 28, 14)),
    ],
    ids=["tokens", "no bias", "patches", "patches side by side"],
)
def test_outputs_and_gradients_are_those_of_torch(always, layer, shape):
    model = nn.Sequential(layer)
    names = list(model.state_dict())
    results = []
    for _ in range(2):
        input = torch.randn(*shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
        output = model(input)
        model.zero_grad()
        (output * torch.arange(float(output.numel())).view_as(output)).sum().backward()
        results.append([output, input.grad, *(weight.grad.clone() for weight in model.parameters())])
        use_fast_linears(model)
    assert type(layer).__name__.startswith("_OneDnn")
    assert list(model.state_dict()) == names
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-5 * expected.abs().max().item(), rtol=1e-5)


def test_frozen_weights_get_no_gradient_and_what_depends_on_them_does(always):
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))
    use_fast_linears(model)
    model[1].requires_grad_(False)
    model(torch.randn(3, 8)).sum().backward()
    assert model[1].weight.grad is None
    assert model[0].weight.grad.abs().sum() > 0


def test_other_precisions_and_other_processors_are_left_to_torch(monkeypatch):
    monkeypatch.setattr(cpu_linear, "MIN_PRODUCTS", 0)
    monkeypatch.setattr(cpu_linear, "_is_faster", lambda: False)
    model = nn.Sequential(nn.Linear(8, 8))
    use_fast_linears(model)
    assert type(model[0]) is nn.Linear
    monkeypatch.setattr(cpu_linear, "_is_faster", lambda: True)
    use_fast_linears(model)
    input = torch.randn(3, 8, dtype=torch.float64)
    assert torch.equal(model.double()(input), nn.functional.linear(input, model[0].weight, model[0].bias))
