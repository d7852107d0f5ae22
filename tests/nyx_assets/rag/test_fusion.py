"""Fused rankings by hand, and words kept in a folder."""

from fractions import Fraction
from pathlib import Path

import pytest

from nyx_assets.rag.bm25 import Bm25Corpus
from nyx_assets.rag.fusion import reciprocal_rank_fusion


def test_fused_scores_are_the_sums_of_the_published_formula() -> None:
    fused = reciprocal_rank_fusion([["a", "b", "c"], ["c", "d"]], top_k=9)
    by_hand = {
        "a": Fraction(1, 61), "b": Fraction(1, 62), "c": Fraction(1, 63) + Fraction(1, 61), "d": Fraction(1, 62),
    }  # fmt: skip
    assert [one for one, _ in fused] == ["c", "a", "b", "d"]
    assert dict(fused) == pytest.approx({one: float(score) for one, score in by_hand.items()})
    assert [one for one, _ in reciprocal_rank_fusion([["a", "b", "c"], ["c", "d"]], top_k=2)] == ["c", "a"]
    assert reciprocal_rank_fusion([[], []], top_k=3) == []


@pytest.mark.parametrize("texts", [["a blue boat", "the red tower", "blue blue sky", ""], ["", "", "", ""]])
def test_words_that_were_kept_in_a_folder_rank_as_before(texts: list[str], tmp_path: Path) -> None:
    corpus = Bm25Corpus(["d", "b", "c", "a"], texts)
    corpus.save(tmp_path / "words")
    queries = ["blue boat", "tower", "nothing of it"]
    assert Bm25Corpus.load(tmp_path / "words").search(queries, 3) == corpus.search(queries, 3)
