"""What the generator is asked about each query, in which order, and what becomes of its answers."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import takewhile
from typing import Any

import pytest

from nyx_assets.feedback.grading import grade_of
from nyx_assets.feedback.trying import Query, queries_of, request_of, tried
from nyx_assets.recipes import FEEDBACK_RECIPES
from resources.vlm import Reply, Request
from resources.vlm_offline import OfflineVLM
from training_kernels.documents import Document
from training_kernels.errors import BudgetReached, VLMError

RECIPE = replace(
    FEEDBACK_RECIPES["guarded"], top_k=5, window_length=2, max_output_tokens=17, temperature=0.25, early_stop=False
)
SHOWN = replace(RECIPE, grade="exact_option", shows_options=True)


def pair(qa_id: str, answer: str = "Ada Lund", chunk_id: str = "c3") -> dict[str, Any]:
    question = Document.of(f"What belongs in the gap: “The {qa_id} tower was built by ____ in 1911”?")
    return {
        "qa_id": qa_id, "split": "train", "answer": answer, "question": question.to_rows(), "chunk_id": chunk_id,
        "options": ["Bo Ek", answer, "Cy Orr"], "right_option": 1,
    }  # fmt: skip


RANKINGS = [[("c3", 0.9), ("c1", 0.7), ("c2", 0.1)], [("c1", 0.5)]]
CHUNKS = {f"c{number}": Document.of(f"Chunk {number} tells of a bridge.") for number in (1, 2, 3)}


def one_query(**changes: Any) -> Query:
    (query,) = queries_of([pair("q1", **changes)], RANKINGS[:1], RECIPE)
    return query


class Scripted:
    """Answers by the order of its calls."""

    model, is_stand_in = "some-vlm", False

    def __init__(self, *answers: str | Exception, max_in_flight: int = 1) -> None:
        self._answers = list(answers)
        self.max_in_flight = max_in_flight
        self.asked: list[Request] = []

    async def complete(self, request: Request) -> Reply:
        self.asked.append(request)
        await asyncio.sleep(0)
        answer = self._answers[min(len(self.asked), len(self._answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return Reply(
            text=answer, model=self.model, request_digest="d", input_tokens=11, output_tokens=3, cost_usd=0.5,
            latency_seconds=0.1, finish_reason="stop", is_stand_in=False,
        )  # fmt: skip


def test_each_query_has_the_windows_over_what_was_retrieved_for_it() -> None:
    queries = list(queries_of([pair("q1"), pair("q2")], RANKINGS, RECIPE))
    assert [(query.pair["qa_id"], query.windows) for query in queries] == [
        ("q1", (("c3", "c1"), ("c1", "c2"))),
        ("q2", (("c1",),)),
    ]
    assert queries[0].window(0) == ()
    assert queries[0].window(2) == ("c1", "c2")


def test_a_pair_without_its_ranking_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        list(queries_of([pair("q1"), pair("q2")], RANKINGS[:1], RECIPE))


def text_of(request: Request) -> str:
    return "\n".join(message.content.text for message in request.messages)


def test_the_generator_sees_the_window_before_the_question_and_options_by_recipe() -> None:
    request = request_of(one_query(), 1, CHUNKS, RECIPE, seed=5)
    text = request.messages[-1].content.text
    assert text.index("Chunk 3") < text.index("Chunk 1") < text.index("q1 tower")
    assert "Chunk 2" not in text
    assert "Bo Ek" not in text
    assert "Chunk" not in text_of(request_of(one_query(), 0, CHUNKS, RECIPE, seed=5))
    assert "B. Ada Lund" in text_of(request_of(one_query(), 1, CHUNKS, SHOWN, seed=5))
    sampling = request.sampling
    assert (sampling.max_output_tokens, sampling.temperature, sampling.seed) == (17, 0.25, 5)


def test_no_recipe_lets_options_into_the_query_that_retrieves() -> None:
    """The right answer among the options would retrieve its own chunk."""
    assert "Ada Lund" not in Document.from_rows(pair("q1")["question"]).text
    for recipe in FEEDBACK_RECIPES.values():
        (query,) = queries_of([pair("q1")], RANKINGS[:1], recipe)
        shown = text_of(request_of(query, 1, CHUNKS, recipe, seed=5))
        assert ("Ada Lund" in shown) == recipe.shows_options


def common_prefix(first: str, second: str) -> str:
    return "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def test_questions_of_one_chunk_stand_together_and_share_instructions_and_window_as_a_prefix() -> None:
    pairs = [pair("q1", chunk_id="c3"), pair("q2", chunk_id="c1"), pair("q3", chunk_id="c3")]
    queries = list(queries_of(pairs, [RANKINGS[0]] * 3, RECIPE))
    assert [query.pair["qa_id"] for query in queries] == ["q2", "q1", "q3"]
    first, second = (text_of(request_of(query, 1, CHUNKS, RECIPE, seed=5)) for query in queries[1:])
    shared = common_prefix(first, second)
    assert shared.endswith("Question:\nWhat belongs in the gap: “The q")
    assert "Chunk 3 tells of a bridge." in shared
    other_window = text_of(request_of(queries[1], 2, CHUNKS, RECIPE, seed=5))
    instructions = common_prefix(first, other_window)
    assert instructions.endswith("Document 1:\nChunk ")
    assert len(instructions) > 100


@pytest.mark.parametrize(
    ("recipe", "answer", "grade"),
    [
        (RECIPE, "Ada", 2 / 3),  # one of one word right, one of two found
        (replace(RECIPE, grade="exact_match"), "Ada", 0.0),
        (replace(RECIPE, grade="exact_match"), "ada lund.", 1.0),
        (SHOWN, "B", 1.0),
        (SHOWN, "B. Ada Lund", 1.0),
        (SHOWN, "ada lund", 1.0),
        (SHOWN, "A", 0.0),
        (SHOWN, "Ada", 0.0),
        (replace(SHOWN, shows_options=False), "ada lund", 1.0),
        (replace(SHOWN, shows_options=False), "B", 0.0),  # names nothing that the generator has seen
    ],
)
def test_an_answer_is_graded_by_the_recipe(recipe: Any, answer: str, grade: float) -> None:
    assert grade_of(answer, pair("q1"), recipe) == pytest.approx(grade)


def test_without_options_the_right_option_is_the_golden_answer() -> None:
    assert grade_of("ada lund", pair("q1") | {"options": [], "right_option": None}, SHOWN) == 1.0


def test_every_try_is_a_row_with_its_cost_and_a_refusal_has_no_grade() -> None:
    vlm = Scripted("Answer: Ada", VLMError("the server refused"), "ada lund")
    (rows,) = tried([one_query()], vlm, CHUNKS, RECIPE, seed=5)
    assert [(row["window_rank"], row["answer"], row["window"]) for row in rows] == [
        (0, "Ada", []),
        (1, "the server refused", ["c3", "c1"]),
        (2, "ada lund", ["c1", "c2"]),
    ]
    assert [row["similarity"] for row in rows] == [None, 0.9, 0.7]
    assert [row["grade"] for row in rows] == [pytest.approx(2 / 3), None, 1.0]
    assert [row["cost_usd"] for row in rows] == [0.5, 0.0, 0.5]
    assert (rows[0]["input_tokens"], rows[0]["output_tokens"]) == (11, 3)
    assert [row["answers_alone"] for row in rows] == [True] * 3


def test_early_stop_asks_one_call_for_what_needs_no_document_and_says_how_many_it_left() -> None:
    vlm = Scripted("Ada Lund")
    ((row,),) = tried([one_query()], vlm, CHUNKS, replace(RECIPE, early_stop=True), seed=5)
    assert len(vlm.asked) == 1
    assert (row["window_rank"], row["role"], row["num_not_asked"]) == (0, "unused", 2)


class Watched(Scripted):
    """Counts its calls under way."""

    under_way = most_under_way = 0

    async def complete(self, request: Request) -> Reply:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(0.002)
        self.under_way -= 1
        return await super().complete(request)


@pytest.mark.parametrize("early_stop", [True, False])
def test_as_many_calls_are_under_way_as_the_endpoint_takes_and_no_more(early_stop: bool) -> None:
    queries = list(queries_of([pair(f"q{number}") for number in range(40)], [RANKINGS[0]] * 40, RECIPE))
    vlm = Watched("no idea", max_in_flight=8)
    rows = list(tried(queries, vlm, CHUNKS, replace(RECIPE, early_stop=early_stop), seed=5))
    assert [of_query[0]["qa_id"] for of_query in rows] == [query.pair["qa_id"] for query in queries]
    assert vlm.most_under_way == 8
    assert len(vlm.asked) == 40 * 3


def test_queries_are_drawn_as_they_are_asked_from_an_endless_stream() -> None:
    drawn = 0

    def endless() -> Iterator[Query]:
        nonlocal drawn
        while True:
            drawn += 1
            (query,) = queries_of([pair(f"q{drawn}")], RANKINGS[:1], RECIPE)
            yield query

    stream = tried(endless(), Scripted("no idea", max_in_flight=2), CHUNKS, RECIPE, seed=5)
    assert [next(stream)[0]["qa_id"] for _ in range(5)] == ["q1", "q2", "q3", "q4", "q5"]
    stream.close()
    assert drawn < 200


def test_a_cap_that_is_reached_ends_all_queries_and_is_what_is_raised() -> None:
    queries = list(queries_of([pair(f"q{number}") for number in range(40)], [RANKINGS[0]] * 40, RECIPE))
    vlm = Watched(*["no idea"] * 19, BudgetReached("the cap"), max_in_flight=8)
    with pytest.raises(BudgetReached, match="the cap"):
        list(tried(queries, vlm, CHUNKS, RECIPE, seed=5))
    assert len(vlm.asked) <= 19 + 8


def test_a_reader_that_stops_starts_no_further_call() -> None:
    queries = list(queries_of([pair(f"q{number}") for number in range(40)], [RANKINGS[0]] * 40, RECIPE))
    vlm = Watched("no idea", max_in_flight=4)
    stream = tried(queries, vlm, CHUNKS, RECIPE, seed=5)
    next(stream)
    asked = len(vlm.asked) + vlm.under_way
    stream.close()
    assert vlm.under_way == 0
    assert len(vlm.asked) <= asked + 4  # what started between the two lines


def test_the_stand_in_answers_from_what_it_is_shown() -> None:
    """Feedback has to depend on what was retrieved."""
    chunks = {**CHUNKS, "c2": Document.of("The q1 tower was built by Ada Lund in 1911.")}
    (rows,) = tried([one_query()], OfflineVLM(), chunks, RECIPE, seed=5)
    assert [row["grade"] == 1.0 for row in rows] == [False, False, True]
    assert rows[0]["is_stand_in"] is True
