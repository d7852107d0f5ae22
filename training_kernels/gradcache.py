"""Gradients of a loss over a whole batch, in one pass or in two that hold one group of documents at a time.

Shape letters: N documents of the batch, G documents of one group, D embedding width, L Matryoshka dims.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from training_kernels.collate import TokenSequence
from training_kernels.encoder import Encoder

Loss = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Embeddings [N, D] to the loss and the losses by dim [L]."""


def backward_keeping(
    encoder: Encoder, sequences: Sequence[TokenSequence], groups: Sequence[Sequence[int]], loss_of: Loss
) -> tuple[Tensor, Tensor]:
    """One pass: the graph of every group is kept until the loss is known. Memory grows with the batch."""
    embedding_ND = torch.cat([encoder.embed([sequences[position] for position in group]) for group in groups])
    loss, loss_L = loss_of(embedding_ND[_places(groups)])
    loss.backward()
    return loss.detach(), loss_L


def backward_recomputing(
    encoder: Encoder, sequences: Sequence[TokenSequence], groups: Sequence[Sequence[int]], loss_of: Loss
) -> tuple[Tensor, Tensor]:
    """Two passes: embeddings without graph, the loss's gradient by embedding, then each group again with its graph.

    The same gradient as in one pass, dropout included, since each group is embedded under the random state it had
    before. Memory is that of one group. Source: Gao et al. 2021, arXiv:2101.06983, section 3.
    """
    states, parts = [], []
    with torch.no_grad():
        for group in groups:
            states.append(_random_state())
            parts.append(encoder.embed([sequences[position] for position in group]))
    grouped_ND = torch.cat(parts).requires_grad_()
    loss, loss_L = loss_of(grouped_ND[_places(groups)])
    (gradient_ND,) = torch.autograd.grad(loss, grouped_ND)
    gradients = gradient_ND.split([len(group) for group in groups])
    for group, state, gradient_GD in zip(groups, states, gradients, strict=True):
        _set_random_state(state)
        encoder.embed([sequences[position] for position in group]).backward(gradient_GD)
    return loss.detach(), loss_L


def _places(groups: Sequence[Sequence[int]]) -> Tensor:
    """Where each document of the batch stands after the groups are put end to end."""
    return torch.tensor([position for group in groups for position in group]).argsort()


def _random_state() -> tuple[Tensor, list[Tensor]]:
    return torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []


def _set_random_state(state: tuple[Tensor, list[Tensor]]) -> None:
    cpu, cuda = state
    torch.set_rng_state(cpu)
    if cuda:
        torch.cuda.set_rng_state_all(cuda)
