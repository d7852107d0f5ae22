"""The modality report: where each retriever finds nothing, finds the wrong kind, or reads only half of a query."""

import numpy as np
import pytest

from nyx_assets.evaluation.modalities import modality_rows
from nyx_assets.evaluation.retrieval import rank_suite
from nyx_assets.evaluation.retrievers import Bm25Retriever, DenseRetriever
from nyx_assets.evaluation.suites import Suite, SuiteQuery
from nyx_assets.records import MODALITY_REPORT
from training_kernels.documents import Document, Segment

CANDIDATES = {
    "text": Document.of("red boat"),
    "mixed": Document.of("red tower", Segment(image="tower")),
    "image": Document.of(Segment(image="boat")),
}
SUITE = Suite(
    "s",
    CANDIDATES,
    (
        SuiteQuery("q1", Document.of("red boat"), {"text": 1}),
        SuiteQuery("q2", Document.of("red boat tonight"), {"image": 1}),
        SuiteQuery("q3", Document.of("which tower", Segment(image="tower")), {"mixed": 1}),
    ),
)


class Eyes:
    """Sees pictures and reads nothing: the embedding is that of the first picture, or of none."""

    dims, dim, reads_pictures = (3,), 3, True

    def embed(self, documents, *, side):
        place = {"tower": 0, "boat": 1}
        rows = [np.eye(3)[place[document.images[0]] if document.images else 2] for document in documents]
        return np.array(rows, dtype=np.float32)


def report(retriever) -> dict[tuple[str, str, str], dict]:
    by_dim = rank_suite(retriever, SUITE)
    rows = modality_rows(retriever, SUITE, by_dim[max(by_dim)], split="test")
    assert {*rows[0], "is_stand_in"} == set(MODALITY_REPORT.names)
    return {(row["query_modality"], row["target_modality"], row["blanked"]): row for row in rows}


def test_words_find_the_wrong_modality_and_need_the_text_of_a_mixed_query():
    rows = report(Bm25Retriever())
    assert set(rows) == {
        ("text", "text", "nothing"), ("text", "image", "nothing"), ("mixed", "mixed", "nothing"),
        ("mixed", "mixed", "text"), ("mixed", "mixed", "pictures"),
    }  # fmt: skip
    assert (rows["text", "text", "nothing"]["hit_at_1"], rows["text", "text", "nothing"]["wrong_modality_share"]) == (
        1,
        0,
    )
    assert (
        rows["text", "image", "nothing"]["hit_at_10"],
        rows["text", "image", "nothing"]["wrong_modality_share"],
    ) == (0, 1)
    assert [rows["mixed", "mixed", blanked]["hit_at_1"] for blanked in ("nothing", "text", "pictures")] == [1, 0, 1]


def test_a_retriever_that_only_sees_needs_the_pictures():
    rows = report(DenseRetriever("eyes", Eyes()))
    assert [rows["mixed", "mixed", blanked]["hit_at_1"] for blanked in ("nothing", "text", "pictures")] == [1, 1, 0]
    assert rows["mixed", "mixed", "nothing"]["ndcg_at_10"] == pytest.approx(1)
