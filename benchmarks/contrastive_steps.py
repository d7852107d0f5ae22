"""One training step of either side on the same weights and pairs, and whether their gradients are equal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss, MatryoshkaLoss

from benchmarks.vlm_peer import MadePictures, open_ours, open_peer, peer_inputs
from training_kernels.config import LossConfig
from training_kernels.documents import Document
from training_kernels.encoder import Encoder
from training_kernels.examples import Example, ExampleSet
from training_kernels.objective import ContrastiveObjective
from training_kernels.recipes import tiny

LOSS = LossConfig(temperature=0.02, weight_by_dim=((256, 1.0), (128, 1.0), (64, 0.2), (32, 0.2)))
"""The paper's weights and temperature at the toy's width."""

LEARNING_RATE = 1e-5

MAX_DIFFERENCE = 1e-4
"""Of a weight's gradient, as a share of its greatest entry. float32 sums of other orders differ by some 1e-5 of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Queries and the documents that answer them, row by row."""

    queries: Sequence[Document]
    candidates: Sequence[Document]
    pictures: MadePictures


@dataclass(slots=True)
class Side:
    """A model that takes training steps."""

    model: torch.nn.Module
    backward: Callable[[], float]
    """Adds the gradient of the batch; returns the loss."""
    optimizer: torch.optim.Optimizer

    def step(self) -> float:
        """One whole step, reading of the documents included; returns the loss before it."""
        self.optimizer.zero_grad()
        loss = self.backward()
        self.optimizer.step()
        return loss

    def gradients(self) -> dict[str, torch.Tensor]:
        """By the weight's name in the backbone, from the weights as they are."""
        self.optimizer.zero_grad()
        self.backward()
        return {name: weight.grad.clone() for name, weight in self.model.named_parameters() if weight.grad is not None}


def our_side(folder: Path, pairs: Pairs, *, token_budget: int, prepare: Callable[[torch.nn.Module], None]) -> Side:
    """GradCache by token budget."""
    encoder = open_ours(folder, dims=LOSS.dims)
    prepare(encoder.backbone.model)
    objective, batch = _objective(encoder, pairs, token_budget=token_budget)

    def backward() -> float:
        encoder.forget_pictures()  # each step reads its pictures, as the peer does
        return objective.backward(batch).loss

    return Side(encoder.backbone.model, backward, _optimizer(encoder.backbone.model))


def their_side(folder: Path, pairs: Pairs, *, mini_batch: int, prepare: Callable[[torch.nn.Module], None]) -> Side:
    """The library's cached loss by documents."""
    peer: SentenceTransformer = open_peer(folder)
    peer.train()
    model = peer[0].model
    prepare(model)
    cached = CachedMultipleNegativesRankingLoss(peer, scale=1 / LOSS.temperature, mini_batch_size=mini_batch)
    dims, weights = zip(*LOSS.weight_by_dim, strict=True)
    loss_of = MatryoshkaLoss(peer, cached, list(dims), list(weights))
    columns = [peer_inputs(documents, pairs.pictures) for documents in (pairs.queries, pairs.candidates)]

    def backward() -> float:
        loss = loss_of([peer.preprocess(column) for column in columns], None)
        loss.backward()
        return loss.item()

    return Side(model, backward, _optimizer(model))


def require_equal_gradients(ours: Side, theirs: Side) -> float:
    """The greatest difference of any weight's gradient, as a share of its greatest entry.

    Raises AssertionError above MAX_DIFFERENCE, or where the sides give gradients to different weights.
    """
    our_gradients, their_gradients = ours.gradients(), theirs.gradients()
    if our_gradients.keys() != their_gradients.keys():
        raise AssertionError(f"gradients differ in names: {sorted(our_gradients.keys() ^ their_gradients.keys())[:5]}")
    floor = max(float(gradient.abs().max()) for gradient in their_gradients.values()) * 1e-6
    differences = {
        name: float((our_gradients[name] - gradient).abs().max()) / max(float(gradient.abs().max()), floor)
        for name, gradient in their_gradients.items()
    }
    worst = max(differences, key=lambda name: differences[name])
    if not differences[worst] <= MAX_DIFFERENCE:
        raise AssertionError(f"the gradient of {worst} differs by {differences[worst]:.1e}; nothing was timed")
    return differences[worst]


def _objective(
    encoder: Encoder, pairs: Pairs, *, token_budget: int
) -> tuple[ContrastiveObjective, tuple[Example, ...]]:
    documents = {f"q{row}": document for row, document in enumerate(pairs.queries)}
    documents |= {f"c{row}": document for row, document in enumerate(pairs.candidates)}
    examples = tuple(
        Example(example_id=str(row), query=f"q{row}", positive=f"c{row}", negatives=(), source="made")
        for row in range(len(pairs.queries))
    )
    encoder.backbone.model.train()
    config = replace(
        tiny(),
        inputs=encoder.inputs,
        loss=LOSS,
        batch_size=len(examples),
        token_budget=token_budget,
        activations="recomputed",
    )
    return ContrastiveObjective(encoder, ExampleSet(documents, examples), pairs.pictures, config), examples


def _optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    return torch.optim.AdamW(learning, lr=LEARNING_RATE, fused=True)
