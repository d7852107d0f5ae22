"""Gradients of a loss over a whole batch, in one pass or in two that hold a bounded number of tokens at a time.

Shape letters: N documents of the batch, G documents of one group, D embedding width, L Matryoshka dims.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from training_kernels.collate import TokenSequence, batches_by_tokens
from training_kernels.config import TrainConfig
from training_kernels.distributed import Ranks
from training_kernels.encoder import Encoder
from training_kernels.picture_features import SharedFeatures

Loss = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Embeddings [N, D] to the loss and the losses by dim [L]."""

RandomState = tuple[Tensor, list[Tensor]]
"""Of the CPU, and of every CUDA device."""


ALONE = Ranks(0, 1)


def backward_batch(
    encoder: Encoder, sequences: Sequence[TokenSequence], loss_of: Loss, config: TrainConfig, ranks: Ranks = ALONE
) -> tuple[Tensor, Tensor]:
    """Adds the gradient of the loss over all sequences to the parameters, in groups of the recipe's token budget.

    Returns the loss, without graph, and the losses by dim.
    """
    groups = batches_by_tokens([len(sequence) for sequence in sequences], token_budget=config.token_budget)
    groups = ranks.in_step(groups)
    if config.activations == "kept":
        return backward_keeping(encoder, sequences, groups, loss_of, features_bytes=config.features_bytes)
    return backward_recomputing(
        encoder,
        sequences,
        groups,
        loss_of,
        features_bytes=config.features_bytes,
        kept_tokens=config.kept_tokens,
        ranks=ranks,
    )


def backward_keeping(
    encoder: Encoder,
    sequences: Sequence[TokenSequence],
    groups: Sequence[Sequence[int]],
    loss_of: Loss,
    *,
    features_bytes: int,
) -> tuple[Tensor, Tensor]:
    """One pass: the graph of every group is kept until the loss is known. Memory grows with the batch."""
    features = shared_features(encoder, max_bytes=features_bytes)
    embedding_ND = torch.cat([encoder.embed([sequences[position] for position in group], features) for group in groups])
    loss, loss_L = loss_of(embedding_ND[_places(groups)])
    loss.backward()
    return loss.detach(), loss_L


def backward_recomputing(
    encoder: Encoder,
    sequences: Sequence[TokenSequence],
    groups: Sequence[Sequence[int]],
    loss_of: Loss,
    *,
    features_bytes: int,
    kept_tokens: int = 0,
    ranks: Ranks = ALONE,
) -> tuple[Tensor, Tensor]:
    """Two passes: embeddings without graph, the loss's gradient by embedding, then each group again with its graph.

    The same gradient as in one pass, dropout included, since each group is embedded under the random state it had
    before. Where the vision tower is frozen, it reads each picture of the batch once, for both passes.

    The last groups keep their graph from the first pass as far as it needs no more memory than the largest group, so a
    batch of one group takes one pass.

    Args:
        features_bytes: most bytes of what a frozen tower made of pictures that stay on the device from pass to pass.
        kept_tokens: padded tokens whose graph may be kept, where that is more than the largest group has.

    Source: Gao et al. 2021, arXiv:2101.06983, section 3.
    """
    features = shared_features(encoder, max_bytes=features_bytes)
    num_kept = _num_kept(sequences, groups, kept_tokens)
    if ranks.is_sharding:  # shared-out blocks are gathered in every pass, so all ranks make as many
        num_kept = ranks.least(num_kept)
    recomputed, kept = groups[: len(groups) - num_kept], groups[len(groups) - num_kept :]
    states, parts = [], []
    with torch.no_grad():
        for group in recomputed:
            states.append(_random_state())
            parts.append(encoder.embed([sequences[position] for position in group], features))
    live = [encoder.embed([sequences[position] for position in group], features) for group in kept]
    state_after = _random_state()
    grouped_ND = torch.cat([*parts, *(part.detach() for part in live)]).requires_grad_()
    loss, loss_L = loss_of(grouped_ND[_places(groups)])
    (gradient_ND,) = torch.autograd.grad(loss, grouped_ND)
    gradients = gradient_ND.split([len(group) for group in groups])
    while live:  # their graphs make room before the others are built again
        live.pop().backward(gradients[len(recomputed) + len(live)])
    for group, state, gradient_GD in zip(recomputed, states, gradients, strict=False):
        _set_random_state(state)
        encoder.embed([sequences[position] for position in group], features).backward(gradient_GD)
    _set_random_state(state_after)
    return loss.detach(), loss_L


def shared_features(encoder: Encoder, *, max_bytes: int) -> SharedFeatures | None:
    """A place for what a frozen vision tower makes of the batch's pictures; None for a tower that learns."""
    return SharedFeatures(max_bytes=max_bytes) if encoder.has_frozen_vision else None


def _num_kept(sequences: Sequence[TokenSequence], groups: Sequence[Sequence[int]], kept_tokens: int) -> int:
    """How many of the last groups fit together in `kept_tokens`, or in the room of the largest group."""
    padded = [len(group) * max(len(sequences[position]) for position in group) for group in groups]
    room = max(kept_tokens, *padded)
    num_kept = 0
    while num_kept < len(groups) and padded[-1 - num_kept] <= room:
        room -= padded[-1 - num_kept]
        num_kept += 1
    return num_kept


def _places(groups: Sequence[Sequence[int]]) -> Tensor:
    """Where each document of the batch stands after the groups are put end to end."""
    return torch.tensor([position for group in groups for position in group]).argsort()


def _random_state() -> RandomState:
    return torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []


def _set_random_state(state: RandomState) -> None:
    cpu, cuda = state
    torch.set_rng_state(cpu)
    if cuda:
        torch.cuda.set_rng_state_all(cuda)
