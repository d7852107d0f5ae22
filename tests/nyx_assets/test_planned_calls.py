"""Captions, further rounds and further generators are counted before they are paid for."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nyx_assets.captions.captioning import caption_request
from nyx_assets.planned_calls import NEW_WINDOWS, NUM_RAG_RETRIEVERS, Planner
from nyx_assets.planning import PlannedCalls, Range
from nyx_assets.recipes import nyx
from nyx_assets.records import CHUNKED_CORPUS, FILTERED_QA
from resources.home import Home
from resources.tables import Provenance
from resources.vlm import Reply
from resources.vlm_roles import replies_of
from training_kernels.documents import Document, Segment

RECIPE = replace(nyx(), rounds=replace(nyx().rounds, number=3))
IMAGES = [digit * 64 for digit in "012"]
MODELS = {"teacher": "t", "generator": "g", "judge": "j", "second": "s"}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Two chunks with three pictures, one of which stands in both, and fifty pairs."""
    home = Home.at(tmp_path)
    chunks = [
        Document.of("a", *(Segment(image=one) for one in IMAGES[:2])),
        Document.of(Segment(image=IMAGES[2]), Segment(image=IMAGES[0])),
    ]
    empty: dict[str, Any] = dict.fromkeys(CHUNKED_CORPUS.names)
    with home.tables.write(
        "chunked_corpus", CHUNKED_CORPUS, partition="p", provenance=Provenance(code_version="1")
    ) as table:
        table.append(
            empty | {"chunk_id": f"c{place}", "segments": chunk.to_rows(), "num_images": len(chunk.images)}
            for place, chunk in enumerate(chunks)
        )
    empty = dict.fromkeys(FILTERED_QA.names)
    with home.tables.write("filtered_qa", FILTERED_QA, partition="p", provenance=Provenance(code_version="1")) as table:
        splits = ["test"] * 7 + ["train"] * 43
        table.append(empty | {"qa_id": f"q{place}", "split": split} for place, split in enumerate(splits))
    return home


@pytest.fixture
def planned(home: Home) -> Callable[..., list[PlannedCalls]]:
    """What a plan says of some assets that are not current."""

    def plan(*unmade: str, recipe=RECIPE) -> list[PlannedCalls]:
        planner = Planner(
            home=home, recipe=recipe, replies=replies_of(home), model_by_role=MODELS,
            needs=lambda name, partition: name in unmade, past={}, funnel={},
        )  # fmt: skip
        return list(planner.planned([SimpleNamespace(key="p", num_rows=2)]))

    return plan


def test_a_call_is_planned_for_each_picture_but_those_that_are_captioned_already(home: Home, planned: Any) -> None:
    (captions,) = planned("chunk_captions")
    assert (captions.role, captions.calls, captions.kept, captions.basis) == ("teacher", Range.exactly(3), 0, "counted")
    request = caption_request(IMAGES[1], recipe=RECIPE.captions, seed=RECIPE.seed)
    reply = Reply(
        text="x", model="t", request_digest=request.digest("t"), input_tokens=1, output_tokens=1, cost_usd=0.0,
        latency_seconds=0.0, finish_reason="stop", is_stand_in=False,
    )  # fmt: skip
    replies_of(home).write(request.digest("t"), reply)
    (captions,) = planned("chunk_captions")
    assert (captions.calls, captions.kept) == (Range.exactly(2), 1)
    few = replace(RECIPE, captions=replace(RECIPE.captions, max_pictures_per_crawl=1))
    assert planned("chunk_captions", recipe=few)[0].calls.high <= 1
    assert (
        planned("chunk_captions", recipe=replace(few, captions=replace(few.captions, max_pictures_per_crawl=0))) == []
    )


def test_every_generator_has_a_line_of_its_own(planned: Any) -> None:
    lines = planned("rag_scores")
    answers = [one for one in lines if one.asset == "rag_scores"]
    assert [one.role for one in answers] == ["generator", "second"]
    # the test questions are made, so they are counted and not estimated by their share
    assert answers[0].calls == answers[1].calls == Range.exactly(7 * NUM_RAG_RETRIEVERS)
    assert planned("filtered_qa", "rag_scores")[-1].calls.likely != 7 * NUM_RAG_RETRIEVERS


def test_each_further_round_is_a_range_from_no_call_to_those_of_the_first(planned: Any) -> None:
    rounds = ["feedback_preferences", "round_2/feedback_preferences", "round_3/feedback_preferences"]
    first, second, third = (one for one in planned(*rounds) if one.asset in rounds)
    assert [one.asset for one in (first, second, third)] == rounds
    assert second.calls == third.calls == first.calls * NEW_WINDOWS
    assert (second.calls.low, second.calls.high) == (0, first.calls.high)
