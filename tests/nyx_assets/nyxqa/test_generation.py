"""From calls to requests, and from replies to rows of which none is lost."""

import json
from dataclasses import replace

import pyarrow as pa
import pytest

from nyx_assets.nyxqa.generation import MEANING_BY_TYPE, pairs_of, requests_for
from nyx_assets.qa_recipes import nyx_qa
from nyx_assets.records import RAW_QA
from resources.vlm import Reply
from resources.vlm_offline import OfflineVLM
from training_kernels.documents import Document, Segment
from training_kernels.errors import VLMError

RED, BLUE = Segment(image="a" * 64), Segment(image="b" * 64)
CHUNK = {"chunk_id": "c1", "segments": Document.of("one", RED, "two", BLUE).to_rows()}
WRITING = nyx_qa().writing
TEXT, SINGLE, MULTI = WRITING.variants
FREE = replace(SINGLE, question_pictures=(0, 5))


def reply(text: str, finish_reason="stop") -> Reply:
    return Reply(
        text=text, model="teacher-7b", request_digest="d1", input_tokens=11, output_tokens=4, cost_usd=0.6,
        latency_seconds=1.0, finish_reason=finish_reason, is_stand_in=False,
    )  # fmt: skip


def rows_for(answer, variant=FREE) -> list[dict]:
    return pairs_of(CHUNK, variant, answer, teacher=OfflineVLM())


def pairs(*questions: str, kind="fact") -> str:
    return json.dumps({"pairs": [{"type": kind, "question": q, "answer": "x"} for q in questions]})


def test_each_call_shows_the_chunk_with_its_pictures_labelled_in_their_places():
    plain = {"chunk_id": "c2", "segments": Document.of("three").to_rows()}
    first, second, third = requests_for([(CHUNK, SINGLE), (CHUNK, MULTI), (plain, TEXT)], recipe=WRITING, seed=8)
    _, *shown = first.messages[1].content.segments
    assert Document(tuple(shown)) == Document.of("one", "<image 1>", RED, "two", "<image 2>", BLUE)
    assert third.messages[1].content.segments[1:] == Document.of("three").segments
    assert (first.sampling.seed, first.sampling.max_output_tokens) == (8, WRITING.max_output_tokens)
    assert [request.prompt_version.partition("@")[0] for request in (first, second, third)] == [
        "write_single_image_qa.v1", "write_multi_image_qa.v1", "write_text_only_qa.v1",
    ]  # fmt: skip


def test_number_kinds_and_pictures_of_the_questions_are_those_of_the_recipe():
    variant = replace(MULTI, pairs_per_chunk=7, question_types=("counting", "cause"), question_pictures=(2, 4))
    (request,) = requests_for([(CHUNK, variant)], recipe=WRITING, seed=8)
    instruction = request.messages[1].content.segments[0].text
    assert "at most 7 " in instruction
    assert "2 to 4 of the pictures" in instruction
    assert [kind for kind in MEANING_BY_TYPE if f"- {kind}:" in instruction] == ["cause", "counting"]
    pair = json.loads(request.sampling.json_schema)["properties"]["pairs"]["items"]
    assert pair["properties"]["type"]["enum"] == ["counting", "cause"]


def test_image_references_become_the_chunks_pictures():
    (row,) = rows_for(reply(pairs("Which of <image 2> and <Image_1> is older?")))
    assert Document.from_rows(row["question"]) == Document.of("Which of", BLUE, "and", RED, "is older?")
    assert row["problem"] is None


@pytest.mark.parametrize(
    ("question", "variant", "rule"),
    [
        ("What shows <image 0>?", FREE, "bad_image_reference"),
        ("What shows <image 3>?", FREE, "bad_image_reference"),
        ("Is <image 2> older than <image #2>?", FREE, "repeated_image_reference"),
        ("Is <image 1> older than <image 2>?", SINGLE, "wrong_number_of_pictures"),
        ("Who painted <image 1>?", SINGLE, None),
        ("Who painted the gate?", SINGLE, None),
        ("Who painted <image 1>?", TEXT, "wrong_number_of_pictures"),
        ("Who painted <image 1>?", MULTI, "wrong_number_of_pictures"),
        ("Who painted <image 1> and <image 2>?", MULTI, None),
    ],
)
def test_pictures_that_are_not_there_twice_or_too_few_or_many_are_a_problem_and_the_question_is_kept(
    question, variant, rule
):
    (row,) = rows_for(reply(pairs(question, kind=variant.question_types[0])), variant)
    if rule is None:
        assert row["problem"] is None
    else:
        assert row["problem"].startswith(f"{rule}: ")
        assert row["question"] == Document.of(question).to_rows()


def test_a_kind_that_was_not_asked_for_is_other_and_no_problem():
    rows = [*rows_for(reply(pairs("a?", kind="number"))), *rows_for(reply(pairs("b?", kind="trivia")))]
    assert [(row["question_type"], row["problem"]) for row in rows] == [("number", None), ("other", None)]


def test_tokens_and_cost_of_a_call_are_divided_among_its_rows():
    rows = rows_for(reply(pairs("a?", "b?", "c?")))
    assert [row["input_tokens"] for row in rows] == [4, 4, 3]
    assert [row["output_tokens"] for row in rows] == [2, 1, 1]
    assert [row["cost_usd"] for row in rows] == pytest.approx([0.2, 0.2, 0.2])
    assert {(row["teacher"], row["is_stand_in"], row["request_digest"]) for row in rows} == {
        ("teacher-7b", False, "d1")
    }


def test_pairs_beyond_those_asked_for_are_rows_with_a_problem():
    rows = rows_for(reply(pairs(*[f"q{i}?" for i in range(FREE.pairs_per_chunk + 2)])))
    assert [row["problem"] is None for row in rows] == [True] * FREE.pairs_per_chunk + [False] * 2
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
    elsewhere = pairs_of({**CHUNK, "chunk_id": "c2"}, FREE, reply(pairs("a?")), teacher=OfflineVLM())
    of_another_call = rows_for(reply(pairs("a?")), TEXT)
    assert len({rows[0]["qa_id"], elsewhere[0]["qa_id"], of_another_call[0]["qa_id"]}) == 3


def test_rows_fit_the_table():
    rows = [*rows_for(reply(pairs("Which <image 1>?"))), *rows_for(VLMError("no")), *rows_for(reply("?"))]
    assert pa.Table.from_pylist(rows, schema=RAW_QA).to_pylist() == rows
