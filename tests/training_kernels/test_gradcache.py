"""Two passes give the gradient of one, hold a bounded number of tokens and bytes, and read a frozen tower's pictures once."""

from dataclasses import replace

import pytest
import torch

from training_kernels import gradcache
from training_kernels.checkpoint import load_for_training
from training_kernels.collate import batches_by_tokens
from training_kernels.config import LoraTuning
from training_kernels.documents import Document, Segment
from training_kernels.encoder import Encoder
from training_kernels.gradcache import backward_keeping, backward_recomputing
from training_kernels.picture_features import SharedFeatures
from training_kernels.recipes import tiny

LORA = LoraTuning(rank=4, alpha=8, dropout=0.3)

DOCUMENTS = [
    Document.of("a volcano"),
    Document.of(Segment(image="x"), "a map of the south"),
    Document.of(Segment(image="y"), Segment(image="x"), "two maps"),
    Document.of("steam the egg for ten minutes " * 6),
    Document.of("tea"),
    Document.of(Segment(image="x")),
]


class Watched:
    """An encoder on fresh weights that notes the size of each forward pass and each picture read."""

    def __init__(self, folder, pictures, documents=DOCUMENTS, **changes) -> None:
        torch.manual_seed(3)
        config = replace(tiny(), **changes)
        backbone = load_for_training(folder, config, device=torch.device("cpu"))
        backbone.model.train()
        self.encoder = Encoder(backbone, config.inputs, dims=config.loss.dims)
        self.sequences = self.encoder.render(documents, pictures, side="candidate")
        self.batches: list[tuple[int, bool]] = []
        self.num_pictures_read = 0
        last_hidden_states, vision_features = backbone.last_hidden_states, backbone.vision_features

        def noting_states(sequences, features):
            self.batches.append((len(sequences) * max(map(len, sequences)), torch.is_grad_enabled()))
            return last_hidden_states(sequences, features)

        def noting_pictures(pixels):
            self.num_pictures_read += len(pixels)
            return vision_features(pixels)

        backbone.last_hidden_states, backbone.vision_features = noting_states, noting_pictures

    def gradients(self, backward, token_budget=64, features_bytes=10**9, **options):
        groups = batches_by_tokens([len(one) for one in self.sequences], token_budget=token_budget)
        torch.manual_seed(5)
        loss, _ = backward(self.encoder, self.sequences, groups, loss_of, features_bytes=features_bytes, **options)
        weights = self.encoder.backbone.model.named_parameters()
        return loss, {name: weight.grad for name, weight in weights if weight.grad is not None}, torch.rand(1)


def loss_of(embedding_ND):
    """Not symmetric in its rows, so that a row out of place changes it."""
    weight_N = torch.arange(1.0, len(embedding_ND) + 1)
    similarity_NN = embedding_ND @ embedding_ND.T
    loss = (weight_N[:, None] * similarity_NN.exp()).sum() + (weight_N * embedding_ND[:, 0]).sum()
    return loss, loss.detach()[None]


class Weighed(SharedFeatures):
    """Shared features that note the most bytes that they had on the device, by what the tensors there keep alive."""

    most_bytes = 0
    num_brought_back = 0

    def keep(self, made):
        super().keep(made)
        storages = {one.untyped_storage().data_ptr(): one.untyped_storage() for one in self.on_device.values()}
        self.most_bytes = max(self.most_bytes, sum(one.nbytes() for one in storages.values()))

    def of(self, pictures):
        found = super().of(pictures)
        self.num_brought_back += sum(picture not in self.on_device for picture in found)
        return found


@pytest.fixture
def weighed(monkeypatch):
    """The shared features of every batch since, in order."""
    made = []

    def noting(*, max_bytes):
        made.append(Weighed(max_bytes=max_bytes))
        return made[-1]

    monkeypatch.setattr(gradcache, "SharedFeatures", noting)
    return made


@pytest.fixture
def watched(tiny_folder, pictures):
    return lambda **changes: Watched(tiny_folder, pictures, **changes)


@pytest.mark.parametrize("changes", [{}, {"tuning": LORA}], ids=["full", "lora with dropout"])
@pytest.mark.parametrize("kept_tokens", [0, 150, 10_000])
def test_two_passes_give_the_gradient_of_one(watched, changes, kept_tokens):
    loss, expected, next_random = watched(**changes).gradients(backward_keeping)
    got_loss, got, got_next = watched(**changes).gradients(backward_recomputing, kept_tokens=kept_tokens)
    assert got_loss == loss
    assert got_next == next_random
    assert got.keys() == expected.keys()
    for name, gradient in got.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-5 * expected[name].abs().max().item(), rtol=1e-4)


def test_graphs_are_held_for_the_largest_group_alone_or_for_as_many_tokens_as_allowed(watched):
    plain = watched()
    plain.gradients(backward_recomputing)
    with_graph = [tokens for tokens, has_graph in plain.batches if has_graph]
    without = [tokens for tokens, has_graph in plain.batches if not has_graph]
    kept = with_graph[: len(with_graph) - len(without)]
    assert without
    assert sum(kept) <= max(without)
    assert sorted(with_graph) == sorted(without + kept)

    roomy = watched()
    roomy.gradients(backward_recomputing, kept_tokens=10_000)
    assert all(has_graph for _, has_graph in roomy.batches)


def test_a_batch_that_fits_the_budget_takes_one_pass(watched):
    small = watched()
    small.gradients(backward_recomputing, token_budget=10_000)
    assert [has_graph for _, has_graph in small.batches] == [True]


def test_a_frozen_tower_reads_each_picture_of_a_batch_once(watched):
    frozen, learning = watched(tuning=LORA), watched()
    frozen.gradients(backward_recomputing)
    learning.gradients(backward_recomputing)
    assert frozen.num_pictures_read == 2
    assert learning.num_pictures_read > 2
    assert not frozen.encoder.backbone.vision_features([])


def test_pictures_are_decoded_group_by_group(watched, pictures):
    opened = []

    class Sized:
        def open(self, digest):
            opened.append(digest)
            return pictures.open(digest)

        def size(self, digest):
            width, height = pictures.open(digest).size
            return height, width

    lazy = watched(tuning=LORA)
    lazy.encoder.forget_pictures()
    lazy.sequences = lazy.encoder.render(DOCUMENTS, Sized(), side="candidate")
    assert opened == []
    lazy.gradients(backward_recomputing)
    assert sorted(opened) == ["x", "y"]


def test_features_on_the_device_stay_under_their_limit_however_large_the_batch_and_gradients_are_the_same(
    watched, weighed
):
    limit = 20_000
    for num_documents in (5, 20, 80):
        documents = [Document.of(Segment(image=f"p{number}"), "a map") for number in range(num_documents)]
        lora = {"documents": documents, "tuning": LORA}
        loss, expected, _ = watched(**lora).gradients(backward_recomputing)
        got_loss, got, _ = watched(**lora).gradients(backward_recomputing, features_bytes=limit)
        all_held, few_held = weighed[-2:]
        assert all_held.most_bytes == sum(features.nbytes for features in all_held.on_device.values())
        assert few_held.most_bytes == few_held.device_bytes <= limit
        assert (len(few_held.on_device) + len(few_held.on_host), len(all_held.on_host)) == (num_documents, 0)
        assert got_loss == loss
        assert got.keys() == expected.keys()
        assert all(torch.equal(gradient, expected[name]) for name, gradient in got.items())
    assert all_held.most_bytes > 5 * limit
    assert few_held.num_brought_back > 50


def test_features_come_back_with_the_bits_that_they_had():
    first, second, third = torch.rand(6, 4)[:3], torch.rand(3, 4, dtype=torch.bfloat16), torch.rand(4, 4)
    features = SharedFeatures(max_bytes=80)
    features.keep({"first": first, "second": second})
    features.keep({"third": third})
    assert list(features.on_device) == ["first", "second"]
    assert features.device_bytes == first.nbytes + second.nbytes == 72
    found = features.of(["third", "first", "third", "unknown"])
    assert list(found) == ["third", "first"]
    assert torch.equal(found["first"], first)
    assert torch.equal(found["third"], third)
