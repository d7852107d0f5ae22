"""What goes live: the finetuned checkpoint against the one that is live, on the dev questions."""

import numpy as np
import pytest

from nyx_assets.evaluation.promotion import Comparison, compare_with_live, gate_row
from nyx_assets.evaluation.suites import Suite, SuiteQuery
from nyx_assets.recipes import tiny
from nyx_assets.records import QUALITY_GATE
from resources.embedder import Embedders
from resources.home import Home
from training_kernels.documents import Document
from training_kernels.errors import IncompleteArtifact

NUMBERS = range(36)
CHUNKS = {f"c{number:02d}": Document.of(f"chunk {number}") for number in NUMBERS}
SUITE = Suite(
    "nyxqa",
    CHUNKS,
    tuple(SuiteQuery(f"q{number}", Document.of(f"query {number}"), {f"c{number:02d}": 1}) for number in NUMBERS),
)
EXACT, LATE = 0.2, 3.2
"""Errors in hours: the gold is the nearest chunk, or the seventh; nDCG@10 is 1 or 1 / log2(8)."""


@pytest.fixture
def world(home, publish, store_embeddings, clock_embedders):
    """A home with a finetuned checkpoint "new" and, where asked, the live one "old"; errors by name."""

    def make(*, new: float, old: float | None, promoted_with: str = "old") -> tuple[Home, Embedders]:
        embedders = clock_embedders(new=new, **({} if old is None else {"old": old}))
        embedding_CD = embedders.by_name["new"].embed(list(CHUNKS.values()), side="candidate")
        embedders.by_name["new"].asked.clear()
        by_id = dict(zip(CHUNKS, embedding_CD, strict=True))
        publish(home, "finetuned_checkpoint", "new")
        store_embeddings(home, "finetuned", "2026-01", by_id, made_with="new")
        if old is not None:
            publish(home, "promoted_checkpoint", "old")
            first = dict(list(by_id.items())[:30])
            store_embeddings(home, "promoted", "2026-01", first, made_with=promoted_with)
        return home, embedders

    return make


def compare(world: tuple[Home, Embedders], suite: Suite = SUITE) -> Comparison:
    return compare_with_live(*world, suite, tiny())


def test_the_first_checkpoint_goes_live(world):
    made = compare(world(new=LATE, old=None))
    assert made.promotes
    assert made.live is None
    assert made.candidate.commit.data_version == "new"
    assert made.candidate_score == pytest.approx(1 / np.log2(8))
    assert (made.live_score, made.difference, made.interval) == (None, None, None)
    assert made.reason == "nothing is live"


def test_a_better_checkpoint_goes_live(world):
    made = compare(world(new=EXACT, old=LATE))
    assert made.promotes
    assert (made.candidate_score, made.live_score) == (pytest.approx(1), pytest.approx(1 / 3))
    assert made.difference == pytest.approx(2 / 3)
    assert made.num_queries == 36
    assert made.metric == "ndcg@10"


def test_a_worse_checkpoint_does_not(world):
    made = compare(world(new=LATE, old=EXACT))
    assert not made.promotes
    assert made.live is not None
    assert made.live.commit.data_version == "old"
    assert made.difference == pytest.approx(-2 / 3)
    assert made.interval is not None
    assert made.interval[1] < 0


def test_what_is_live_already_is_not_compared_with_itself(world, publish):
    home, embedders = world(new=EXACT, old=LATE)
    publish(home, "promoted_checkpoint", "new")
    made = compare((home, embedders))
    assert not made.promotes
    assert made.reason == "the finetuned checkpoint is the live one already"
    assert made.candidate_score == made.live_score == pytest.approx(1)
    assert embedders.by_name["old"].asked == []


def test_without_dev_questions_what_is_live_stays(world):
    made = compare(world(new=EXACT, old=LATE), Suite("nyxqa", CHUNKS, ()))
    assert not made.promotes
    assert (made.candidate_score, made.live_score, made.num_queries) == (None, None, 0)
    assert "no dev query" in made.reason


def test_the_corpus_is_not_embedded_again_by_the_checkpoint_that_embedded_it(world):
    home, embedders = world(new=EXACT, old=LATE)
    compare((home, embedders))
    asked = embedders.by_name["old"].asked
    assert [text for side, text in asked if side == "candidate"] == [f"chunk {number}" for number in range(30, 36)]
    assert sum(side == "query" for side, _ in asked) == 36
    assert {side for side, _ in embedders.by_name["new"].asked} == {"query"}


def test_embeddings_of_another_checkpoint_than_the_live_one_are_not_taken(world):
    home, embedders = world(new=EXACT, old=LATE, promoted_with="the one before")
    assert compare((home, embedders)).live_score == pytest.approx(1 / 3)
    assert sum(side == "candidate" for side, _ in embedders.by_name["old"].asked) == 36


def test_nothing_can_be_promoted_before_it_is_trained(home, clock_embedders):
    with pytest.raises(IncompleteArtifact, match="finetuned_checkpoint has not been made"):
        compare((home, clock_embedders()))


def test_the_gate_row_holds_the_whole_comparison(world):
    row = gate_row(compare(world(new=EXACT, old=LATE)))
    assert list(row) == QUALITY_GATE.names
    assert (row["candidate"], row["live_before"], row["promoted"]) == ("new", "old", True)
    assert row["interval_low"] <= row["difference"] <= row["interval_high"]


def test_the_gate_row_of_the_first_checkpoint_leaves_out_what_was_not_compared(world):
    row = gate_row(compare(world(new=EXACT, old=None)))
    assert row["promoted"]
    assert row["candidate_score"] == pytest.approx(1)
    missing = ("live_before", "live_score", "difference", "interval_low", "interval_high")
    assert [row[name] for name in missing] == [None] * 5
