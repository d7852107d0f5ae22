"""Exact search against sums in float64, by either first pass."""

import numpy as np
import pytest

from resources import exact_search
from resources.exact_search import DECIMALS, exact_top_k, pair_similarities


@pytest.fixture(params=["float32", "bfloat16"])
def first_pass(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "bfloat16":
        monkeypatch.setattr(exact_search, "MIN_BFLOAT16_PRODUCTS", 0)
        monkeypatch.setattr(exact_search, "_has_bfloat16", lambda: True)  # slow without the instruction, and as exact
    else:
        monkeypatch.setattr(exact_search, "MIN_BFLOAT16_PRODUCTS", float("inf"))


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def by_float64(query_BD: np.ndarray, candidate_CD: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    rounded_BC = np.round(query_BD.astype(np.float64) @ candidate_CD.astype(np.float64).T, DECIMALS)
    rows = np.arange(len(candidate_CD))
    row_BK = np.array([np.lexsort((rows, -rounded_C))[:top_k] for rounded_C in rounded_BC])
    return np.take_along_axis(rounded_BC, row_BK, axis=1), row_BK


def crowded(num_candidates: int, dim: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Queries and candidates most of which differ by less than bfloat16 can tell, every tenth an exact copy."""
    generator = np.random.default_rng(seed)
    centre = generator.normal(size=dim)
    candidates = centre + 0.02 * generator.normal(size=(num_candidates, dim))
    candidates[::10] = candidates[0]
    queries = centre + 0.5 * generator.normal(size=(7, dim))
    return unit(queries), unit(candidates)


@pytest.mark.usefixtures("first_pass")
@pytest.mark.parametrize(("num_candidates", "top_k"), [(3_001, 9), (3_001, 400), (50, 3), (5, 9)])
@pytest.mark.parametrize("block_cells", [2_000, 16_000_000])
def test_similarities_and_order_are_those_of_float64(
    monkeypatch: pytest.MonkeyPatch, num_candidates: int, top_k: int, block_cells: int
) -> None:
    monkeypatch.setattr(exact_search, "BLOCK_CELLS", block_cells)
    query_BD, candidate_CD = crowded(num_candidates, 48, seed=num_candidates)
    similarity_BK, row_BK = exact_top_k(query_BD, candidate_CD, top_k=top_k)
    expected_BK, expected_row_BK = by_float64(query_BD, candidate_CD, top_k)
    assert (row_BK == expected_row_BK).all()
    assert (similarity_BK == expected_BK).all()


@pytest.mark.usefixtures("first_pass")
def test_similarities_below_zero_are_ranked_too() -> None:
    query_BD, candidate_CD = crowded(2_000, 32, seed=3)
    _, row_BK = exact_top_k(-query_BD, candidate_CD, top_k=20)
    assert (row_BK == by_float64(-query_BD, candidate_CD, 20)[1]).all()


@pytest.mark.usefixtures("first_pass")
def test_the_window_is_wide_enough_for_the_error_of_the_first_pass() -> None:
    query_BD, candidate_CD = crowded(4_000, 64, seed=11)
    first_pass = exact_search._first_pass(query_BD, candidate_CD)
    approximate = first_pass.product(query_BD, slice(0, 4_000)).astype(np.float64)
    error = np.abs(approximate - query_BD.astype(np.float64) @ candidate_CD.astype(np.float64).T)
    assert (error <= first_pass.absolute_error + first_pass.relative_error * np.abs(approximate)).all()
    assert error.max() > 0


@pytest.mark.usefixtures("first_pass")
def test_the_bound_holds_where_all_roundings_of_the_inputs_pull_one_way_and_the_sum_cancels() -> None:
    dim, up, down = 64, 1 + 1.02 * 2.0**-8, 1 + 0.98 * 2.0**-8  # bfloat16 knows 1 and 1 + 2^-7
    half = np.ones(dim // 2) / dim**0.5
    query_BD = np.concatenate([up * half, down * half])[None].astype(np.float32)
    candidate_CD = np.concatenate([up * half, -down * half])[None].astype(np.float32)
    first_pass = exact_search._first_pass(query_BD, candidate_CD)
    approximate = first_pass.product(query_BD, slice(0, 1)).astype(np.float64)
    error = np.abs(approximate - query_BD.astype(np.float64) @ candidate_CD.astype(np.float64).T)
    assert error <= first_pass.absolute_error + first_pass.relative_error * np.abs(approximate)


def test_pairs_have_the_similarity_that_the_search_gives_them() -> None:
    query_BD, candidate_CD = crowded(200, 40, seed=5)
    similarity_BK, row_BK = exact_top_k(query_BD, candidate_CD, top_k=200)
    for place in (0, 57, 199):
        pairs = pair_similarities(query_BD, candidate_CD[row_BK[:, place]])
        assert pairs.tolist() == similarity_BK[:, place].tolist()
