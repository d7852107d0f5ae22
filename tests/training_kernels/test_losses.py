"""Matryoshka InfoNCE against the equation in plain Python, and its gradient against autograd of a naive version."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from training_kernels import losses
from training_kernels.losses import matryoshka_info_nce, panel_rows

WEIGHT_BY_DIM = ((11, 1.0), (7, 0.7), (3, 0.2))


@pytest.fixture
def batch():
    """5 queries, 9 candidates, width 11; no vector of unit length, positives out of order, two candidates ignored."""
    generator = torch.Generator().manual_seed(3)
    query_BD = torch.randn(5, 11, dtype=torch.float64, generator=generator) * 3
    candidate_CD = torch.randn(9, 11, dtype=torch.float64, generator=generator) + 0.5
    positive_B = torch.tensor([4, 0, 7, 8, 2])
    ignored_BC = torch.zeros(5, 9, dtype=torch.bool)
    ignored_BC[1, 6] = ignored_BC[3, 0] = True
    return query_BD, candidate_CD, positive_B, ignored_BC


def by_hand(query_BD, candidate_CD, positive_B, ignored_BC, temperature, weight_by_dim):
    """The losses by dim in plain Python floats, straight from the equation."""
    losses_by_dim = []
    for dim, _ in weight_by_dim:
        total = 0.0
        for query, positive, ignored in zip(query_BD.tolist(), positive_B.tolist(), ignored_BC.tolist(), strict=True):
            logits = []
            for candidate in candidate_CD.tolist():
                dot = sum(a * b for a, b in zip(query[:dim], candidate[:dim], strict=True))
                logits.append(dot / math.hypot(*query[:dim]) / math.hypot(*candidate[:dim]) / temperature)
            seen = [logit for row, logit in enumerate(logits) if row == positive or not ignored[row]]
            total += math.log(sum(math.exp(logit) for logit in seen)) - logits[positive]
        losses_by_dim.append(total / len(query_BD))
    return losses_by_dim


def naive(query_BD, candidate_CD, positive_B, ignored_BC, temperature, weight_by_dim):
    """The same by torch operations, one dim after the other, for autograd."""
    ignored_BC = ignored_BC.scatter(1, positive_B[:, None], False)
    total = query_BD.new_zeros(())
    for dim, weight in weight_by_dim:
        logits_BC = F.normalize(query_BD[:, :dim], dim=1) @ F.normalize(candidate_CD[:, :dim], dim=1).T / temperature
        total = total + weight * F.cross_entropy(logits_BC.masked_fill(ignored_BC, -math.inf), positive_B)
    return total


def ours(query_BD, candidate_CD, positive_B, ignored_BC, temperature=0.3, weight_by_dim=WEIGHT_BY_DIM):
    return matryoshka_info_nce(
        query_BD,
        candidate_CD,
        positive_B,
        temperature=temperature,
        weight_by_dim=weight_by_dim,
        ignored_BC=ignored_BC,
    )


@pytest.mark.parametrize("temperature", [0.02, 0.3, 5.0])
def test_the_loss_of_every_dim_equals_the_equation_by_hand(batch, temperature):
    loss, loss_L = ours(*batch, temperature=temperature)
    expected = by_hand(*batch, temperature, WEIGHT_BY_DIM)
    np.testing.assert_allclose(loss_L.numpy(), expected, rtol=1e-12)
    assert loss.item() == pytest.approx(sum(w * x for (_, w), x in zip(WEIGHT_BY_DIM, expected)), rel=1e-12)


@pytest.mark.parametrize("rows_of_a_panel", [1, 2, 5])
@pytest.mark.parametrize("temperature", [0.02, 0.3])
def test_gradients_equal_autograd_whatever_the_panel(batch, monkeypatch, rows_of_a_panel, temperature):
    monkeypatch.setattr(losses, "MAX_PANEL_ROWS", rows_of_a_panel)
    query_BD, candidate_CD, positive_B, ignored_BC = batch
    gradients = []
    for loss_of in (lambda *args: ours(*args)[0], naive):
        query, candidate = query_BD.clone().requires_grad_(), candidate_CD.clone().requires_grad_()
        (3.5 * loss_of(query, candidate, positive_B, ignored_BC, temperature, WEIGHT_BY_DIM)).backward()
        gradients.append((query.grad, candidate.grad))
    for got, expected in zip(*gradients, strict=True):
        assert (got - expected).abs().max() / expected.abs().max() < 1e-12


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
    ignored_BC = torch.zeros(1, 6, dtype=torch.bool)
    loss, _ = ours(torch.tensor([[1.0, -3.0]]), candidate_CD, torch.tensor([2]), ignored_BC, weight_by_dim=((2, 1.0),))
    assert loss.item() == pytest.approx(math.log(6), rel=1e-6)


def test_a_positive_is_never_ignored_and_an_ignored_candidate_gets_no_gradient(batch):
    query_BD, candidate_CD, positive_B, _ = batch
    ignored_BC = torch.zeros(5, 9, dtype=torch.bool)
    ignored_BC[torch.arange(5), positive_B] = True
    plain, _ = ours(query_BD, candidate_CD, positive_B, torch.zeros_like(ignored_BC))
    assert ours(query_BD, candidate_CD, positive_B, ignored_BC)[0] == plain
    ignored_BC[:, 1] = True
    candidate = candidate_CD.clone().requires_grad_()
    ours(query_BD, candidate, positive_B, ignored_BC)[0].backward()
    assert (candidate.grad[1] == 0).all()
    assert (candidate.grad[0] != 0).any()


def test_an_ignored_candidate_far_above_the_positive_does_not_drown_it_in_float32():
    query_BD = torch.tensor([[1.0, 0.0]])
    candidate_CD = torch.tensor([[-1.0, 0.1], [1.0, 0.0], [-1.0, -0.1]])
    ignored_BC = torch.tensor([[False, True, False]])
    loss, _ = ours(query_BD, candidate_CD, torch.tensor([0]), ignored_BC, temperature=0.01, weight_by_dim=((2, 1.0),))
    assert loss.item() == pytest.approx(math.log(2), rel=1e-5)


def test_a_nearly_solved_pair_keeps_its_gradient_in_float32():
    query_BD = torch.tensor([[1.0, 0.0]], requires_grad=True)
    candidate_CD = torch.tensor([[1.0, 0.01], [0.3, 1.0]])
    ignored_BC = torch.zeros(1, 2, dtype=torch.bool)
    loss, _ = ours(query_BD, candidate_CD, torch.tensor([0]), ignored_BC, temperature=0.02, weight_by_dim=((2, 1.0),))
    loss.backward()
    logit_gap = (1 / math.hypot(1, 0.01) - 0.3 / math.hypot(0.3, 1)) / 0.02
    assert loss.item() == pytest.approx(math.exp(-logit_gap), rel=1e-3)
    assert 0 < query_BD.grad.abs().max() < 1e-10


def test_a_panel_shrinks_as_candidates_grow_and_never_vanishes():
    assert panel_rows(1_000, 4, 4) == losses.MAX_PANEL_ROWS
    assert panel_rows(65_536, 4, 4) == 64
    assert panel_rows(10**9, 4, 4) == 1
