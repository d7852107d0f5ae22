"""Every window of every drawn query is tried, in the order that the rows come back in."""

import hashlib
from typing import Any

import pytest

from nyx_assets.feedback.trying import drawn_queries, requests_of, tried_windows, tries_of
from nyx_assets.recipes import FeedbackRecipe
from resources.vlm import Reply, complete_all
from resources.vlm_offline import OfflineVLM
from training_kernels.documents import Document
from training_kernels.errors import VLMError

RECIPE = FeedbackRecipe(
    top_k=5, window_length=2, window_stride=1, min_grade=0.5, max_negatives=3, max_queries_per_crawl=10,
    max_output_tokens=17, temperature=0.25,
)  # fmt: skip


def pair(qa_id: str, split: str = "train", answer: str = "Ada Lund") -> dict[str, Any]:
    question = Document.of(f"What belongs in the gap: “The {qa_id} tower was built by ____ in 1911”?")
    return {"qa_id": qa_id, "split": split, "answer": answer, "question": question.to_rows(), "options": ["A", "B"]}


RANKINGS = [[("c3", 0.9), ("c1", 0.7), ("c2", 0.1)], [("c1", 0.5)]]
CHUNKS = {f"c{number}": Document.of(f"Chunk {number} tells of a bridge.") for number in (1, 2, 3)}


def test_only_training_pairs_are_drawn_each_once_by_hash_of_their_id() -> None:
    pairs = [pair(f"q{number}", split) for number in range(30) for split in (("train", "test", "dev")[number % 3],)]
    training = [one["qa_id"] for one in pairs if one["split"] == "train"]
    by_hash = sorted(training, key=lambda qa_id: hashlib.sha256(f"7\0{qa_id}".encode()).hexdigest())
    drawn = [one["qa_id"] for one in drawn_queries([*pairs, *pairs[:9]], at_most=4, seed=7)]
    assert drawn == sorted(by_hash[:4])
    assert len(drawn_queries(pairs, at_most=100, seed=7)) == 10


def test_each_query_is_tried_without_a_document_and_with_every_window() -> None:
    tries = tried_windows([pair("q1"), pair("q2")], RANKINGS, RECIPE)
    assert [(one.pair["qa_id"], one.window_rank, one.window, one.similarity) for one in tries] == [
        ("q1", 0, (), None),
        ("q1", 1, ("c3", "c1"), 0.9),
        ("q1", 2, ("c1", "c2"), 0.7),
        ("q2", 0, (), None),
        ("q2", 1, ("c1",), 0.5),
    ]


def test_a_pair_without_its_ranking_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        tried_windows([pair("q1"), pair("q2")], RANKINGS[:1], RECIPE)


def test_the_generator_sees_the_window_before_the_question_and_no_options() -> None:
    tries = tried_windows([pair("q1")], RANKINGS[:1], RECIPE)
    asked = list(requests_of(tries, CHUNKS, RECIPE, seed=5))
    assert len(asked) == 3
    text = asked[1].messages[-1].content.text
    assert text.index("Chunk 3") < text.index("Chunk 1") < text.index("q1 tower")
    assert "Chunk 2" not in text
    assert "Options" not in text
    assert "Chunk" not in asked[0].messages[-1].content.text
    sampling = asked[2].sampling
    assert (sampling.max_output_tokens, sampling.temperature, sampling.seed) == (17, 0.25, 5)


def reply(text: str) -> Reply:
    return Reply(
        text=text, model="some-vlm", request_digest="d", input_tokens=11, output_tokens=3, cost_usd=0.5,
        latency_seconds=0.1, finish_reason="stop", is_stand_in=False,
    )  # fmt: skip


def test_rows_are_graded_by_token_f1_and_a_refusal_has_no_grade() -> None:
    tries = tried_windows([pair("q1")], RANKINGS[:1], RECIPE)
    replies = [reply("Answer: Ada"), VLMError("the server refused"), reply("ada lund")]
    rows = list(tries_of(tries, replies, generator=OfflineVLM()))
    assert [row["window_rank"] for row in rows] == [0, 1, 2]
    assert rows[0]["grade"] == pytest.approx(2 / 3)  # one of one word right, one of two found
    assert (rows[0]["answer"], rows[0]["cost_usd"], rows[0]["input_tokens"], rows[0]["output_tokens"]) == (
        "Ada",
        0.5,
        11,
        3,
    )
    assert (rows[1]["grade"], rows[1]["answer"], rows[1]["cost_usd"]) == (None, "the server refused", 0.0)
    assert rows[2]["grade"] == 1.0
    assert rows[2]["window"] == ["c1", "c2"]
    assert rows[0]["is_stand_in"] is True


def test_the_stand_in_answers_from_what_it_is_shown() -> None:
    """Feedback has to depend on what was retrieved."""
    chunks = {**CHUNKS, "c2": Document.of("The q1 tower was built by Ada Lund in 1911.")}
    tries = tried_windows([pair("q1")], RANKINGS[:1], RECIPE)
    vlm = OfflineVLM()
    rows = list(tries_of(tries, complete_all(vlm, requests_of(tries, chunks, RECIPE, seed=5)), generator=vlm))
    assert [row["grade"] == 1.0 for row in rows] == [False, False, True]
