"""What training minimises: for each query of a batch, picking its positive among all candidates of the batch.

Shape letters: B queries, C candidates, N documents of both sides, D embedding width, L Matryoshka dims.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from training_kernels.collate import TokenSequence, batches_by_tokens
from training_kernels.config import TrainConfig
from training_kernels.distributed import Ranks
from training_kernels.encoder import Encoder
from training_kernels.examples import Example, ExampleSet
from training_kernels.images import PictureSource
from training_kernels.losses import matryoshka_info_nce

Loss = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Embeddings [N, D] to the loss and the losses by dim [L]."""


@dataclass(frozen=True, slots=True)
class BatchLoss:
    """What one batch came to."""

    loss: float
    """Weighted sum over dims, nats."""
    loss_by_dim: dict[int, float]
    num_tokens: int
    """Tokens that the backbone read, visual ones included, padding not."""


class Objective(Protocol):
    """What the trainer knows of the learning task."""

    def backward(self, batch: Sequence[Example]) -> BatchLoss:
        """Adds the gradient of the batch's loss to the parameters."""
        ...


class ContrastiveObjective:
    """Matryoshka InfoNCE over the positives and hard negatives of the whole batch.

    Every rank is given the whole batch. It embeds its share of queries and candidates, then holds its queries against
    the candidates of all ranks; gradients of the ranks add up to those of one process with the same batch.
    """

    def __init__(
        self,
        encoder: Encoder,
        training: ExampleSet,
        pictures: PictureSource,
        config: TrainConfig,
        ranks: Ranks | None = None,
    ) -> None:
        self.encoder, self.training, self.pictures, self.config = encoder, training, pictures, config
        self.ranks = ranks or Ranks(0, 1)
        self._positives_by_query: dict[str, set[str]] = {}
        for example in training.examples:
            self._positives_by_query.setdefault(example.query, set()).add(example.positive)

    def backward(self, batch: Sequence[Example]) -> BatchLoss:
        candidates = candidate_ids(batch, negatives_per_query=self.config.negatives_per_query)
        rank, num_ranks = self.ranks.rank, self.ranks.num_ranks
        counts = [len(share_of(len(candidates), one, num_ranks)) for one in range(num_ranks)]
        own = [batch[row] for row in share_of(len(batch), rank, num_ranks)]
        mine = [candidates[row] for row in share_of(len(candidates), rank, num_ranks)]
        positive_B, ignored_BC = self._answers(own, candidates)
        queries = [self.training.documents[example.query] for example in own]
        documents = [self.training.documents[candidate] for candidate in mine]
        sequences = self.ranks.filled(
            [
                *self.encoder.render(queries, self.pictures, side="query"),
                *self.encoder.render(documents, self.pictures, side="candidate"),
            ]
        )

        def loss_of(embedding_ND: Tensor) -> tuple[Tensor, Tensor]:
            device = embedding_ND.device
            candidate_CD = self.ranks.gathered(embedding_ND[len(own) : len(own) + len(mine)], counts)
            loss, loss_L = matryoshka_info_nce(
                embedding_ND[: len(own)],
                candidate_CD,
                positive_B.to(device),
                temperature=self.config.loss.temperature,
                weight_by_dim=self.config.loss.weight_by_dim,
                ignored_BC=ignored_BC.to(device),
            )
            part = len(own) / len(batch)
            return loss * part, loss_L * part

        groups = batches_by_tokens([len(sequence) for sequence in sequences], token_budget=self.config.token_budget)
        through = backward_keeping if self.config.activations == "kept" else backward_recomputing
        loss, loss_L = through(self.encoder, sequences, self.ranks.in_step(groups), loss_of)
        num_tokens = loss_L.new_tensor([sum(len(sequence) for sequence in sequences)], dtype=torch.float64)
        total, *by_dim, tokens = self.ranks.summed(
            torch.cat([loss[None].double(), loss_L.double(), num_tokens])
        ).tolist()
        return BatchLoss(total, dict(zip(self.config.loss.dims, by_dim, strict=True)), round(tokens))

    def _answers(self, batch: Sequence[Example], candidates: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Row of each query's positive among the candidates, and which candidates answer a query as well."""
        row_by_id = {candidate: row for row, candidate in enumerate(candidates)}
        positive_B = torch.tensor([row_by_id[example.positive] for example in batch])
        ignored_BC = torch.zeros(len(batch), len(candidates), dtype=torch.bool)
        for row_C, example in zip(ignored_BC, batch, strict=True):
            for answer in {*self._positives_by_query[example.query], example.query}:
                if answer in row_by_id:
                    row_C[row_by_id[answer]] = True
        return positive_B, ignored_BC


def candidate_ids(batch: Sequence[Example], *, negatives_per_query: int) -> list[str]:
    """Positives, then hard negatives, each document once however many examples name it."""
    positives = [example.positive for example in batch]
    negatives = [negative for example in batch for negative in example.negatives[:negatives_per_query]]
    return list(dict.fromkeys(positives + negatives))


def share_of(num_rows: int, rank: int, num_ranks: int) -> range:
    """The rows of a rank: consecutive, and at most one more than any other rank has."""
    return range(num_rows * rank // num_ranks, num_rows * (rank + 1) // num_ranks)


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
