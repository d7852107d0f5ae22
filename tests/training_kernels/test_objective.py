"""The gradient of a batch is that of its loss, whether activations are kept or recomputed."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from training_kernels.checkpoint import load_for_training
from training_kernels.config import LoraTuning
from training_kernels.documents import Document, Segment
from training_kernels.encoder import Encoder
from training_kernels.examples import Example, ExampleSet
from training_kernels.objective import ContrastiveObjective
from training_kernels.recipes import tiny


def example(name: str, query: str, positive: str, *negatives: str) -> Example:
    return Example(example_id=name, query=query, positive=positive, negatives=negatives, source="made")


TRAINING = ExampleSet(
    {
        "q1": Document.of("which moon has volcanoes"),
        "q2": Document.of(Segment(image="x"), "what is this"),
        "q3": Document.of("how long to steam an egg"),
        "io": Document.of("Io has volcanoes " * 12),
        "moons": Document.of("of all the moons Io has the most volcanoes"),
        "map": Document.of("a map of the south", Segment(image="y")),
        "egg": Document.of("steam the egg for ten minutes"),
        "tea": Document.of("tea"),
    },
    (
        example("e1", "q1", "io", "tea", "egg"),
        example("e2", "q2", "map", "moons"),
        example("e3", "q3", "egg", "tea", "map"),
        example("e4", "q1", "moons"),
    ),
)
BATCH = TRAINING.examples[:3]


@pytest.fixture
def objective(tiny_folder, pictures):
    """An objective of a changed recipe on fresh weights, in training mode."""

    def build(**changes) -> ContrastiveObjective:
        config = replace(tiny(), token_budget=64, **changes)
        backbone = load_for_training(tiny_folder, config, device=torch.device("cpu"))
        backbone.model.train()
        encoder = Encoder(backbone, config.inputs, dims=config.loss.dims)
        return ContrastiveObjective(encoder, TRAINING, pictures, config)

    return build


def gradients(objective: ContrastiveObjective) -> dict[str, torch.Tensor]:
    model = objective.encoder.backbone.model
    return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


def test_the_loss_is_that_of_the_whole_batch_without_what_answers_a_query_too(objective, pictures):
    kept = objective(activations="kept")
    got = kept.backward(BATCH)
    encoder, config = kept.encoder, kept.config
    queries = [TRAINING.documents[one.query] for one in BATCH]
    candidates = [TRAINING.documents[one] for one in ("io", "map", "egg", "tea", "moons")]
    encoder.backbone.model.train()
    with torch.no_grad():
        query_BD = encoder.embed(encoder.render(queries, pictures, side="query"))
        candidate_CD = encoder.embed(encoder.render(candidates, pictures, side="candidate"))
    expected = 0.0
    for dim, weight in config.loss.weight_by_dim:
        logits_BC = F.normalize(query_BD[:, :dim], dim=1) @ F.normalize(candidate_CD[:, :dim], dim=1).T
        logits_BC[0, 4] = -torch.inf  # "moons" answers q1 as well, by example e4
        expected += weight * F.cross_entropy(logits_BC / config.loss.temperature, torch.tensor([0, 1, 2])).item()
    assert got.loss == pytest.approx(expected, rel=1e-4)
    assert list(got.loss_by_dim) == list(config.loss.dims)
    assert sum(dict(config.loss.weight_by_dim)[dim] * loss for dim, loss in got.loss_by_dim.items()) == pytest.approx(
        got.loss, rel=1e-5
    )


def test_an_own_negative_is_held_against_its_query_alone_and_once(objective, pictures):
    kept = objective(activations="kept", loss=replace(tiny().loss, hard_negatives="own"), negatives_per_query=2)
    got = kept.backward(BATCH)
    encoder, config = kept.encoder, kept.config
    candidates = ["io", "map", "egg", "tea", "moons"]  # "egg" and "map" are positives as well
    seen_BC = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 0, 1], [1, 1, 1, 1, 0]]).bool()
    with torch.no_grad():
        queries = [TRAINING.documents[one.query] for one in BATCH]
        query_BD = encoder.embed(encoder.render(queries, pictures, side="query"))
        documents = [TRAINING.documents[one] for one in candidates]
        candidate_CD = encoder.embed(encoder.render(documents, pictures, side="candidate"))
    expected = 0.0
    for dim, weight in config.loss.weight_by_dim:
        logits_BC = F.normalize(query_BD[:, :dim], dim=1) @ F.normalize(candidate_CD[:, :dim], dim=1).T
        logits_BC = (logits_BC / config.loss.temperature).masked_fill(~seen_BC, -torch.inf)
        expected += weight * F.cross_entropy(logits_BC, torch.tensor([0, 1, 2])).item()
    assert got.loss == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("hard_negatives", ["shared", "own"])
def test_recomputed_gradients_equal_kept_ones(objective, hard_negatives):
    loss = replace(tiny().loss, hard_negatives=hard_negatives, false_negatives=("near_duplicate",), ignored_margin=0.1)
    kept, recomputed = objective(activations="kept", loss=loss), objective(activations="recomputed", loss=loss)
    assert kept.backward(BATCH) == recomputed.backward(BATCH)
    expected = gradients(kept)
    assert gradients(recomputed).keys() == expected.keys()
    assert any("visual" in name for name in expected)
    for name, gradient in gradients(recomputed).items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-5 * expected[name].abs().max().item(), rtol=1e-4)


def test_recomputing_sees_the_same_dropout(objective):
    tuning = LoraTuning(rank=4, alpha=8, dropout=0.5)
    results = []
    for activations in ("kept", "recomputed"):
        torch.manual_seed(7)
        adapted = objective(tuning=tuning, activations=activations)
        torch.manual_seed(11)
        results.append((adapted.backward(BATCH), gradients(adapted), torch.rand(1)))
    (loss_kept, kept, next_kept), (loss_recomputed, recomputed, next_recomputed) = results
    assert loss_kept == loss_recomputed
    assert next_kept == next_recomputed
    assert kept.keys() == recomputed.keys()
    assert any(gradient.abs().max() > 0 for gradient in kept.values())
    for name, gradient in recomputed.items():
        torch.testing.assert_close(gradient, kept[name], atol=1e-6, rtol=1e-4)
