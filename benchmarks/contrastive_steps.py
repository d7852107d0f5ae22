"""One training step of either side on the same weights and pairs, and whether their gradients are equal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from peft import LoraConfig, inject_adapter_in_model
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss, MatryoshkaLoss
from sentence_transformers.util import batch_to_device

from benchmarks.vlm_peer import CPU, MadePictures, open_ours, open_peer, peer_inputs
from training_kernels.backbones.qwen2_5_vl import Qwen25VLBackbone
from training_kernels.config import LossConfig
from training_kernels.documents import Document
from training_kernels.encoder import Encoder
from training_kernels.examples import Example, ExampleSet
from training_kernels.objective import ContrastiveObjective
from training_kernels.recipes import tiny

LOSS = LossConfig(temperature=0.02, weight_by_dim=((256, 1.0), (128, 1.0), (64, 0.2), (32, 0.2)))
"""The paper's weights and temperature at the toy's width."""

LEARNING_RATE = 1e-5

LORA_RANK, LORA_ALPHA = 8, 64
"""Appendix A of the Nyx paper. Its dropout of 0.1 is left out: the sides would drop different parts."""

MIN_COSINE = 0.99
"""Of all gradients of the two sides in bfloat16. Choice: measured 0.99997 at 36 layers of width 256; other weights, pairs or
pooling give far less."""

MAX_DIFFERENCE = 1e-4
"""Of a weight's gradient, as a share of its greatest entry. float32 sums of other orders differ by some 1e-5 of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Queries and the documents that answer them, row by row."""

    queries: Sequence[Document]
    candidates: Sequence[Document]
    pictures: MadePictures


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where and in what precision both sides work, and for which loss."""

    loss: LossConfig = LOSS
    dtype: torch.dtype = torch.float32
    device: torch.device = field(default=CPU)


TOY = Setting()


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


def adapt(model: torch.nn.Module) -> None:
    """LoRA on the language model, drawn from a seed so that both sides have the same; all else frozen.

    Adapters are float32 under a backbone of any precision, as the trainer's are.
    """
    torch.manual_seed(1)
    lora = LoraConfig(
        r=LORA_RANK,
        lora_alpha=LORA_ALPHA,
        lora_dropout=0.0,
        target_modules=Qwen25VLBackbone.lora_targets,
        init_lora_weights=False,
    )
    inject_adapter_in_model(lora, model)
    for name, weight in model.named_parameters():
        weight.requires_grad_("lora_" in name)
        if "lora_" in name:
            weight.data = 0.1 * weight.data.float()  # random adapters at full strength drown the backbone


def our_side(
    folder: Path,
    pairs: Pairs,
    *,
    token_budget: int,
    prepare: Callable[[torch.nn.Module], None],
    setting: Setting = TOY,
) -> Side:
    """GradCache by token budget."""
    encoder = open_ours(folder, dims=setting.loss.dims, dtype=setting.dtype, device=setting.device)
    prepare(encoder.backbone.model)
    objective, batch = _objective(encoder, pairs, setting.loss, token_budget=token_budget)

    def backward() -> float:
        encoder.forget_pictures()  # each step reads its pictures, as the peer does
        return objective.backward(batch).loss

    return Side(encoder.backbone.model, backward, _optimizer(encoder.backbone.model))


def their_side(
    folder: Path,
    pairs: Pairs,
    *,
    mini_batch: int,
    prepare: Callable[[torch.nn.Module], None],
    setting: Setting = TOY,
) -> Side:
    """The library's cached loss by documents."""
    loss = setting.loss
    peer: SentenceTransformer = open_peer(folder, width=loss.dims[0], dtype=setting.dtype, device=setting.device)
    peer.train()
    model = peer[0].model
    prepare(model)
    cached = CachedMultipleNegativesRankingLoss(peer, scale=1 / loss.temperature, mini_batch_size=mini_batch)
    dims, weights = zip(*loss.weight_by_dim, strict=True)
    loss_of = MatryoshkaLoss(peer, cached, list(dims), list(weights))
    columns = [peer_inputs(documents, pairs.pictures) for documents in (pairs.queries, pairs.candidates)]

    def backward() -> float:
        features = [batch_to_device(peer.preprocess(column), setting.device) for column in columns]
        value = loss_of(features, None)
        value.backward()
        return value.item()

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


def require_like_gradients(ours: Side, theirs: Side) -> float:
    """The cosine of all gradients of either side, for precisions in which single ones need not be equal.

    Raises AssertionError below MIN_COSINE, or where the sides give gradients to different weights.
    """
    our_gradients, their_gradients = ours.gradients(), theirs.gradients()
    if our_gradients.keys() != their_gradients.keys():
        raise AssertionError(f"gradients differ in names: {sorted(our_gradients.keys() ^ their_gradients.keys())[:5]}")
    product, ours_square, theirs_square = (
        sum(float((left[name].float() * right[name].float()).sum(dtype=torch.float64)) for name in left)
        for left, right in (
            (our_gradients, their_gradients),
            (our_gradients, our_gradients),
            (their_gradients, their_gradients),
        )
    )
    cosine = product / (ours_square * theirs_square) ** 0.5
    if not cosine >= MIN_COSINE:
        raise AssertionError(f"the gradients' cosine is {cosine:.3f}, below {MIN_COSINE}; nothing was timed")
    return cosine


def _objective(
    encoder: Encoder, pairs: Pairs, loss: LossConfig, *, token_budget: int
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
        loss=loss,
        batch_size=len(examples),
        token_budget=token_budget,
        activations="recomputed",
    )
    return ContrastiveObjective(encoder, ExampleSet(documents, examples), pairs.pictures, config), examples


def _optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    return torch.optim.AdamW(learning, lr=LEARNING_RATE, fused=True)
