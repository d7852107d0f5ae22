"""From chunks to requests, and from replies to rows of which none is lost."""

import json

import pyarrow as pa
import pytest

from nyx_assets.nyxqa.generation import pairs_of, requests_for
from nyx_assets.recipes import tiny
from nyx_assets.records import RAW_QA
from resources.vlm import Reply
from resources.vlm_offline import OfflineVLM
from training_kernels.documents import Document, Segment
from training_kernels.errors import VLMError

RED, BLUE = Segment(image="a" * 64), Segment(image="b" * 64)
CHUNK = {"chunk_id": "c1", "segments": Document.of("one", RED, "two", BLUE).to_rows()}
RECIPE = tiny().qa


def reply(text: str, finish_reason="stop") -> Reply:
    return Reply(
        text=text, model="teacher-7b", request_digest="d1", input_tokens=11, output_tokens=4, cost_usd=0.6,
        latency_seconds=1.0, finish_reason=finish_reason, is_stand_in=False,
    )  # fmt: skip


def rows_for(answer) -> list[dict]:
    return pairs_of(CHUNK, answer, teacher=OfflineVLM(), recipe=RECIPE)


def pairs(*questions: str) -> str:
    return json.dumps({"pairs": [{"question": q, "answer": "x", "distractors": ["1", "2", "3"]} for q in questions]})


def test_each_chunk_is_asked_about_once_with_its_pictures_labelled_in_their_places():
    first, second = requests_for(
        [CHUNK, {"chunk_id": "c2", "segments": Document.of("three").to_rows()}], recipe=RECIPE, seed=8
    )
    instruction, *shown = first.messages[1].content.segments
    assert f"at most {RECIPE.pairs_per_chunk} " in instruction.text
    assert Document(tuple(shown)) == Document.of("one", "<image 1>", RED, "two", "<image 2>", BLUE)
    assert second.messages[1].content.segments[1:] == Document.of("three").segments
    assert (first.sampling.seed, first.sampling.max_output_tokens) == (8, RECIPE.max_output_tokens)
    assert json.loads(first.sampling.json_schema)["required"] == ["pairs"]
    assert first.prompt_version.startswith("write_qa.v1@")


def test_image_references_become_the_chunks_pictures():
    (row,) = rows_for(reply(pairs("Which of <image 2> and <Image_1> is older than <image 2>?")))
    assert Document.from_rows(row["question"]) == Document.of("Which of", BLUE, "and", RED, "is older than", BLUE, "?")
    assert row["problem"] is None


@pytest.mark.parametrize("number", [0, 3])
def test_a_reference_to_a_picture_that_is_not_there_is_a_problem_and_the_question_is_kept(number):
    (row,) = rows_for(reply(pairs(f"What shows <image {number}>?")))
    assert row["problem"].startswith("bad_image_reference: ")
    assert row["question"] == Document.of(f"What shows <image {number}>?").to_rows()


def test_tokens_and_cost_of_a_call_are_divided_among_its_rows():
    rows = rows_for(reply(pairs("a?", "b?", "c?")))
    assert [row["input_tokens"] for row in rows] == [4, 4, 3]
    assert [row["output_tokens"] for row in rows] == [2, 1, 1]
    assert [row["cost_usd"] for row in rows] == pytest.approx([0.2, 0.2, 0.2])
    assert {(row["teacher"], row["is_stand_in"], row["request_digest"]) for row in rows} == {
        ("teacher-7b", False, "d1")
    }


def test_pairs_beyond_those_asked_for_are_rows_with_a_problem():
    rows = rows_for(reply(pairs(*[f"q{i}?" for i in range(RECIPE.pairs_per_chunk + 2)])))
    assert [row["problem"] is None for row in rows] == [True] * RECIPE.pairs_per_chunk + [False] * 2
    assert rows[-1]["problem"].startswith("beyond_limit: ")


@pytest.mark.parametrize(
    ("answer", "rule", "cost"),
    [
        (reply("I am sorry."), "unreadable_reply", 0.6),
        (reply('{"pairs": []}'), "no_pair", 0.6),
        (VLMError("HTTP 500"), "refused_call", 0.0),
    ],
)
def test_a_call_without_a_pair_is_one_row_that_says_why(answer, rule, cost):
    (row,) = rows_for(answer)
    assert row["problem"].startswith(f"{rule}: ")
    assert row["cost_usd"] == cost


def test_a_reply_cut_off_keeps_its_whole_pairs_and_says_that_more_was_lost():
    text = pairs("a?", "b?")
    rows = rows_for(reply(text[: text.index("b?")], "length"))
    assert [row["problem"] is None for row in rows] == [True, False]
    assert "length" in rows[1]["problem"]


def test_ids_come_from_content_and_equal_pairs_get_ids_of_their_own():
    rows = rows_for(reply(pairs("a?", "a?", "b?")))
    assert len({row["qa_id"] for row in rows}) == 3
    assert rows[0]["qa_id"] == rows_for(reply(pairs("a?")))[0]["qa_id"]
    elsewhere = pairs_of({**CHUNK, "chunk_id": "c2"}, reply(pairs("a?")), teacher=OfflineVLM(), recipe=RECIPE)
    assert elsewhere[0]["qa_id"] != rows[0]["qa_id"]


def test_rows_fit_the_table():
    rows = [*rows_for(reply(pairs("Which <image 1>?"))), *rows_for(VLMError("no")), *rows_for(reply("?"))]
    assert pa.Table.from_pylist(rows, schema=RAW_QA).to_pylist() == rows
