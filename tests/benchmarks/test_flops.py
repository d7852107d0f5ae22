"""The operations that benchmarks count are those that torch runs."""

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen2_5_VLModel

from benchmarks.contrastive_steps import Pairs, adapt
from benchmarks.flops import Reading, info_nce_flops, step_flops
from benchmarks.loss import made_embeddings, our_gradients
from benchmarks.step import reading_of
from benchmarks.vlm_peer import MadePictures, made_picture, make_weights, open_ours, three_b_config
from training_kernels.documents import Document, Segment


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_weights(tmp_path_factory.mktemp("toy"), seed=0)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """Documents of one length, so that there is no padding, each with a picture of whole and cut windows."""
    pictures = {str(row): made_picture(np.random.default_rng(1), visual_tokens=60) for row in range(4)}
    documents = [Document.of(Segment(image=str(row)), f"{row} moon and river") for row in range(4)]
    return Pairs(queries=documents[:2], candidates=documents[2:], pictures=MadePictures(pictures))


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_a_step_asks_for_what_torch_counts(folder, pairs, tuning):
    # In bfloat16 linear layers are torch's own, and by plain products attention is: FlopCounterMode knows both.
    encoder = open_ours(folder, dtype=torch.bfloat16)
    model = encoder.backbone.model.train()
    if tuning == "lora":
        adapt(model)
    sequences = encoder.render([*pairs.queries, *pairs.candidates], pairs.pictures, side="candidate")
    reading = reading_of(encoder, pairs)
    assert len({len(sequence) for sequence in sequences}) == 1
    assert len(reading.grids) == 4
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):
        encoder.embed(sequences).sum().backward()
    assert step_flops(model, reading) == counter.get_total_flops()


def test_the_loss_asks_for_what_torch_counts():
    def of_sum_in_place(out, left, right, **kwargs) -> int:  # torch's table lacks it
        return 2 * left[0] * left[1] * right[1]

    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: of_sum_in_place})
    query_ND, candidate_ND = made_embeddings(40)
    with counter:
        our_gradients(query_ND, candidate_ND)
    assert counter.get_total_flops() == info_nce_flops(40, 40, 2048)


@pytest.fixture(scope="module")
def three_b() -> Qwen2_5_VLModel:
    with torch.device("meta"):
        return Qwen2_5_VLModel(three_b_config())


def test_the_3b_has_the_published_number_of_weights(three_b):
    assert sum(weight.numel() for weight in three_b.parameters()) == 3_754_622_976


def test_a_lora_step_of_the_3b_takes_four_operations_a_language_weight_and_token_and_two_a_vision_weight(three_b):
    language = sum(weight.numel() for weight in three_b.language_model.layers.parameters())
    vision = sum(weight.numel() for weight in three_b.visual.blocks.parameters())
    adapt(three_b)
    text = step_flops(three_b, Reading(num_tokens=[200] * 10, grids=[]))
    pictured = step_flops(three_b, Reading(num_tokens=[200] * 10, grids=[(24, 24)] * 10))
    assert text == pytest.approx(4 * language * 2000, rel=0.05)
    assert pictured - text == pytest.approx(2 * vision * 10 * 24 * 24, rel=0.12)
