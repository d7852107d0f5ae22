"""Windows attended to together give what transformers' own tower gives picture by picture, gradients included."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import Qwen2_5_VLModel

from training_kernels.backbones.registry import open_backbone
from training_kernels.backbones.vision_windows import vision_layout

SIZES = ((56, 56), (56, 56), (28, 308), (112, 112), (252, 84), (56, 56), (140, 224))
"""Pixels: whole windows, cut ones on either side, one size thrice but not in a row."""


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]


class Copies(TorchDispatchMode):
    """Sees every copy from one device to another."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[torch.Size] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and args[0].device != result.device:
            self.sent.append(result.shape)
        return result


def gradients(features: torch.Tensor, model: torch.nn.Module) -> dict[str, torch.Tensor]:
    model.zero_grad()
    (features * torch.linspace(-1, 1, features.numel()).view_as(features)).sum().backward()
    return {name: weight.grad.clone() for name, weight in model.visual.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("chosen", [range(7), [0, 1, 5]], ids=["all sizes", "one size"])
def test_features_and_gradients_equal_transformers_own(tiny_folder, pictures, chosen):
    backbone = open_backbone(tiny_folder, dtype=torch.float32, device=torch.device("cpu"))
    plain = Qwen2_5_VLModel.from_pretrained(tiny_folder)
    pictures = [pictures[place] for place in chosen]
    got = backbone.vision_features(pictures)
    patches = torch.cat([backbone.patches(one[None]) for one in pictures])
    grids = torch.tensor([[1, one.shape[0] // 14, one.shape[1] // 14] for one in pictures])
    expected = plain.get_image_features(patches, grids).pooler_output
    assert [len(one) for one in got] == [len(one) for one in expected]
    torch.testing.assert_close(torch.cat(got), torch.cat(expected), atol=1e-5, rtol=0)
    ours, theirs = gradients(torch.cat(got), backbone.model), gradients(torch.cat(expected), plain)
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, atol=1e-4, rtol=1e-4, msg=name)


def test_a_size_that_comes_again_has_the_layout_of_its_first_time():
    from training_kernels.backbones.tiny import tiny_config

    config, device = tiny_config().vision_config, torch.device("cpu")
    layout = vision_layout([(4, 4), (8, 10), (4, 4)], config, device=device)
    assert layout["cu_seqlens"].tolist() == [0, 16, 96, 112]
    assert layout["cu_window_seqlens"].tolist() == [0, 16, 80, 96, 112]
    assert sorted(layout["window_index"].tolist()) == list(range(28))
    assert layout["window_index"][-4:].tolist() == [24, 25, 26, 27]
    assert layout["whole_pictures"].place_P.tolist() == [*range(16), *range(32, 112), *range(16, 32)]
    assert layout["position_ids"][:16].tolist() == layout["position_ids"][-16:].tolist()


@pytest.mark.parametrize("grids", [[(4, 4), (8, 10), (4, 4)], [(8, 8), (8, 8)]], ids=["sizes", "one size"])
def test_no_block_reads_a_value_back_from_the_device_or_sends_it_one(tiny_folder, grids):
    """Reading fails on the meta device, whose tensors hold no values; sending is seen as a copy."""
    backbone = open_backbone(tiny_folder, dtype=torch.float32, device=torch.device("cpu"))
    meta = torch.device("meta")
    tower = backbone.vision.to(meta)
    config = backbone.config.vision_config
    num_patches = sum(height * width for height, width in grids)
    patch_PF = torch.empty(num_patches, 3 * config.temporal_patch_size * config.patch_size**2, device=meta)
    layout = vision_layout(grids, config, device=meta)
    with Copies() as copies:
        features = tower(patch_PF, torch.tensor([(1, *grid) for grid in grids]), **layout).pooler_output
    assert not copies.sent
    assert (features.device, features.shape) == (meta, (num_patches // 4, backbone.dim))


def test_a_tower_called_without_a_layout_gives_the_same(tiny_folder, pictures):
    backbone = open_backbone(tiny_folder, dtype=torch.float32, device=torch.device("cpu"))
    chosen = pictures[:4]
    patches = torch.cat([backbone.patches(one[None]) for one in chosen])
    grids = torch.tensor([[1, one.shape[0] // 14, one.shape[1] // 14] for one in chosen])
    without = backbone.vision(patches, grids).pooler_output
    torch.testing.assert_close(torch.cat(backbone.vision_features(chosen)), without, atol=1e-5, rtol=0)
