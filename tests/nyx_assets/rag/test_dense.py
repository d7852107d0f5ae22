"""Exact dense search against plain sums, with ties and Matryoshka prefixes."""

import numpy as np
import pytest

from nyx_assets.rag.dense import DenseCorpus, prefix
from resources import exact_search
from training_kernels.errors import ConfigError, DataError


def unit(array: np.ndarray) -> np.ndarray:
    return (array / np.linalg.norm(array, axis=1, keepdims=True)).astype(np.float32)


def by_hand(query: np.ndarray, ids: list[str], candidates: np.ndarray) -> list[tuple[str, float]]:
    cosines = [sum(float(a) * float(b) for a, b in zip(query, row, strict=True)) for row in candidates]
    return sorted(zip(ids, cosines, strict=True), key=lambda hit: (-round(hit[1], 6), hit[0]))


@pytest.mark.parametrize("cells", [1, 300, 4_000_000])
def test_hits_equal_plain_sums_whatever_the_block(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    monkeypatch.setattr(exact_search, "BLOCK_CELLS", cells)
    monkeypatch.setattr(exact_search, "BLOCK_QUERIES", 4)
    rng = np.random.default_rng(5)
    candidates, queries = unit(rng.normal(size=(37, 6))), unit(rng.normal(size=(9, 6)))
    ids = [f"k{number}" for number in rng.permutation(37)]
    for query, hits in zip(queries, DenseCorpus(ids, candidates).search(queries, 11), strict=True):
        expected = by_hand(query, ids, candidates)[:11]
        assert [name for name, _ in hits] == [name for name, _ in expected]
        assert [score for _, score in hits] == pytest.approx([score for _, score in expected], abs=1.1e-6)


@pytest.mark.parametrize("cells", [1, 6, 4_000_000])
def test_equal_candidates_come_by_id_wherever_the_cut_falls(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    monkeypatch.setattr(exact_search, "BLOCK_CELLS", cells)
    rows = unit(np.array([[3, 4], [3, 4], [1, 0], [3, 4], [-1, 0]], dtype=np.float32))
    corpus = DenseCorpus(["z", "b", "top", "k", "worst"], rows)
    for top_k, expected in (
        (1, ["top"]),
        (2, ["top", "b"]),
        (3, ["top", "b", "k"]),
        (9, ["top", "b", "k", "z", "worst"]),
    ):
        assert [name for name, _ in corpus.search(unit(np.array([[1, 0]])), top_k)[0]] == expected
    assert corpus.search(unit(np.array([[1, 0]])), 9)[0][-1] == ("worst", -1.0)


def test_a_prefix_is_renormalised_and_the_full_width_left_alone() -> None:
    rows = unit(np.array([[3, 4, 12, 84], [0, 0, 1, 0]], dtype=np.float32))
    assert prefix(rows, 2) == pytest.approx(np.array([[0.6, 0.8], [0, 0]]), abs=1e-6)
    assert prefix(rows, 4) is rows
    for dim in (0, 5):
        with pytest.raises(ConfigError, match=f"full width 4, got {dim}"):
            prefix(rows, dim)


def test_an_empty_corpus_has_no_hits_and_no_query_no_rankings() -> None:
    assert DenseCorpus([], np.empty((0, 3), dtype=np.float32)).search(np.ones((2, 3), dtype=np.float32), 4) == [[], []]
    assert DenseCorpus(["a"], np.eye(1, 3, dtype=np.float32)).search(np.empty((0, 3), dtype=np.float32), 4) == []


def test_what_does_not_fit_together_is_refused() -> None:
    rows = np.eye(2, 3, dtype=np.float32)
    with pytest.raises(DataError, match=r"3 ids and shape \(2, 3\)"):
        DenseCorpus(["a", "b", "c"], rows)
    with pytest.raises(DataError, match="distinct id"):
        DenseCorpus(["a", "a"], rows)
    with pytest.raises(DataError, match="checkpoint of the corpus"):
        DenseCorpus(["a", "b"], rows).search(np.ones((1, 2), dtype=np.float32), 1)
    with pytest.raises(ConfigError, match="got 0"):
        DenseCorpus(["a", "b"], rows).search(rows, 0)
