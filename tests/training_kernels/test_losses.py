"""Matryoshka InfoNCE against the equation in plain Python, and its gradient against autograd of a naive version."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from training_kernels import losses
from training_kernels.config import NO_MARGIN
from training_kernels.losses import matryoshka_info_nce, panel_rows

WEIGHT_BY_DIM = ((11, 1.0), (7, 0.7), (3, 0.2))
PANEL_BYTES = 2**20
NO_PAIRS = torch.empty(0, 2, dtype=torch.int64)
NO_ROWS = torch.empty(0, dtype=torch.int64)


@pytest.fixture
def batch():
    """5 queries, 9 candidates, width 12; no vector of unit length, positives out of order."""
    generator = torch.Generator().manual_seed(3)
    query_BD = torch.randn(5, 12, dtype=torch.float64, generator=generator) * 3
    candidate_CD = torch.randn(9, 12, dtype=torch.float64, generator=generator) + 0.5
    return query_BD, candidate_CD, torch.tensor([4, 0, 7, 8, 2])


@pytest.fixture
def own():
    """6 own negatives of three of the queries, in uneven numbers."""
    generator = torch.Generator().manual_seed(4)
    return torch.randn(6, 12, dtype=torch.float64, generator=generator), torch.tensor([0, 0, 1, 3, 3, 3])


IGNORED_M2 = torch.tensor([[3, 0], [1, 6], [1, 0], [0, 4], [4, 3]])
"""In no order; [0, 4] is a positive, whose entry does not count."""


def by_hand(query_BD, candidate_CD, positive_B, *, temperature, ignored, own, margin=math.inf):
    """The losses by dim in plain Python floats, straight from the equation."""

    def cosine(one, other, dim):
        norms = math.hypot(*one[:dim]) * math.hypot(*other[:dim])
        return sum(a * b for a, b in zip(one[:dim], other[:dim], strict=True)) / norms if norms else 0.0

    own_ND, own_query_N = own
    total_by_dim = [0.0] * len(WEIGHT_BY_DIM)
    for row, (query, positive) in enumerate(zip(query_BD.tolist(), positive_B.tolist(), strict=True)):
        target = candidate_CD[positive].tolist()
        others = [
            one
            for column, one in enumerate(candidate_CD.tolist())
            if column != positive and (row, column) not in ignored
        ]
        others += [one for one, owner in zip(own_ND.tolist(), own_query_N.tolist(), strict=True) if owner == row]
        widest = WEIGHT_BY_DIM[0][0]
        others = [one for one in others if cosine(query, one, widest) <= cosine(query, target, widest) + margin]
        for level, (dim, _) in enumerate(WEIGHT_BY_DIM):
            logit = cosine(query, target, dim) / temperature
            logits = [cosine(query, one, dim) / temperature for one in others]
            total_by_dim[level] += math.log(math.fsum(math.exp(one - logit) for one in [logit, *logits]))
    return [total / len(query_BD) for total in total_by_dim]


def naive(
    query_BD,
    candidate_CD,
    own_ND,
    positive_B,
    own_query_N,
    *,
    temperature,
    ignored_M2,
    margin,
    weight_by_dim=WEIGHT_BY_DIM,
):
    """The sum over queries by torch operations, one dim after the other, for autograd."""
    everything_WD = torch.cat([candidate_CD, own_ND])
    hidden_BW = torch.zeros(len(query_BD), len(everything_WD), dtype=torch.bool)
    hidden_BW[ignored_M2[:, 0], ignored_M2[:, 1]] = True
    hidden_BW[:, len(candidate_CD) :] = own_query_N != torch.arange(len(query_BD))[:, None]
    widest = weight_by_dim[0][0]
    cosine_BW = F.normalize(query_BD[:, :widest], dim=1) @ F.normalize(everything_WD[:, :widest], dim=1).T
    hidden_BW |= cosine_BW > cosine_BW.gather(1, positive_B[:, None]) + margin
    hidden_BW = hidden_BW.scatter(1, positive_B[:, None], False)
    total = query_BD.new_zeros(())
    for dim, weight in weight_by_dim:
        logits_BW = F.normalize(query_BD[:, :dim], dim=1) @ F.normalize(everything_WD[:, :dim], dim=1).T / temperature
        total = total + weight * F.cross_entropy(
            logits_BW.masked_fill(hidden_BW, -math.inf), positive_B, reduction="sum"
        )
    return total


def ours(
    query_BD, candidate_CD, positive_B, *, temperature=0.3, weight_by_dim=WEIGHT_BY_DIM, panel_bytes=PANEL_BYTES, **more
):
    return matryoshka_info_nce(
        query_BD, candidate_CD, positive_B,
        temperature=temperature, weight_by_dim=weight_by_dim, panel_bytes=panel_bytes, **more,
    )  # fmt: skip


@pytest.mark.parametrize("temperature", [0.02, 0.3, 5.0])
@pytest.mark.parametrize("margin", [math.inf, 0.1])
def test_the_loss_of_every_dim_equals_the_equation_by_hand(batch, own, temperature, margin):
    ignored = set(map(tuple, IGNORED_M2.tolist()))
    expected = by_hand(*batch, temperature=temperature, ignored=ignored, own=own, margin=margin)
    loss, loss_L = ours(
        *batch, temperature=temperature, ignored_M2=IGNORED_M2, own_ND=own[0], own_query_N=own[1],
        ignored_margin=min(margin, NO_MARGIN),
    )  # fmt: skip
    np.testing.assert_allclose(loss_L.numpy(), expected, rtol=1e-12)
    assert loss.item() == pytest.approx(
        sum(w * x for (_, w), x in zip(WEIGHT_BY_DIM, expected, strict=True)), rel=1e-12
    )


def both(leaves, loss_of_each):
    """Loss and gradients by leaf, of ours and of the naive version."""
    results = []
    for loss_of in loss_of_each:
        fresh = [leaf.clone().requires_grad_() for leaf in leaves]
        loss = loss_of(*fresh)
        (3.5 * loss).backward()
        results.append([loss.detach(), *(leaf.grad for leaf in fresh)])
    return results


def assert_equal_to(expected, got, *, within):
    for one, other in zip(got, expected, strict=True):
        if other.numel():
            assert (one - other).abs().max() <= within * other.abs().max()


@pytest.mark.parametrize("temperature", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("margin", [NO_MARGIN, 0.1, 0.0, -0.1])
def test_gradients_equal_autograd_with_every_combination_of_options(batch, own, monkeypatch, temperature, margin):
    query_BD, candidate_CD, positive_B = batch
    monkeypatch.setattr(losses, "BLOCK_BYTES", 2 * 8 * 12)
    for has_own, has_ignored, rows in itertools.product((False, True), (False, True), (1, 2, 5)):
        own_ND, own_query_N = own if has_own else (candidate_CD[:0], NO_ROWS)
        ignored_M2 = IGNORED_M2 if has_ignored else NO_PAIRS

        def one_pass(query, candidate, negative, own_query_N=own_query_N, ignored_M2=ignored_M2, rows=rows):
            return ours(
                query, candidate, positive_B, temperature=temperature, num_queries=7, ignored_M2=ignored_M2,
                own_ND=negative, own_query_N=own_query_N, ignored_margin=margin, panel_bytes=rows * 3 * 8 * 15,
            )[0]  # fmt: skip

        def oracle(query, candidate, negative, own_query_N=own_query_N, ignored_M2=ignored_M2):
            total = naive(
                query, candidate, negative, positive_B, own_query_N,
                temperature=temperature, ignored_M2=ignored_M2, margin=margin,
            )  # fmt: skip
            return total / 7

        got, expected = both([query_BD, candidate_CD, own_ND], [one_pass, oracle])
        assert_equal_to(expected, got, within=1e-12)


def test_the_ranks_losses_and_gradients_add_up_to_those_of_one_process(batch, own):
    query_BD, candidate_CD, positive_B = batch
    own_ND, own_query_N = own

    def joined(query, candidate, negative):
        return ours(
            query, candidate, positive_B, ignored_M2=IGNORED_M2, own_ND=negative, own_query_N=own_query_N,
            ignored_margin=0.2,
        )[0]  # fmt: skip

    def by_rank(query, candidate, negative):
        total = 0.0
        for rows in (range(2), range(2, 2), range(2, 5)):
            mine = slice(rows.start, rows.stop)
            is_mine = (own_query_N >= rows.start) & (own_query_N < rows.stop)
            pairs = IGNORED_M2[(IGNORED_M2[:, 0] >= rows.start) & (IGNORED_M2[:, 0] < rows.stop)]
            total = total + ours(
                query[mine], candidate, positive_B[mine], num_queries=5, ignored_margin=0.2,
                ignored_M2=pairs - torch.tensor([rows.start, 0]), own_ND=negative[is_mine],
                own_query_N=own_query_N[is_mine] - rows.start,
            )[0]  # fmt: skip
        return total

    got, expected = both([query_BD, candidate_CD, own_ND], [by_rank, joined])
    assert_equal_to(expected, got, within=1e-13)


def test_columns_beyond_the_widest_dim_neither_count_nor_learn(batch):
    query_BD, *rest = batch
    query = query_BD.clone().requires_grad_()
    loss, _ = ours(query, *rest, weight_by_dim=((7, 1.0), (3, 0.5)))
    loss.backward()
    changed = query_BD.clone()
    changed[:, 7:] = 100.0
    assert ours(changed, *rest, weight_by_dim=((7, 1.0), (3, 0.5)))[0] == loss
    assert (query.grad[:, 7:] == 0).all()
    assert (query.grad[:, :7] != 0).all()


def test_indistinguishable_candidates_cost_the_log_of_their_number():
    candidate_CD = torch.tensor([[2.0, 1.0]]).repeat(6, 1)
    loss, _ = ours(torch.tensor([[1.0, -3.0]]), candidate_CD, torch.tensor([2]), weight_by_dim=((2, 1.0),))
    assert loss.item() == pytest.approx(math.log(6), rel=1e-6)


def test_a_positive_is_never_ignored_and_an_ignored_candidate_gets_no_gradient(batch):
    query_BD, candidate_CD, positive_B = batch
    positives_M2 = torch.stack([torch.arange(5), positive_B], dim=1)
    plain, _ = ours(query_BD, candidate_CD, positive_B)
    assert ours(query_BD, candidate_CD, positive_B, ignored_M2=positives_M2)[0] == plain
    of_all_M2 = torch.cat([positives_M2, torch.tensor([[row, 1] for row in range(5)])])
    candidate = candidate_CD.clone().requires_grad_()
    ours(query_BD, candidate, positive_B, ignored_M2=of_all_M2)[0].backward()
    assert (candidate.grad[1] == 0).all()
    assert (candidate.grad[0] != 0).any()


@pytest.mark.parametrize("options", [{"ignored_M2": torch.tensor([[0, 0], [0, 1], [0, 2]])}, {"ignored_margin": -2.0}])
def test_a_query_whose_every_negative_is_ignored_costs_and_learns_nothing(batch, options):
    query = batch[0][:1].clone().requires_grad_()
    candidate = batch[1][:3].clone().requires_grad_()
    loss, _ = ours(query, candidate, torch.tensor([1]), **options)
    loss.backward()
    assert loss == 0
    assert not query.grad.any()
    assert not candidate.grad.any()


def test_one_query_with_one_candidate_costs_nothing(batch):
    assert ours(batch[0][:1], batch[1][:1], torch.tensor([0]))[0] == 0


def test_a_copy_of_the_positive_is_not_above_it_whatever_the_rounding():
    generator = torch.Generator().manual_seed(0)
    positive_1D = torch.randn(1, 250, generator=generator)
    copies_CD = torch.cat([positive_1D, positive_1D * (0.1 + torch.rand(300, 1, generator=generator))])
    query_BD = positive_1D + 0.3 * torch.randn(5, 250, generator=generator)
    positive_B = torch.zeros(5, dtype=torch.int64)
    loss, bounded = (
        ours(query_BD, copies_CD, positive_B, weight_by_dim=((250, 1.0),), ignored_margin=margin)[0]
        for margin in (NO_MARGIN, 0.0)
    )
    assert bounded == loss
    assert loss.item() == pytest.approx(math.log(301), rel=1e-4)


def test_a_zero_vector_has_cosine_zero_with_everything_and_breaks_nothing(batch):
    query_BD, candidate_CD, positive_B = (one.clone() for one in batch)
    query_BD[2], candidate_CD[5], candidate_CD[8] = 0, 0, 0
    for margin in (NO_MARGIN, 0.05):
        expected = by_hand(
            query_BD, candidate_CD, positive_B, temperature=0.3, ignored=set(), own=(candidate_CD[:0], NO_ROWS),
            margin=margin,
        )  # fmt: skip
        query, candidate = query_BD.clone().requires_grad_(), candidate_CD.clone().requires_grad_()
        loss, loss_L = ours(query, candidate, positive_B, ignored_margin=margin)
        loss.backward()
        np.testing.assert_allclose(loss_L.numpy(), expected, rtol=1e-12)
        assert query.grad[[0, 1, 3, 4]].isfinite().all()


def test_an_ignored_candidate_far_above_the_positive_does_not_drown_it_in_float32():
    query_BD = torch.tensor([[1.0, 0.0]])
    candidate_CD = torch.tensor([[-1.0, 0.1], [1.0, 0.0], [-1.0, -0.1]])
    for options in ({"ignored_M2": torch.tensor([[0, 1]])}, {"ignored_margin": 1.0}):
        loss, _ = ours(
            query_BD, candidate_CD, torch.tensor([0]), temperature=0.01, weight_by_dim=((2, 1.0),), **options
        )
        assert loss.item() == pytest.approx(math.log(2), rel=1e-5)


def test_a_nearly_solved_pair_keeps_its_gradient_in_float32():
    query_BD = torch.tensor([[1.0, 0.0]], requires_grad=True)
    candidate_CD = torch.tensor([[1.0, 0.01], [0.3, 1.0]])
    loss, _ = ours(query_BD, candidate_CD, torch.tensor([0]), temperature=0.02, weight_by_dim=((2, 1.0),))
    loss.backward()
    logit_gap = (1 / math.hypot(1, 0.01) - 0.3 / math.hypot(0.3, 1)) / 0.02
    assert loss.item() == pytest.approx(math.exp(-logit_gap), rel=1e-3)
    assert 0 < query_BD.grad.abs().max() < 1e-10


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_read_as_float32_and_only_gradients_are_rounded(batch, dtype):
    halves = [one.to(dtype) for one in batch[:2]]
    results = []
    for leaves in (halves, [one.float() for one in halves]):
        fresh = [leaf.clone().requires_grad_() for leaf in leaves]
        loss, loss_L = ours(*fresh, batch[2], temperature=0.02)
        loss.backward()
        results.append((loss, loss_L, [leaf.grad for leaf in fresh]))
    (loss, loss_L, gradients), (expected, expected_L, expected_gradients) = results
    assert loss.dtype == torch.float32
    assert loss == expected
    assert (loss_L == expected_L).all()
    for got, wanted in zip(gradients, expected_gradients, strict=True):
        assert got.dtype == dtype
        assert (got == wanted.to(dtype)).all()


def test_a_second_backward_is_an_error_and_no_wrong_gradient(batch):
    query = batch[0].clone().requires_grad_()
    loss, _ = ours(query, *batch[1:])
    (2 * loss).backward(retain_graph=True)
    with pytest.raises(RuntimeError):
        (2 * loss).backward()


def test_a_panel_shrinks_as_candidates_grow_and_never_vanishes():
    mebibytes_64 = 64 * 2**20
    assert panel_rows(1_000, 4, 4, panel_bytes=mebibytes_64) == losses.MAX_PANEL_ROWS
    assert panel_rows(65_536, 4, 4, panel_bytes=mebibytes_64) == 64
    assert panel_rows(65_536, 4, 4, panel_bytes=mebibytes_64 // 4) == 16
    assert panel_rows(10**9, 4, 4, panel_bytes=mebibytes_64) == 1


def test_no_panel_takes_more_than_its_budget_even_with_many_own_negatives(monkeypatch):
    generator = torch.Generator().manual_seed(1)
    query_BD, candidate_CD = torch.randn(64, 8, generator=generator), torch.randn(64, 8, generator=generator)
    own_ND, own_query_N = torch.randn(64 * 40, 8, generator=generator), torch.arange(64).repeat_interleave(40)
    sizes = []
    whole = losses._Sweep._products_to_gradients

    def weighed(self, product_LPW, *rest):
        sizes.append(product_LPW.numel() * product_LPW.element_size())
        return whole(self, product_LPW, *rest)

    monkeypatch.setattr(losses._Sweep, "_products_to_gradients", weighed)
    budget = 40_000
    ours(query_BD, candidate_CD, torch.arange(64), weight_by_dim=((8, 1.0), (4, 1.0)), own_ND=own_ND,
         own_query_N=own_query_N, panel_bytes=budget)  # fmt: skip
    assert budget / 4 < max(sizes) <= budget


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu_loss_and_gradients_equal_those_of_the_cpu_in_float64(batch, own, dtype):
    generator = torch.Generator().manual_seed(5)
    query_BD, candidate_CD = torch.randn(96, 64, generator=generator), torch.randn(300, 64, generator=generator)
    own_ND, own_query_N = torch.randn(96, 64, generator=generator), torch.arange(96)
    positive_B, ignored_M2 = torch.randperm(300, generator=generator)[:96], torch.tensor([[3, 5], [3, 9], [90, 0]])
    weight_by_dim = ((64, 1.0), (32, 1.0), (8, 0.2))
    results = []
    for device, kind in (("cuda", dtype), ("cpu", torch.float64)):
        leaves = [one.to(dtype).to(device, kind).requires_grad_() for one in (query_BD, candidate_CD, own_ND)]
        loss, loss_L = matryoshka_info_nce(
            *leaves[:2], positive_B.to(device), temperature=0.05, weight_by_dim=weight_by_dim,
            ignored_M2=ignored_M2.to(device), own_ND=leaves[2], own_query_N=own_query_N.to(device), ignored_margin=0.3,
            panel_bytes=PANEL_BYTES,
        )  # fmt: skip
        loss.backward()
        results.append([loss.detach(), loss_L, *(leaf.grad for leaf in leaves)])
    rounding = 1e-5 if dtype == torch.float32 else 1e-2
    assert_equal_to(results[1], [one.double().cpu() for one in results[0]], within=rounding)
