"""What training minimises: for each query of a batch, picking its positive among all candidates of the batch.

Shape letters: B queries, C candidates, N documents of both sides, D embedding width, L Matryoshka dims.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from training_kernels.collate import batches_by_tokens
from training_kernels.config import TrainConfig
from training_kernels.encoder import Encoder
from training_kernels.examples import Example, ExampleSet
from training_kernels.gradcache import backward_keeping, backward_recomputing
from training_kernels.images import PictureSource
from training_kernels.losses import matryoshka_info_nce


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
    """Matryoshka InfoNCE over the positives and hard negatives of the whole batch."""

    def __init__(self, encoder: Encoder, training: ExampleSet, pictures: PictureSource, config: TrainConfig) -> None:
        self.encoder, self.training, self.pictures, self.config = encoder, training, pictures, config
        self._positives_by_query: dict[str, set[str]] = {}
        for example in training.examples:
            self._positives_by_query.setdefault(example.query, set()).add(example.positive)

    def backward(self, batch: Sequence[Example]) -> BatchLoss:
        candidates = candidate_ids(batch, negatives_per_query=self.config.negatives_per_query)
        positive_B, ignored_BC = self._answers(batch, candidates)
        queries = [self.training.documents[example.query] for example in batch]
        sequences = [
            *self.encoder.render(queries, self.pictures, side="query"),
            *self.encoder.render([self.training.documents[i] for i in candidates], self.pictures, side="candidate"),
        ]

        def loss_of(embedding_ND: Tensor) -> tuple[Tensor, Tensor]:
            device = embedding_ND.device
            return matryoshka_info_nce(
                embedding_ND[: len(batch)],
                embedding_ND[len(batch) :],
                positive_B.to(device),
                temperature=self.config.loss.temperature,
                weight_by_dim=self.config.loss.weight_by_dim,
                ignored_BC=ignored_BC.to(device),
            )

        groups = batches_by_tokens([len(sequence) for sequence in sequences], token_budget=self.config.token_budget)
        through = backward_keeping if self.config.activations == "kept" else backward_recomputing
        loss, loss_L = through(self.encoder, sequences, groups, loss_of)
        by_dim = dict(zip(self.config.loss.dims, loss_L.tolist(), strict=True))
        return BatchLoss(float(loss), by_dim, sum(len(sequence) for sequence in sequences))

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
