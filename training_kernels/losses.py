"""Matryoshka InfoNCE: every embedding prefix learns to pick a query's positive, all prefixes in one pass.

Shape letters: B queries, P queries of one row panel, C candidates, D embedding width, L Matryoshka dims, S one segment
of the width (the columns between two neighbouring dims).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

PANEL_BYTES = 64 * 2**20
"""Memory for the logits of one row panel. Choice: 256 rows of 16,384 candidates at four dims in float32."""

MAX_PANEL_ROWS = 256
"""Choice: measured best on CPU; taller panels gain nothing, flatter ones re-read the candidates more often."""


def matryoshka_info_nce(
    query_BD: Tensor,
    candidate_CD: Tensor,
    positive_B: Tensor,
    *,
    temperature: float,
    weight_by_dim: tuple[tuple[int, float], ...],
    ignored_BC: Tensor,
) -> tuple[Tensor, Tensor]:
    """The weighted sum of InfoNCE over embedding prefixes, and InfoNCE of each prefix, in nats.

    Each prefix is normalised to unit length, so the inputs need not be. Hard negatives and in-batch negatives are the
    same thing here: rows of candidate_CD.

    Args:
        positive_B: int64, the row of candidate_CD that answers each query.
        weight_by_dim: dims of at most D with their weights, widest first.
        ignored_BC: true where a candidate is no negative of a query (it answers it too); the positive's own entry is
            never ignored, whatever it says.

    Returns:
        The loss, which carries the gradient, and the losses by dim in the order of `weight_by_dim`, which do not.

    Source: Kusupati et al. 2022, arXiv:2205.13147, equation 1, over van den Oord et al. 2018, arXiv:1807.03748,
    equation 4.
    """
    loss, loss_L = _MatryoshkaInfoNCE.apply(query_BD, candidate_CD, positive_B, ignored_BC, temperature, weight_by_dim)
    return loss, loss_L


@dataclass(frozen=True, slots=True)
class _Prefixes:
    """The Matryoshka dims from narrow to wide: segments of the width, and the weight of the prefix that each ends."""

    segments: tuple[slice, ...]
    weights: tuple[float, ...]

    @classmethod
    def of(cls, weight_by_dim: tuple[tuple[int, float], ...]) -> "_Prefixes":
        ordered = sorted(weight_by_dim)
        starts = [0, *(dim for dim, _ in ordered[:-1])]
        segments = tuple(slice(start, dim) for start, (dim, _) in zip(starts, ordered, strict=True))
        return cls(segments, tuple(weight for _, weight in ordered))

    def inverse_norms(self, embedding_ND: Tensor) -> Tensor:
        """1 / length of every prefix of every row, [L, N]."""
        squares_LN = torch.stack([embedding_ND[:, segment].square().sum(1) for segment in self.segments]).cumsum(0)
        return squares_LN.clamp_min(torch.finfo(embedding_ND.dtype).tiny).rsqrt()


class _MatryoshkaInfoNCE(torch.autograd.Function):
    """Loss and gradient in one sweep over row panels: three matrix products of width D, no B x C matrix kept.

    Prefix dot products accumulate from segment to segment, so all dims cost one product; going back, the gradients of
    all prefixes that contain a segment are summed first, so all dims cost one product again. Norms enter as scales of
    rows and columns, and their gradient needs only row and column sums of (gradient x logit).
    """

    @staticmethod
    def forward(
        ctx: Any,
        query_BD: Tensor,
        candidate_CD: Tensor,
        positive_B: Tensor,
        ignored_BC: Tensor,
        temperature: float,
        weight_by_dim: tuple[tuple[int, float], ...],
    ) -> tuple[Tensor, Tensor]:
        sweep = _Sweep(query_BD, candidate_CD, temperature, _Prefixes.of(weight_by_dim))
        rows = panel_rows(len(candidate_CD), len(weight_by_dim), query_BD.element_size())
        for start in range(0, len(query_BD), rows):
            panel = slice(start, start + rows)
            sweep.add_panel(panel, positive_B[panel], ignored_BC[panel])
        sweep.add_candidate_norms()
        ctx.save_for_backward(sweep.query_gradient_BD, sweep.candidate_gradient_CD)
        loss_L = sweep.loss_L
        weight_L = torch.tensor(sweep.prefixes.weights, dtype=loss_L.dtype, device=loss_L.device)
        loss = (weight_L * loss_L).sum().to(query_BD.dtype)
        by_dim_L = loss_L.flip(0).to(query_BD.dtype)
        ctx.mark_non_differentiable(by_dim_L)
        return loss, by_dim_L

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, loss_gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        query_gradient_BD, candidate_gradient_CD = ctx.saved_tensors
        return query_gradient_BD * loss_gradient, candidate_gradient_CD * loss_gradient, None, None, None, None


def panel_rows(num_candidates: int, num_dims: int, element_bytes: int) -> int:
    """Queries whose logits at all dims fit PANEL_BYTES, at least one."""
    return max(1, min(MAX_PANEL_ROWS, PANEL_BYTES // (num_candidates * num_dims * element_bytes)))


class _Sweep:
    """Gradients and losses, grown panel by panel."""

    def __init__(self, query_BD: Tensor, candidate_CD: Tensor, temperature: float, prefixes: _Prefixes) -> None:
        self.query_BD, self.candidate_CD, self.prefixes = query_BD, candidate_CD, prefixes
        self.query_scale_LB = prefixes.inverse_norms(query_BD)
        self.candidate_scale_LC = prefixes.inverse_norms(candidate_CD)
        self.inverse_temperature = 1.0 / temperature
        num_dims = len(prefixes.weights)
        self.loss_L = torch.zeros(num_dims, dtype=torch.float64, device=query_BD.device)
        self.query_gradient_BD = torch.zeros_like(query_BD)
        self.candidate_gradient_CD = torch.zeros_like(candidate_CD)
        self.pull_LC = torch.zeros_like(self.candidate_scale_LC)

    def add_panel(self, panel: slice, positive_P: Tensor, ignored_PC: Tensor) -> None:
        query_PD = self.query_BD[panel]
        product_LPC = self._prefix_products(query_PD)
        pull_LP = torch.empty(len(product_LPC), len(query_PD), dtype=query_PD.dtype, device=query_PD.device)
        for level in range(len(product_LPC) - 1, -1, -1):
            query_scale_P, candidate_scale_C = self.query_scale_LB[level, panel], self.candidate_scale_LC[level]
            logit_PC = product_LPC[level]
            logit_PC *= candidate_scale_C
            logit_PC *= (query_scale_P * self.inverse_temperature)[:, None]
            loss_P, gradient_PC = _pick_positive(logit_PC, positive_P, ignored_PC)
            self.loss_L[level] += loss_P.double().sum() / len(self.query_BD)
            gradient_PC *= self.prefixes.weights[level] / len(self.query_BD)
            logit_PC *= gradient_PC
            pull_LP[level] = logit_PC.sum(1) * query_scale_P.square()
            self.pull_LC[level] += logit_PC.sum(0)
            gradient_PC *= candidate_scale_C
            gradient_PC *= (query_scale_P * self.inverse_temperature)[:, None]
            if level + 1 < len(product_LPC):
                gradient_PC += product_LPC[level + 1]  # a segment serves its own prefix and every wider one
            product_LPC[level] = gradient_PC
        pull_LP = _sum_of_wider(pull_LP)
        for level, segment in enumerate(self.prefixes.segments):
            gradient_PC, query_PS = product_LPC[level], query_PD[:, segment]
            query_gradient_PS = self.query_gradient_BD[panel, segment]
            query_gradient_PS += gradient_PC @ self.candidate_CD[:, segment]
            query_gradient_PS -= pull_LP[level][:, None] * query_PS
            self.candidate_gradient_CD[:, segment].addmm_(gradient_PC.T, query_PS)

    def add_candidate_norms(self) -> None:
        """The part of the candidates' gradient that passes through their lengths; after the last panel."""
        pull_LC = _sum_of_wider(self.pull_LC * self.candidate_scale_LC.square())
        for level, segment in enumerate(self.prefixes.segments):
            self.candidate_gradient_CD[:, segment] -= pull_LC[level][:, None] * self.candidate_CD[:, segment]

    def _prefix_products(self, query_PD: Tensor) -> list[Tensor]:
        first, *others = self.prefixes.segments
        product_LPC = [query_PD[:, first] @ self.candidate_CD[:, first].T]
        for segment in others:
            product_LPC.append(torch.addmm(product_LPC[-1], query_PD[:, segment], self.candidate_CD[:, segment].T))
        return product_LPC


def _pick_positive(logit_PC: Tensor, positive_P: Tensor, ignored_PC: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each row's positive, and its gradient by logit.

    The positive is kept apart: its gradient is minus the sum of the others', not p - 1, and its loss is log1p of their
    ratio, so nothing cancels when a pair is nearly solved.
    """
    positive_P1 = positive_P[:, None]
    ignored_PC = ignored_PC.scatter(1, positive_P1, False)
    top_P1 = logit_PC.masked_fill(ignored_PC, -torch.inf).amax(1, keepdim=True)
    others_PC = (logit_PC - top_P1).exp_()
    positive_weight_P1 = others_PC.gather(1, positive_P1)
    others_PC.masked_fill_(ignored_PC, 0.0)
    others_PC.scatter_(1, positive_P1, 0.0)
    others_P1 = others_PC.sum(1, keepdim=True)
    total_P1 = others_P1 + positive_weight_P1
    margin_P1 = logit_PC.gather(1, positive_P1) - top_P1
    solved_P1 = torch.log1p(others_P1 / positive_weight_P1.clamp_min(torch.finfo(logit_PC.dtype).tiny))
    loss_P1 = torch.where(others_P1 < positive_weight_P1, solved_P1, total_P1.log() - margin_P1)
    gradient_PC = others_PC / total_P1
    gradient_PC.scatter_(1, positive_P1, -others_P1 / total_P1)
    return loss_P1.squeeze(1), gradient_PC


def _sum_of_wider(value_LN: Tensor) -> Tensor:
    """For each prefix the sum over itself and all wider ones; rows go from narrow to wide."""
    return value_LN.flip(0).cumsum(0).flip(0)
