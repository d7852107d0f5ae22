"""A last layer that pools gives the state and the gradients of the whole layer, whatever stands behind the last token."""

import pytest
import torch
from transformers import Qwen2_5_VLModel

from training_kernels.backbones.last_token import pool_in_last_layer
from training_kernels.backbones.tiny import tiny_config


@pytest.mark.parametrize(("num_layers", "num_shared"), [(1, 1), (3, 2)], ids=["one layer", "shared keys"])
def test_the_state_of_the_last_token_and_its_gradients_are_those_of_the_whole_layer(num_layers, num_shared):
    config = tiny_config()
    config.text_config.num_hidden_layers = num_layers
    config.text_config.layer_types = ["full_attention"] * num_layers
    config.text_config.num_key_value_heads //= num_shared
    torch.manual_seed(0)
    model = Qwen2_5_VLModel(config)
    generator = torch.Generator().manual_seed(1)
    token_ids_BT = torch.randint(0, 500, (3, 9), generator=generator)
    position_ids_3BT = torch.randint(0, 9, (3, 3, 9), generator=generator)
    last_B = torch.tensor([8, 0, 4])
    results = []
    for options in ({}, {"last_B": last_B}):
        hidden_BTD = model(
            input_ids=token_ids_BT, position_ids=position_ids_3BT, use_cache=False, **options
        ).last_hidden_state
        last_BD = hidden_BTD[:, 0] if options else hidden_BTD[torch.arange(3), last_B]
        model.zero_grad()
        (last_BD * torch.arange(float(last_BD.numel())).view_as(last_BD)).sum().backward()
        results.append((last_BD, [weight.grad for weight in model.language_model.parameters()]))
        pool_in_last_layer(model)
        assert not options or hidden_BTD.shape[1] == 1
    torch.testing.assert_close(results[1][0], results[0][0], atol=1e-5, rtol=1e-5)
    for expected, got in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(got, expected, atol=1e-5 * expected.abs().max().item(), rtol=1e-4)
