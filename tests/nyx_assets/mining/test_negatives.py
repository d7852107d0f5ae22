"""Which hits become hard negatives, and why the others do not."""

import random
from typing import Any

import pytest

from nyx_assets.mining.negatives import contains_answer, mine
from nyx_assets.recipes import MiningRecipe
from training_kernels.documents import Document, Segment
from training_kernels.errors import DataError

CHUNKS = {
    "gold": Document.of("The lighthouse of Orsund was lit in 1861 by Ada Quill."),
    "copy": Document.of("the lighthouse of Orsund", "was lit in 1861 by Ada Quill"),
    "answers": Document.of("A letter by Ada Quill, keeper."),
    "near": Document.of("The lighthouse of Marrow has two lamps."),
    "near copy": Document.of("The lighthouse of Marrow has two lamps!"),
    "part of a word": Document.of("The Quillon of Adams was dark."),
    "far": Document.of("A recipe with plums."),
    "picture": Document.of(Segment(image="aa")),
    "same picture": Document.of(Segment(image="aa")),
    "other picture": Document.of(Segment(image="bb")),
}
QUERY = {"qa_id": "q1", "chunk_id": "gold", "answer": "Ada Quill"}


def run(hits: list[str], recipe: MiningRecipe, query: dict[str, str] = QUERY) -> tuple[list[Any], list[Any]]:
    ranking = [(chunk_id, 9.5 - rank) for rank, chunk_id in enumerate(hits)]
    kept, refused = mine([query], {query["qa_id"]: ranking}, CHUNKS, recipe=recipe, miner="bm25")
    return [(row["rank"], row["chunk_id"], row["score"]) for row in kept], [
        (row["rank"], row["chunk_id"], row["reason"]) for row in refused
    ]


def recipe(first_rank: int = 1, depth: int = 10, keep: int = 5) -> MiningRecipe:
    return MiningRecipe(first_rank=first_rank, depth=depth, keep=keep)


def test_the_best_wrong_hits_are_kept_and_the_rest_refused_with_a_reason() -> None:
    kept, refused = run(["copy", "gold", "near", "answers", "near copy", "part of a word", "far"], recipe())
    assert kept == [(1, "near", 7.5), (2, "part of a word", 4.5), (3, "far", 3.5)]
    assert refused == [
        (1, "copy", "same_content_as_golden"),
        (2, "gold", "golden_chunk"),
        (4, "answers", "contains_answer"),
        (5, "near copy", "same_content_as_negative"),
    ]


def test_only_the_mined_ranks_are_looked_at_and_no_more_than_needed() -> None:
    hits = ["near", "far", "gold", "part of a word", "picture"]
    assert run(hits, recipe(first_rank=2, depth=3)) == (
        [(1, "far", 8.5), (2, "part of a word", 6.5)],
        [(3, "gold", "golden_chunk")],
    )
    assert run(hits, recipe(keep=2)) == ([(1, "near", 9.5), (2, "far", 8.5)], [])


def test_pictures_without_text_are_compared_by_what_they_are() -> None:
    query = {"qa_id": "q2", "chunk_id": "picture", "answer": "a red clock"}
    kept, refused = run(["other picture", "same picture"], recipe(), query)
    assert [chunk_id for _, chunk_id, _ in kept] == ["other picture"]
    assert refused == [(2, "same picture", "same_content_as_golden")]


@pytest.mark.parametrize("hits", [[], ["near", "far"]])
def test_a_query_with_nothing_in_the_mined_ranks_has_a_row_that_says_so(hits: list[str]) -> None:
    assert run(hits, recipe(first_rank=3)) == ([], [(0, None, "no_candidate")])


def test_every_query_stands_in_one_of_the_tables() -> None:
    rng = random.Random(2)
    queries = [{"qa_id": f"q{n}", "chunk_id": rng.choice(list(CHUNKS)), "answer": "Ada Quill"} for n in range(60)]
    rankings = {q["qa_id"]: [(c, 1.0) for c in rng.sample(list(CHUNKS), rng.randint(0, 4))] for q in queries}
    kept, refused = mine(queries, rankings, CHUNKS, recipe=recipe(keep=2), miner="bm25")
    assert {row["qa_id"] for row in kept + refused} == {query["qa_id"] for query in queries}
    golden = {query["qa_id"]: query["chunk_id"] for query in queries}
    assert all(golden[row["qa_id"]] != row["chunk_id"] for row in kept)


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("It was lit by the Ada  QUILL.", "Ada Quill", True),
        ("Quill, Ada", "Ada Quill", False),
        ("a megalith", "lit", False),
        ("the Moon of Ors", "moon", True),
        ("It holds the key", "The key", True),
        ("in 1861, at dawn", "1861", True),
        ("in 21861", "1861", False),
        ("with 12 lamps", "12", False),
        ("12 lamps burn", "12 lamps", True),
        ("is it so? yes", "Yes", False),
        ("go up", "up", False),
        ("放入红烧肉即可", "红烧肉", True),
        ("放入红烧肉即可", "烧肉", True),
        ("放入红烧肉即可", "肉", False),
        ("anything", "…", False),
    ],
)
def test_an_answer_counts_as_contained_by_whole_telling_words_only(text: str, answer: str, expected: bool) -> None:
    assert contains_answer(text, answer) is expected


def test_ids_that_lead_nowhere_are_named() -> None:
    with pytest.raises(DataError, match="chunk lost is not in chunked_corpus"):
        run(["near", "lost"], recipe())
    with pytest.raises(DataError, match="query q1 has no ranking"):
        mine([QUERY], {}, CHUNKS, recipe=recipe(), miner="bm25")
