"""Matryoshka InfoNCE: every embedding prefix learns to pick a query's positive, all prefixes in one pass.

Shape letters: B queries of this rank, P queries of one row panel, R of them whose softmax is worked at once, C candidates
of all ranks, N own negatives of this rank's queries, W candidates and own negatives that one panel sees, D embedding
width, L Matryoshka dims, S one segment of the width (the columns between two neighbouring dims), M ignored pairs.
"""

import math
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from training_kernels.config import NO_MARGIN
from training_kernels.products import add_product

MAX_PANEL_ROWS = 1024
"""Choice: measured at 1,024 candidates on CPU, a tenth faster than 256, since the candidates are read less often."""

BLOCK_BYTES = 2**19
"""Choice: on CPU the softmax is worked in blocks of rows of this size, so that its passes stay in the L2 cache of 1 MB."""


def matryoshka_info_nce(
    query_BD: Tensor,
    candidate_CD: Tensor,
    positive_B: Tensor,
    *,
    temperature: float,
    weight_by_dim: tuple[tuple[int, float], ...],
    num_queries: int | None = None,
    ignored_M2: Tensor | None = None,
    own_ND: Tensor | None = None,
    own_query_N: Tensor | None = None,
    ignored_margin: float = NO_MARGIN,
    panel_bytes: int,
) -> tuple[Tensor, Tensor]:
    """The weighted sum of InfoNCE over embedding prefixes, and InfoNCE of each prefix, in nats.

    Each prefix is normalised to unit length, so the inputs need not be; of a zero vector every cosine is 0. Hard negatives
    that all queries share are rows of candidate_CD, as in-batch negatives are. With several ranks each rank passes its
    own queries and the candidates of all ranks; the losses and gradients of the ranks then add up to those of one process.

    Half-precision inputs are read as float32: products, logits and sums are never rounded to half precision.

    Args:
        positive_B: int64, the row of candidate_CD that answers each query.
        weight_by_dim: dims of at most D with their weights, widest first.
        num_queries: of all ranks, by which sums over queries are divided; by default B.
        ignored_M2: int64 pairs (row of query_BD, row of candidate_CD) in any order: a candidate that is no negative of a
            query, since it answers it too. The positive's own entry is never ignored, whatever is said here.
        own_ND: negatives that one query sees alone.
        own_query_N: int64 ascending, the row of query_BD that sees each own negative.
        ignored_margin: a candidate whose cosine to the query at the widest dim exceeds the positive's by more than this
            is taken for another answer, and ignored at every dim.
        panel_bytes: memory for the logits that are worked at once; never less than one query takes.

    Returns:
        The loss, which carries the gradient, and the losses by dim in the order of `weight_by_dim`, which do not.

    Source: Kusupati et al. 2022, arXiv:2205.13147, equation 1, over van den Oord et al. 2018, arXiv:1807.03748,
    equation 4.
    """
    setting = _Setting(
        prefixes=_Prefixes.of(weight_by_dim),
        temperature=temperature,
        num_queries=len(query_BD) if num_queries is None else num_queries,
        ignored_margin=ignored_margin,
        panel_bytes=panel_bytes,
    )
    if own_ND is None or own_query_N is None:
        own_ND, own_query_N = candidate_CD.new_empty(0, candidate_CD.shape[1]), positive_B.new_empty(0)
    if ignored_M2 is None:
        ignored_M2 = positive_B.new_empty(0, 2)
    loss, loss_L = _MatryoshkaInfoNCE.apply(
        query_BD, candidate_CD, own_ND, positive_B, ignored_M2, own_query_N, setting
    )
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
        lengths_LN = torch.stack(
            [torch.linalg.vector_norm(embedding_ND[:, segment], dim=1) for segment in self.segments]
        )
        squares_LN = _running_sum(lengths_LN.square())
        return squares_LN.clamp_min(torch.finfo(embedding_ND.dtype).tiny).rsqrt()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setting:
    """What of the loss is no tensor."""

    prefixes: _Prefixes
    temperature: float
    num_queries: int
    ignored_margin: float
    panel_bytes: int


class _MatryoshkaInfoNCE(torch.autograd.Function):
    """Loss and gradient in one sweep over row panels: three matrix products of width D, no B x C matrix kept.

    Prefix dot products accumulate from segment to segment, so all dims cost one product; going back, the gradients of
    all prefixes that contain a segment are summed first, so all dims cost one product again. Norms enter as scales of
    rows and columns, and their gradient needs only row and column sums of (gradient x product).
    """

    @staticmethod
    def forward(
        ctx: Any,
        query_BD: Tensor,
        candidate_CD: Tensor,
        own_ND: Tensor,
        positive_B: Tensor,
        ignored_M2: Tensor,
        own_query_N: Tensor,
        setting: _Setting,
    ) -> tuple[Tensor, Tensor]:
        sweep = _Sweep(query_BD, candidate_CD, own_ND, positive_B, ignored_M2, own_query_N, setting)
        sweep.run()
        ctx.save_for_backward(
            sweep.query_gradient_BD.to(query_BD.dtype),
            sweep.shared.gradient_ND.to(candidate_CD.dtype),
            sweep.own.gradient_ND.to(own_ND.dtype),
        )
        loss_L = sweep.loss_L
        weight_L = torch.tensor(setting.prefixes.weights, dtype=loss_L.dtype, device=loss_L.device)
        loss = (weight_L * loss_L).sum().to(sweep.dtype)
        by_dim_L = loss_L.flip(0).to(sweep.dtype)
        ctx.mark_non_differentiable(by_dim_L)
        return loss, by_dim_L

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, loss_gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        # In place, for a second set of gradients would double the memory; a second backward then fails on the version.
        gradients = [gradient.mul_(loss_gradient) for gradient in ctx.saved_tensors]
        return *gradients, None, None, None, None


def panel_rows(num_columns: int, num_dims: int, element_bytes: int, *, panel_bytes: int) -> int:
    """Queries whose logits at all dims fit panel_bytes, at least one."""
    return max(1, min(MAX_PANEL_ROWS, panel_bytes // max(1, num_columns * num_dims * element_bytes)))


class _Side:
    """Embeddings on the candidates' side with what the sweep collects for them."""

    def __init__(self, embedding_ND: Tensor, dtype: torch.dtype, prefixes: _Prefixes, *, copy_bytes: int) -> None:
        """Segments are copied apart where all copies fit copy_bytes: products of dense matrices are faster."""
        self.embedding_ND = embedding_ND.to(dtype)
        fits = self.embedding_ND.numel() * self.embedding_ND.element_size() <= copy_bytes
        views = [self.embedding_ND[:, segment] for segment in prefixes.segments]
        self.segments_NS = [view.contiguous() for view in views] if fits else views
        self.prefixes = prefixes
        self.scale_LN = prefixes.inverse_norms(self.embedding_ND)
        self.gradient_ND = torch.zeros_like(self.embedding_ND, memory_format=torch.contiguous_format)
        self.pull_LN = torch.zeros_like(self.scale_LN)

    def add_norms(self) -> None:
        """The part of the gradient that passes through the lengths; after the last panel."""
        pull_LN = _sum_of_wider(self.pull_LN * self.scale_LN.square())
        for level, segment in enumerate(self.prefixes.segments):
            self.gradient_ND[:, segment].addcmul_(pull_LN[level][:, None], self.embedding_ND[:, segment], value=-1.0)


class _Sweep:
    """Gradients and losses, grown panel by panel."""

    def __init__(
        self,
        query_BD: Tensor,
        candidate_CD: Tensor,
        own_ND: Tensor,
        positive_B: Tensor,
        ignored_M2: Tensor,
        own_query_N: Tensor,
        setting: _Setting,
    ) -> None:
        self.dtype = query_BD.dtype if query_BD.dtype in (torch.float32, torch.float64) else torch.float32
        self.setting, self.prefixes = setting, setting.prefixes
        self.query_BD = query_BD.to(self.dtype)
        self.query_scale_LB = self.prefixes.inverse_norms(self.query_BD)
        self.query_gradient_BD = torch.zeros_like(self.query_BD, memory_format=torch.contiguous_format)
        self.shared, self.own = (
            _Side(side, self.dtype, self.prefixes, copy_bytes=setting.panel_bytes) for side in (candidate_CD, own_ND)
        )
        self.positive_B = positive_B
        ignored_M2 = ignored_M2[ignored_M2[:, 1] != positive_B[ignored_M2[:, 0]]]
        self.ignored_M2 = ignored_M2[ignored_M2[:, 0].argsort()]
        self.ignored_ends = _ends_by_row(self.ignored_M2[:, 0], len(query_BD))
        self.own_query_N = own_query_N
        self.own_ends = _ends_by_row(own_query_N, len(query_BD))
        self.loss_L = torch.zeros(len(self.prefixes.weights), dtype=torch.float64, device=query_BD.device)

    def run(self) -> None:
        num_rows, num_dims, element_bytes = len(self.query_BD), len(self.prefixes.weights), self.query_BD.element_size()
        if num_rows == 0:  # a rank without queries still takes part, for its candidates
            return
        rows = panel_rows(len(self.shared.embedding_ND), num_dims, element_bytes, panel_bytes=self.setting.panel_bytes)
        while rows > 1 and num_dims * element_bytes * rows * self._widest(rows) > self.setting.panel_bytes:
            rows //= 2  # the own negatives of all queries of a panel are columns of it
        rows = min(rows, num_rows)
        buffer = self.query_BD.new_empty(num_dims * rows * self._widest(rows))
        for start in range(0, num_rows, rows):
            self._add_panel(slice(start, min(start + rows, num_rows)), buffer)
        self.shared.add_norms()
        self.own.add_norms()
        self.loss_L /= self.setting.num_queries

    def _widest(self, rows: int) -> int:
        """Columns that a panel of so many rows has at most."""
        ends = [*self.own_ends[::rows], self.own_ends[-1]]
        return len(self.shared.embedding_ND) + max((end - start for start, end in pairwise(ends)), default=0)

    def _add_panel(self, panel: slice, buffer: Tensor) -> None:
        own = slice(self.own_ends[panel.start], self.own_ends[panel.stop])
        num_shared, num_own = len(self.shared.embedding_ND), own.stop - own.start
        sides = [(self.shared, slice(0, num_shared), slice(0, num_shared))]
        if num_own:
            sides.append((self.own, own, slice(num_shared, num_shared + num_own)))
        query_PD = self.query_BD[panel]
        num_dims, num_rows = len(self.prefixes.weights), len(query_PD)
        shape = (num_dims, num_rows, num_shared + num_own)
        product_LPW = buffer[: math.prod(shape)].view(shape)
        for level, segment in enumerate(self.prefixes.segments):
            for side, rows, columns in sides:
                add_product(
                    product_LPW[level, :, columns],
                    query_PD[:, segment],
                    side.segments_NS[level][rows].T,
                    base_NM=None if level == 0 else product_LPW[level - 1, :, columns],
                )
        scale_LW = (
            torch.cat([side.scale_LN[:, rows] for side, rows, _ in sides], 1) if num_own else self.shared.scale_LN
        )
        query_pull_LP, pull_LW = self._products_to_gradients(product_LPW, panel, own, scale_LW)
        for level, segment in enumerate(self.prefixes.segments):
            query_PS, gradient_PS = query_PD[:, segment], self.query_gradient_BD[panel, segment]
            torch.mul(query_PS, -query_pull_LP[level][:, None], out=gradient_PS)
            for side, rows, columns in sides:
                gradient_PN = product_LPW[level, :, columns]
                add_product(gradient_PS, gradient_PN, side.segments_NS[level][rows], base_NM=gradient_PS)
                gradient_NS = side.gradient_ND[rows, segment]
                add_product(gradient_NS, gradient_PN.T, query_PS, base_NM=gradient_NS)
        for side, rows, columns in sides:
            side.pull_LN[:, rows] += pull_LW[:, columns]

    def _products_to_gradients(
        self, product_LPW: Tensor, panel: slice, own: slice, scale_LW: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Replaces dot products by the gradients of all prefixes that contain a segment, block of rows by block of rows.

        Returns what the norms of queries, summed over wider prefixes, and of candidates, not yet summed, ask for.
        """
        num_rows, num_columns = product_LPW.shape[1:]
        query_pull_LP = product_LPW.new_empty(len(product_LPW), num_rows)
        pull_LW = torch.zeros_like(scale_LW)
        is_cpu = product_LPW.device.type == "cpu"
        block_rows = max(1, BLOCK_BYTES // (num_columns * product_LPW.element_size())) if is_cpu else num_rows
        scratch_RW = product_LPW.new_empty(min(block_rows, num_rows), num_columns)
        for start in range(0, num_rows, block_rows):
            block = slice(start, min(start + block_rows, num_rows))
            rows = slice(panel.start + block.start, panel.start + block.stop)
            work_RW = scratch_RW[: rows.stop - rows.start]
            hidden = _Hidden(
                sparse_M2=self.ignored_M2[self.ignored_ends[rows.start] : self.ignored_ends[rows.stop]],
                first_row=rows.start,
                own_query_W=self.own_query_N[own],
            )
            self._work_block(product_LPW[:, block], work_RW, rows, hidden, scale_LW, query_pull_LP[:, block], pull_LW)
        return _sum_of_wider(query_pull_LP), pull_LW

    def _work_block(
        self,
        product_LRW: Tensor,
        work_RW: Tensor,
        rows: slice,
        hidden: "_Hidden",
        scale_LW: Tensor,
        query_pull_LR: Tensor,
        pull_LW: Tensor,
    ) -> None:
        positive_R1 = self.positive_B[rows, None]
        inverse_temperature = 1.0 / self.setting.temperature
        num_levels = len(product_LRW)
        for level in range(num_levels - 1, -1, -1):
            product_RW, scale_W = product_LRW[level], scale_LW[level]
            query_scale_R1 = self.query_scale_LB[level, rows, None]
            torch.mul(product_RW, scale_W, out=work_RW)
            if level == num_levels - 1 and self.setting.ignored_margin < NO_MARGIN:
                hidden.hide_above(work_RW, positive_R1, self.setting.ignored_margin / query_scale_R1)
            hidden.apply(work_RW)
            loss_R, share_R1 = _pick_positive(work_RW, positive_R1, query_scale_R1 * inverse_temperature)
            self.loss_L[level] += loss_R.sum(dtype=torch.float64)
            weight = self.prefixes.weights[level] / self.setting.num_queries
            work_RW *= share_R1 * query_scale_R1 * (weight * inverse_temperature)
            work_RW *= scale_W  # now the gradient by dot product
            product_RW *= work_RW
            query_pull_LR[level] = product_RW.sum(1) * query_scale_R1.squeeze(1).square()
            pull_LW[level] += product_RW.sum(0)
            if level + 1 < num_levels:
                torch.add(work_RW, product_LRW[level + 1], out=product_RW)  # a segment serves every wider prefix too
            else:
                product_RW.copy_(work_RW)


class _Hidden:
    """Which entries of a block of rows are no negatives: kept as pairs while they are few."""

    def __init__(self, *, sparse_M2: Tensor, first_row: int, own_query_W: Tensor) -> None:
        self.row_M, self.column_M = sparse_M2[:, 0] - first_row, sparse_M2[:, 1]
        self.own_query_W, self.first_row = own_query_W, first_row
        self.above_RW: Tensor | None = None

    def hide_above(self, cosine_RW: Tensor, positive_R1: Tensor, margin_R1: Tensor) -> None:
        """Marks what exceeds the positive by more than the margin, all in the unit of the argument, and by more than
        rounding: a copy of the positive is not above it."""
        positive_cosine_R1 = cosine_RW.gather(1, positive_R1)
        rounding = 16 * torch.finfo(cosine_RW.dtype).eps
        bound_R1 = positive_cosine_R1 + margin_R1 + rounding * positive_cosine_R1.abs()
        self.above_RW = (cosine_RW > bound_R1).scatter_(1, positive_R1, False)

    def apply(self, work_RW: Tensor) -> None:
        """Sets what is hidden to minus infinity."""
        if len(self.row_M):
            work_RW[self.row_M, self.column_M] = -torch.inf
        if len(self.own_query_W):
            own_RN = work_RW[:, work_RW.shape[1] - len(self.own_query_W) :]
            query_R = torch.arange(self.first_row, self.first_row + len(work_RW), device=work_RW.device)
            own_RN.masked_fill_(self.own_query_W != query_R[:, None], -torch.inf)
        if self.above_RW is not None:
            work_RW.masked_fill_(self.above_RW, -torch.inf)


def _pick_positive(work_RW: Tensor, positive_R1: Tensor, logit_scale_R1: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each row's positive [R], and the factor [R, 1] that makes the gradient by logit of work_RW.

    On entry work_RW times logit_scale_R1 are the logits; on exit it is the gradient but for that factor. The positive is
    kept apart: its gradient is minus the sum of the others', not p - 1, and its loss is log1p of their ratio, so nothing
    cancels when a pair is nearly solved.
    """
    top_R1 = work_RW.amax(1, keepdim=True)
    work_RW -= top_R1
    work_RW *= logit_scale_R1
    margin_R1 = work_RW.gather(1, positive_R1)
    work_RW.exp_()
    positive_weight_R1 = margin_R1.exp()
    work_RW.scatter_(1, positive_R1, 0.0)
    others_R1 = work_RW.sum(1, keepdim=True)
    total_R1 = others_R1 + positive_weight_R1
    solved_R1 = torch.log1p(others_R1 / positive_weight_R1.clamp_min(torch.finfo(work_RW.dtype).tiny))
    loss_R1 = torch.where(others_R1 < positive_weight_R1, solved_R1, total_R1.log() - margin_R1)
    work_RW.scatter_(1, positive_R1, -others_R1)
    return loss_R1.squeeze(1), total_R1.reciprocal()


def _ends_by_row(row_M: Tensor, num_rows: int) -> list[int]:
    """Where the entries of each row end in an ascending list of rows, after a leading 0; num_rows + 1 numbers."""
    if not len(row_M):
        return [0] * (num_rows + 1)
    return [0, *torch.bincount(row_M, minlength=num_rows).cumsum(0).tolist()]


def _sum_of_wider(value_LN: Tensor) -> Tensor:
    """For each prefix the sum over itself and all wider ones; rows go from narrow to wide."""
    return _running_sum(value_LN.flip(0)).flip(0)


def _running_sum(value_LN: Tensor) -> Tensor:
    """Row by row: on a GPU torch's own cumsum may give other bits each time."""
    return torch.stack(list(accumulate(value_LN.unbind())))
