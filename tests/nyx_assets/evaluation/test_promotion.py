"""What goes live: the finetuned checkpoint beside the live, pretrained and untrained one and BM25, on dev and test."""

import shutil
from dataclasses import replace

import dagster as dg
import numpy as np
import pytest

from nyx_assets.evaluation.assets import gate
from nyx_assets.evaluation.overriding import promote, promotion_text
from nyx_assets.evaluation.promotion import (
    GateResult,
    comparison_rows,
    decisions_by_persons,
    gate_row,
    live_checkpoint,
    run_gate,
    winner_of,
)
from nyx_assets.evaluation.suites import Suite, SuiteQuery
from nyx_assets.recipes import tiny
from nyx_assets.records import GATE_COMPARISONS, QUALITY_GATE
from resources.embedder import Embedders
from resources.home import Home
from resources.tables import Provenance
from training_kernels.documents import Document
from training_kernels.errors import CheckpointMoved, ConfigError, IncompleteArtifact

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

    def make(
        *, new: float, old: float | None, promoted_with: str = "old", pre: float = LATE, bare: float = LATE
    ) -> tuple[Home, Embedders]:
        embedders = clock_embedders(new=new, pre=pre, untrained=bare, **({} if old is None else {"old": old}))
        embedding_CD = embedders.by_name["new"].embed(list(CHUNKS.values()), side="candidate")
        embedders.by_name["new"].asked.clear()
        by_id = dict(zip(CHUNKS, embedding_CD, strict=True))
        publish(home, "finetuned_checkpoint", "new")
        publish(home, "pretrained_checkpoint", "pre")
        for retriever, version in (("finetuned", "new"), ("pretrained", "pre"), ("untrained", "")):
            store_embeddings(home, retriever, "2026-01", by_id, made_with=version)
        if old is not None:
            publish(home, "promoted_checkpoint", "old")
            first = dict(list(by_id.items())[:30])
            store_embeddings(home, "promoted", "2026-01", first, made_with=promoted_with)
        return home, embedders

    return make


def run(world: tuple[Home, Embedders], dev: Suite = SUITE, test: Suite = SUITE) -> GateResult:
    return run_gate(*world, {"dev": dev, "test": test}, tiny())


def commit_gate(home: Home, result: GateResult) -> None:
    """What the asset writes."""
    made = Provenance(code_version="gate-1", inputs={"retrieval_scores": "x"})
    with home.tables.write("quality_gate", QUALITY_GATE, partition=None, provenance=made) as table:
        table.append([*decisions_by_persons(home), gate_row(result)])


def test_the_first_checkpoint_goes_live(world):
    made = run(world(new=LATE, old=None))
    assert made.decision.promote == "finetuned"
    assert made.live is None
    assert made.candidate.commit.data_version == "new"
    assert made.candidate_score == pytest.approx(1 / np.log2(8))
    assert made.decision.reason.startswith("nothing is live")


def test_a_better_checkpoint_goes_live_and_stands_beside_every_other_on_both_splits(world):
    made = run(world(new=EXACT, old=LATE))
    assert made.decision.promote == "finetuned"
    assert made.metric == "ndcg@10"
    assert [(one.split, one.against, one.role) for one in made.comparisons] == [
        ("dev", "promoted", "decides"),
        ("dev", "pretrained", "may veto"),
        ("dev", "untrained", "may veto"),
        ("dev", "bm25", "for the record"),
        ("test", "promoted", "may veto"),
        ("test", "pretrained", "may veto"),
        ("test", "untrained", "may veto"),
        ("test", "bm25", "for the record"),
    ]
    first = made.comparisons[0]
    assert (first.candidate_score, first.against_score) == (pytest.approx(1), pytest.approx(1 / 3))
    assert first.paired.difference == pytest.approx(2 / 3)
    assert first.paired.num_queries == 36


def test_what_a_person_makes_live_while_the_gate_judges_is_not_undone(world, publish, monkeypatch):
    home, embedders = world(new=EXACT, old=LATE)

    def judged(*arguments):
        result = run_gate(*arguments)
        publish(home, "promoted_checkpoint", "pre")
        return result

    monkeypatch.setattr("nyx_assets.evaluation.assets.run_gate", judged)
    monkeypatch.setattr("nyx_assets.evaluation.assets.suites_of_the_gate", lambda *_: {"dev": SUITE, "test": SUITE})
    resources = {"home": home, "embedders": embedders, "recipe": tiny()}
    with pytest.raises(
        CheckpointMoved, match="became pre while the gate judged, which is about old; what is live stays"
    ):
        dg.materialize([gate], resources=resources, instance=dg.DagsterInstance.ephemeral())
    assert home.tables.commit("quality_gate", None) is None
    assert home.artifacts.require("promoted_checkpoint").commit.data_version == "pre"
    monkeypatch.setattr("nyx_assets.evaluation.assets.run_gate", run_gate)
    assert dg.materialize([gate], resources=resources, instance=dg.DagsterInstance.ephemeral()).success
    assert home.artifacts.require("promoted_checkpoint").commit.data_version == "new"


def test_a_worse_checkpoint_does_not(world):
    made = run(world(new=LATE, old=EXACT))
    assert made.decision.promote is None
    assert winner_of(Home.at("unused"), made).commit.data_version == "old"
    assert made.comparisons[0].paired.difference == pytest.approx(-2 / 3)
    assert made.comparisons[0].paired.high < 0


def test_a_checkpoint_that_feedback_made_worse_than_what_it_came_from_does_not(world):
    made = run(world(new=1.2, old=LATE, pre=EXACT))
    assert made.decision.promote is None
    assert "has lost ndcg@10 on dev" in made.decision.reason
    assert "against pretrained" in made.decision.reason


def test_with_nothing_live_the_better_checkpoint_that_feedback_started_from_goes_live(world):
    home, embedders = world(new=LATE, old=None, pre=EXACT)
    made = run((home, embedders))
    assert made.decision.promote == "pretrained"
    assert winner_of(home, made).commit.data_version == "pre"


def test_the_test_questions_veto_a_checkpoint_that_is_better_on_dev(world):
    home, embedders = world(new=EXACT, old=LATE)
    # on test, the right chunk is the one that the late checkpoint finds first
    shifted = tuple(
        replace(query, grade_by_id={f"c{(number + 3) % 36:02d}": 1}) for number, query in enumerate(SUITE.queries)
    )
    made = run((home, embedders), test=replace(SUITE, queries=shifted))
    assert made.decision.promote is None
    assert "is better on dev" in made.decision.reason
    assert "has lost ndcg@10 on test" in made.decision.reason


def test_what_is_live_already_is_not_compared_with_itself(world, publish):
    home, embedders = world(new=EXACT, old=LATE)
    publish(home, "promoted_checkpoint", "new")
    made = run((home, embedders))
    assert made.decision.promote is None
    assert made.decision.reason == "the finetuned checkpoint is the live one already"
    assert {one.against for one in made.comparisons} == {"pretrained", "untrained", "bm25"}
    assert embedders.by_name["old"].asked == []


def test_without_dev_questions_what_is_live_stays(world):
    made = run(world(new=EXACT, old=LATE), dev=Suite("nyxqa", CHUNKS, ()))
    assert made.decision.promote is None
    assert made.candidate_score is None
    assert gate_row(made)["num_queries"] == 0
    assert "no dev query" in made.decision.reason


def test_the_corpus_is_not_embedded_again_by_the_checkpoint_that_embedded_it(world):
    home, embedders = world(new=EXACT, old=LATE)
    run_gate(home, embedders, {"dev": SUITE}, tiny())
    asked = embedders.by_name["old"].asked
    assert [text for side, text in asked if side == "candidate"] == [f"chunk {number}" for number in range(30, 36)]
    assert sum(side == "query" for side, _ in asked) == 36
    assert {side for side, _ in embedders.by_name["new"].asked} == {"query"}


def test_embeddings_of_another_checkpoint_than_the_live_one_are_not_taken(world):
    home, embedders = world(new=EXACT, old=LATE, promoted_with="the one before")
    made = run_gate(home, embedders, {"dev": SUITE}, tiny())
    assert made.comparisons[0].against_score == pytest.approx(1 / 3)
    assert sum(side == "candidate" for side, _ in embedders.by_name["old"].asked) == 36


def test_nothing_can_be_promoted_before_it_is_trained(home, clock_embedders):
    with pytest.raises(IncompleteArtifact, match="finetuned_checkpoint has not been made"):
        run((home, clock_embedders()))


def test_a_live_checkpoint_whose_folder_was_deleted_is_replaced_and_the_reason_says_so(world):
    home, embedders = world(new=LATE, old=EXACT)
    shutil.rmtree(home.artifacts.require("promoted_checkpoint").folder)
    assert live_checkpoint(home)[0] is None
    made = run((home, embedders))
    assert made.decision.promote == "finetuned"
    assert made.decision.reason.startswith("the live checkpoint is gone (")
    assert "it was deleted" in made.decision.reason
    assert gate_row(made)["live_before"] is None


def test_rows_hold_the_whole_comparison(world):
    made = run(world(new=EXACT, old=LATE))
    row = gate_row(made)
    assert list(row) == QUALITY_GATE.names
    assert (row["candidate"], row["live_before"], row["promoted"]) == ("new", "old", True)
    assert row["interval_low"] <= row["difference"] <= row["interval_high"]
    assert all(list(one) == GATE_COMPARISONS.names for one in comparison_rows(made))
    assert len(comparison_rows(made)) == 8


def test_the_gate_row_of_the_first_checkpoint_leaves_out_what_was_not_compared(world):
    row = gate_row(run(world(new=EXACT, old=None)))
    assert row["promoted"]
    assert row["candidate_score"] == pytest.approx(1)
    missing = ("live_before", "live_score", "difference", "interval_low", "interval_high", "p_value")
    assert [row[name] for name in missing] == [None] * 6


def test_a_person_can_overrule_the_gate_and_the_reason_outlives_its_next_decision(world):
    home, embedders = world(new=LATE, old=EXACT)
    commit_gate(home, run((home, embedders)))
    row = promote(home, "finetuned", reason="  wanted for a demo ", log=print)
    live = home.artifacts.require("promoted_checkpoint")
    assert (live.commit.data_version, live.folder.name) == ("new", "new")
    # made from what the gate saw, so that the next run leaves it alone
    assert live.commit.provenance == Provenance(code_version="gate-1", inputs={"retrieval_scores": "x"})
    assert (row["candidate"], row["live_before"], row["decided_by"]) == ("new", "old", "person")
    assert "in place of old" in promotion_text(row)
    kept = home.tables.read("quality_gate").to_pylist()
    assert [(one["decided_by"], one["promoted"]) for one in kept] == [("gate", False), ("person", True)]
    assert kept[1]["reason"] == "wanted for a demo"
    commit_gate(home, run((home, embedders)))
    assert [one["reason"] for one in decisions_by_persons(home)] == ["wanted for a demo"]
    promote(home, "pre", reason="by version", log=print)
    assert home.artifacts.require("promoted_checkpoint").commit.data_version == "pre"
    assert len(decisions_by_persons(home)) == 2


def test_an_override_that_is_unfounded_or_impossible_is_refused(world):
    home, embedders = world(new=LATE, old=EXACT)
    with pytest.raises(ConfigError, match="has not decided anything yet"):
        promote(home, "finetuned", reason="why not", log=print)
    commit_gate(home, run((home, embedders)))
    with pytest.raises(ConfigError, match="needs a reason"):
        promote(home, "finetuned", reason=" ", log=print)
    with pytest.raises(ConfigError, match="known: finetuned, new, pre, pretrained"):
        promote(home, "fientuned", reason="why not", log=print)
    shutil.rmtree(home.artifacts.require("pretrained_checkpoint").folder)
    with pytest.raises(IncompleteArtifact, match="pre"):
        promote(home, "pretrained", reason="why not", log=print)
    assert home.artifacts.require("promoted_checkpoint").commit.data_version == "old"
