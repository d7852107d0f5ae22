"""The losses of sentence-transformers on embeddings that are there already: the peer of the loss benchmarks."""

import torch
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
)
from torch import Tensor

WEIGHT_BY_DIM = ((2048, 1.0), (1024, 1.0), (512, 0.2), (256, 0.2))
"""Table 3 of the Nyx paper."""

TEMPERATURE = 0.02
"""Appendix A of the Nyx paper."""


class Given(torch.nn.Sequential):
    """A model whose output is its input."""

    def __init__(self) -> None:
        super().__init__(torch.nn.Identity())  # the cached loss looks at its first module

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return dict(features)

    def get_embedding_dimension(self) -> int:
        return WEIGHT_BY_DIM[0][0]


def plain_gradients(query_BD: Tensor, candidate_BD: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of MatryoshkaLoss over MultipleNegativesRankingLoss by queries and candidates."""
    query, candidate = (one.detach().requires_grad_() for one in (query_BD, candidate_BD))
    model = Given()
    dims, weights = zip(*WEIGHT_BY_DIM, strict=True)
    loss = MatryoshkaLoss(model, MultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE), dims, weights)
    loss([{"sentence_embedding": query}, {"sentence_embedding": candidate}], None).backward()
    return query.grad, candidate.grad


def cached_gradients(query_BD: Tensor, candidate_BD: Tensor, *, mini_batch_size: int) -> tuple[Tensor, Tensor]:
    """The same of its cached loss, without the encoder: what it does between its two passes through the model."""
    model = Given()
    dims, weights = zip(*WEIGHT_BY_DIM, strict=True)
    inner = CachedMultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE, mini_batch_size=mini_batch_size)
    MatryoshkaLoss(model, inner, dims, weights)
    parts = [
        [one.detach().requires_grad_() for one in side.split(mini_batch_size)] for side in (query_BD, candidate_BD)
    ]
    inner.calculate_loss(parts, None, with_backward=True)
    queries, candidates = (torch.cat([one.grad for one in side]) for side in parts)
    return queries, candidates
