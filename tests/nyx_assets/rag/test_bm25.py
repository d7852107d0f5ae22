"""BM25 against its formula, and what a search does at its edges."""

import math
import random

import pytest

from nyx_assets.rag.bm25 import Bm25Corpus, terms
from training_kernels.errors import ConfigError, DataError


def by_hand(query: str, texts: dict[str, str], *, k1: float = 1.5, b: float = 0.75) -> list[tuple[str, float]]:
    """Lucene's BM25 in plain floats, over texts of space-separated lower-case words."""
    words = {name: text.split() for name, text in texts.items()}
    average = sum(map(len, words.values())) / len(words)
    scores = {}
    for name, own in words.items():
        score = 0.0
        for word in query.split():
            holders = sum(word in other for other in words.values())
            weight = math.log(1 + (len(words) - holders + 0.5) / (holders + 0.5))
            count = own.count(word)
            score += weight * count / (count + k1 * (1 - b + b * len(own) / average))
        scores[name] = score
    return sorted(((n, s) for n, s in scores.items() if s > 0), key=lambda hit: (-round(hit[1], 5), hit[0]))


def test_scores_and_order_equal_the_formula() -> None:
    rng = random.Random(7)
    words = [f"w{n}" for n in range(30)]
    texts = {f"d{n:02d}": " ".join(rng.choices(words, k=rng.randint(1, 25))) for n in range(40)}
    queries = [" ".join(rng.choices(words, k=length)) for length in (1, 3, 9)]
    shuffled = rng.sample(sorted(texts), len(texts))
    for query, found in zip(
        queries, Bm25Corpus(shuffled, [texts[n] for n in shuffled]).search(queries, 12), strict=True
    ):
        expected = by_hand(query, texts)[:12]
        assert [name for name, _ in found] == [name for name, _ in expected]
        assert [score for _, score in found] == pytest.approx([score for _, score in expected], rel=1e-5)


def test_terms_are_casefolded_words_and_pairs_of_letters_where_words_are_not_spaced() -> None:
    assert terms("The STRASSE, 3.5 km—Ｆｕｌｌ snake_case") == [
        "the",
        "strasse",
        "3",
        "5",
        "km",
        "full",
        "snake",
        "case",
    ]
    assert terms("Straße") == ["strasse"]
    assert terms("红烧肉500g的做法") == ["红烧", "烧肉", "500g", "的做", "做法"]
    assert terms("茶 tea") == ["茶", "tea"]
    assert terms(" .,- ") == []


def test_equal_candidates_come_by_id_wherever_the_cut_falls() -> None:
    corpus = Bm25Corpus(["z", "b", "m", "a", "k"], ["red clock", "red clock", "red clock", "blue boat", "red clock"])
    for top_k, expected in ((1, ["b"]), (2, ["b", "k"]), (3, ["b", "k", "m"]), (9, ["b", "k", "m", "z"])):
        assert [name for name, _ in corpus.search(["clock"], top_k)[0]] == expected


def test_a_candidate_without_a_term_of_the_query_is_no_hit() -> None:
    corpus = Bm25Corpus(["a", "b", "c"], ["red clock", "", "blue boat"])
    assert [[name for name, _ in hits] for hits in corpus.search(["boat boat", "", "!?", "green"], 5)] == [
        ["c"],
        [],
        [],
        [],
    ]
    assert Bm25Corpus(["a", "b"], ["", "…"]).search(["clock"], 3) == [[]]
    assert Bm25Corpus([], []).search(["clock"], 3) == [[]]


def test_a_corpus_that_cannot_be_told_apart_is_refused() -> None:
    with pytest.raises(DataError, match="2 ids and 1 texts"):
        Bm25Corpus(["a", "b"], ["red"])
    with pytest.raises(DataError, match="distinct id"):
        Bm25Corpus(["a", "a"], ["red", "blue"])
    with pytest.raises(ConfigError, match="got 0"):
        Bm25Corpus(["a"], ["red"]).search(["red"], 0)
