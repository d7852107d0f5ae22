"""Retrievers measured on suites: rows, ties, exclusions, dims."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from nyx_assets.evaluation import retrieval
from nyx_assets.evaluation.retrieval import measure, rank_suite, score_queries
from nyx_assets.evaluation.retrievers import Bm25Retriever, DenseRetriever
from nyx_assets.evaluation.suites import Suite, SuiteQuery
from nyx_assets.recipes import nyx_paper
from resources.embedder import Side
from training_kernels.documents import Document, Segment

RECIPE = replace(nyx_paper().evaluation, recall_at=(1, 2), ndcg_at=10)


class TableEmbedder:
    """An embedder whose embeddings are written down; it remembers what it was asked to embed."""

    dims = (4, 2)
    dim = 4

    def __init__(self, row_by_text: Mapping[str, tuple[float, ...]]) -> None:
        self.row_by_text = row_by_text
        self.asked: list[tuple[Side, str]] = []

    def embed(self, documents: Sequence[Document], *, side: Side) -> np.ndarray:
        self.asked += [(side, document.text) for document in documents]
        rows = np.array([self.row_by_text[document.text] for document in documents], dtype=np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def suite(**golds: str) -> Suite:
    candidates = {
        "c1": Document.of("red tower"),
        "c2": Document.of("red boat", Segment(image="aa")),
        "c3": Document.of("blue clock"),
        "c4": Document.of(Segment(image="bb")),
    }
    queries = tuple(
        SuiteQuery(text, Document.of(text.replace("_", " ")), dict.fromkeys(gold.split(), 1))
        for text, gold in golds.items()
    )
    return Suite("small", candidates, queries)


def values(rows: list[dict], **where: object) -> dict[str, float]:
    return {row["metric"]: row["value"] for row in rows if where.items() <= row.items()}


def test_bm25_rows_are_means_over_all_queries_and_by_their_modality() -> None:
    small = suite(tower="c1", boat="c2", clock="c1 c3")
    pictured = SuiteQuery("p", Document.of("clock", Segment(image="cc")), {"c3": 1})
    rows = measure(
        Bm25Retriever(), replace(small, queries=(*small.queries, pictured)), split="test", recipe=RECIPE
    ).rows
    assert values(rows, modality="all")["recall@1"] == (1 + 1 + 0.5 + 1) / 4
    assert values(rows, modality="all")["hit@1"] == 1
    assert values(rows, modality="text")["recall@1"] == pytest.approx((1 + 1 + 0.5) / 3)
    assert values(rows, modality="mixed")["mrr"] == 1
    assert {row["num_queries"] for row in rows if row["modality"] == "text"} == {3}
    assert {(row["retriever"], row["suite"], row["split"], row["dim"]) for row in rows} == {
        ("bm25", "small", "test", 0)
    }


def test_a_picture_alone_finds_nothing_by_words() -> None:
    small = suite(tower="c1")
    alone = replace(small, queries=(SuiteQuery("p", Document.of(Segment(image="bb")), {"c4": 1}),))
    assert set(values(measure(Bm25Retriever(), alone, split="test", recipe=RECIPE).rows).values()) == {0.0}


EMBEDDINGS = {
    "q": (1.0, 0.0, 0.0, 0.2),
    "red tower": (0.8, 0.6, 0.0, 0.0),
    "red boat": (0.1, 0.0, 0.0, -5.0),
    "blue clock": (0.0, 1.0, 0.0, 0.0),
    "": (0.0, 0.0, 1.0, 0.0),
}


def test_each_matryoshka_dim_is_searched_with_its_own_prefix_renormalised() -> None:
    rankings = rank_suite(DenseRetriever("tiny", TableEmbedder(EMBEDDINGS)), suite(q="c2"))
    assert [[name for name, _ in ranking[0]] for ranking in rankings.values()] == [
        ["c1", "c3", "c4", "c2"],
        ["c2", "c1", "c3", "c4"],
    ]
    assert list(rankings) == [4, 2]
    rows = measure(DenseRetriever("tiny", TableEmbedder(EMBEDDINGS)), suite(q="c2"), split="dev", recipe=RECIPE).rows
    assert {row["dim"]: row["value"] for row in rows if row["metric"] == "mrr" and row["modality"] == "all"} == {
        4: 1 / 4,
        2: 1,
    }


def test_known_embeddings_are_taken_and_only_the_others_made() -> None:
    embedder = TableEmbedder(EMBEDDINGS)
    known = {"c3": np.array([1, 0, 0, 0], dtype=np.float32), "elsewhere": np.zeros(4, dtype=np.float32)}
    rankings = rank_suite(DenseRetriever("tiny", embedder, known=known), suite(q="c3"))
    assert rankings[4][0][0][0] == "c3"
    assert embedder.asked == [("query", "q"), ("candidate", "red tower"), ("candidate", "red boat"), ("candidate", "")]


def test_excluded_candidates_leave_the_ranking_before_it_is_scored() -> None:
    small = suite(red_boat="c1")
    excluded = replace(small, queries=(replace(small.queries[0], exclude=frozenset({"c2"})),))
    before, after = (values(measure(Bm25Retriever(), s, split="dev", recipe=RECIPE).rows) for s in (small, excluded))
    assert (before["mrr"], after["mrr"]) == (0.5, 1.0)


@pytest.mark.parametrize(("num_candidates", "rank"), [(6, 5), (7, 6), (8, None), (9, None), (40, None)])
def test_a_retriever_that_cannot_tell_candidates_apart_ranks_the_gold_last(
    monkeypatch: pytest.MonkeyPatch, num_candidates: int, rank: int | None
) -> None:
    monkeypatch.setattr(retrieval, "DEPTH", 6)
    candidates = {f"c{number:02d}": Document.of("red") for number in range(num_candidates)}
    query = SuiteQuery("q", Document.of("red"), {"c00": 1}, frozenset({"c01"}))
    rankings = rank_suite(Bm25Retriever(), Suite("same", candidates, (query,)))[0]
    scores = score_queries((query,), rankings, recipe=replace(RECIPE, recall_at=(4, 6)))
    assert scores["q"]["recall@4"] == 0
    assert scores["q"]["recall@6"] == (0 if rank is None else 1)
    assert scores["q"]["mrr"] == (0 if rank is None else 1 / rank)


def test_a_gold_at_the_deepest_place_that_counts_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "DEPTH", 3)
    candidates = {f"c{number}": Document.of("red " + "filler " * number) for number in range(8)}
    for gold, found in (("c2", 1), ("c3", 0)):
        query = SuiteQuery("q", Document.of("red"), {gold: 1})
        rankings = rank_suite(Bm25Retriever(), Suite("ladder", candidates, (query,)))[0]
        assert len(rankings[0]) == 3
        assert score_queries((query,), rankings, recipe=replace(RECIPE, recall_at=(3,)))["q"]["recall@3"] == found
