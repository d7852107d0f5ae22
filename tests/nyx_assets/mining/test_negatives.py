"""Which hits become hard negatives, and why the others do not."""

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from nyx_assets.miners import Mined
from nyx_assets.mining.negatives import Proposal, accept_all, mine
from nyx_assets.recipes import MiningRecipe, mining_recipe
from training_kernels.documents import Document, Segment
from training_kernels.errors import ConfigError, DataError

CHUNKS = {
    "gold": Document.of("The lighthouse of Orsund was lit in 1861 by Ada Quill."),
    "copy": Document.of("the lighthouse of Orsund", "was lit in 1861 by Ada Quill"),
    "nearly gold": Document.of("The lighthouse of Orsund was lit in 1861 by its keeper."),
    "answers": Document.of("A letter by Ada Quill, keeper."),
    "near": Document.of("The lighthouse of Marrow has two lamps."),
    "near copy": Document.of("The lighthouse of Marrow has two lamps!"),
    "like near": Document.of("The lighthouse of Marrow has two bright lamps."),
    "part of a word": Document.of("The Quillon of Adams was dark."),
    "far": Document.of("A recipe with plums."),
    "picture": Document.of(Segment(image="aa")),
    "same picture": Document.of(Segment(image="aa")),
    "other picture": Document.of(Segment(image="bb")),
}
CLUSTERS = {"gold": "c1", "nearly gold": "c1", "near": "c2", "like near": "c2"}
QUERY = {"qa_id": "q1", "chunk_id": "gold", "question": [], "answer": "Ada Quill"}


def recipe(**changes: Any) -> MiningRecipe:
    return replace(mining_recipe("paper"), **changes)


def run(
    hits: list[str],
    recipe: MiningRecipe,
    query: dict[str, Any] = QUERY,
    *,
    positive_score: float | None = 9.5,
    judge: Any = accept_all,
) -> tuple[list[Any], list[Any]]:
    mined = Mined([(chunk_id, 9.5 - rank) for rank, chunk_id in enumerate(hits)], positive_score)
    kept, refused = mine(
        [query],
        {query["qa_id"]: mined},
        CHUNKS,
        recipe=recipe,
        miner="bm25",
        cluster_by_chunk=CLUSTERS,
        judge=judge,
    )
    assert all(row["positive_score"] == positive_score for row in kept + refused)
    return [(row["rank"], row["chunk_id"], row["score"]) for row in kept], [
        (row["rank"], row["chunk_id"], row["reason"]) for row in refused
    ]


def test_the_best_wrong_hits_are_kept_and_the_rest_refused_with_a_reason() -> None:
    hits = ["copy", "gold", "nearly gold", "near", "answers", "near copy", "like near", "part of a word", "far"]
    kept, refused = run(hits, recipe())
    assert kept == [(1, "near", 6.5), (2, "part of a word", 2.5), (3, "far", 1.5)]
    assert refused == [
        (1, "copy", "same_content_as_golden"),
        (2, "gold", "golden_chunk"),
        (3, "nearly gold", "near_duplicate_of_golden"),
        (5, "answers", "contains_answer"),
        (6, "near copy", "same_content_as_negative"),
        (7, "like near", "same_content_as_negative"),
    ]


def test_the_papers_variants_look_at_ranks_1_to_10_and_11_to_20() -> None:
    chunks = {f"c{rank:02}": Document.of(f"text number {rank} of its kind") for rank in range(1, 31)}
    chunks["gold"] = CHUNKS["gold"]
    hits = [("c01", 30.0), ("gold", 29.5)] + [(f"c{rank:02}", 30.0 - rank) for rank in range(2, 31)]
    found = {}
    for name in ("paper", "published"):
        kept, _ = mine(
            [QUERY],
            {"q1": Mined(hits, 29.5)},
            chunks,
            recipe=mining_recipe(name),
            miner="bm25",
            cluster_by_chunk={},
        )
        found[name] = [row["chunk_id"] for row in kept]
    assert found == {
        "paper": ["c01", "c02", "c03", "c04", "c05"],
        "published": ["c10", "c11", "c12", "c13", "c14"],
    }


def test_a_hit_above_the_margins_share_of_the_positive_is_refused() -> None:
    # scores are 9.5, 8.5, 7.5, 6.5; 85 % of 8.9 is 7.565
    kept, refused = run(["near", "far", "part of a word", "picture"], recipe(margin=0.85), positive_score=8.9)
    assert [chunk_id for _, chunk_id, _ in kept] == ["part of a word", "picture"]
    assert refused == [(1, "near", "too_close_to_positive"), (2, "far", "too_close_to_positive")]


def test_the_margins_limit_lies_below_a_negative_positive_score_too() -> None:
    mined = Mined([("near", -0.19), ("far", -0.21), ("picture", -0.5)], -0.2)
    kept, refused = mine(
        [QUERY], {"q1": mined}, CHUNKS, recipe=recipe(margin=0.9), miner="m", cluster_by_chunk={}
    )  # the limit is -0.2 - 0.1 * 0.2 = -0.22
    assert [row["chunk_id"] for row in kept] == ["picture"]
    assert {row["reason"] for row in refused} == {"too_close_to_positive"}


def test_without_a_score_of_the_positive_the_margin_refuses_nothing() -> None:
    kept, refused = run(["near", "far"], recipe(margin=0.5), positive_score=None)
    assert (len(kept), refused) == (2, [])


def test_what_the_judge_refuses_makes_room_for_the_next_and_it_is_asked_about_nothing_else() -> None:
    asked: list[list[str]] = []

    def judge(proposals: Sequence[Proposal]) -> list[str | None]:
        asked.append([proposal.chunk_id for proposal in proposals])
        return ["judged_to_answer" if proposal.chunk_id in ("near", "far") else None for proposal in proposals]

    kept, refused = run(
        ["gold", "near", "answers", "far", "part of a word", "picture", "other picture"], recipe(keep=2), judge=judge
    )
    assert [(rank, chunk_id) for rank, chunk_id, _ in kept] == [(1, "part of a word"), (2, "picture")]
    assert asked == [["near", "far"], ["part of a word", "picture"]]
    assert [row for row in refused if row[2] == "judged_to_answer"] == [
        (2, "near", "judged_to_answer"),
        (4, "far", "judged_to_answer"),
    ]


def test_only_the_mined_ranks_are_looked_at_and_no_more_than_needed() -> None:
    hits = ["near", "far", "gold", "part of a word", "picture"]
    assert run(hits, recipe(first_rank=2, depth=3)) == (
        [(1, "far", 8.5), (2, "part of a word", 6.5)],
        [(3, "gold", "golden_chunk")],
    )
    assert run(hits, recipe(keep=2)) == ([(1, "near", 9.5), (2, "far", 8.5)], [])


def test_pictures_without_text_are_compared_by_what_they_are() -> None:
    query = {"qa_id": "q2", "chunk_id": "picture", "question": [], "answer": "a red clock"}
    kept, refused = run(["other picture", "same picture"], recipe(), query)
    assert [chunk_id for _, chunk_id, _ in kept] == ["other picture"]
    assert refused == [(2, "same picture", "same_content_as_golden")]


@pytest.mark.parametrize("hits", [[], ["near", "far"]])
def test_a_query_with_nothing_in_the_mined_ranks_has_a_row_that_says_so(hits: list[str]) -> None:
    assert run(hits, recipe(first_rank=3)) == ([], [(0, None, "no_candidate")])


def test_every_query_stands_in_one_of_the_tables_and_none_has_its_golden_chunk() -> None:
    rng = random.Random(2)
    queries = [QUERY | {"qa_id": f"q{n}", "chunk_id": rng.choice(list(CHUNKS))} for n in range(60)]
    mined = {q["qa_id"]: Mined([(c, 1.0) for c in rng.sample(list(CHUNKS), rng.randint(0, 4))], 2.0) for q in queries}
    kept, refused = mine(queries, mined, CHUNKS, recipe=recipe(keep=2), miner="bm25", cluster_by_chunk=CLUSTERS)
    assert {row["qa_id"] for row in kept + refused} == {query["qa_id"] for query in queries}
    golden = {query["qa_id"]: query["chunk_id"] for query in queries}
    assert all(golden[row["qa_id"]] != row["chunk_id"] for row in kept)


def test_ids_that_lead_nowhere_are_named() -> None:
    with pytest.raises(DataError, match="chunk lost is not in chunked_corpus"):
        run(["near", "lost"], recipe())
    with pytest.raises(DataError, match="query q1 has no ranking"):
        mine([QUERY], {}, CHUNKS, recipe=recipe(), miner="bm25", cluster_by_chunk={})


def test_a_recipe_that_cannot_mine_is_refused() -> None:
    for changes in ({"keep": 0}, {"first_rank": 0}, {"margin": 0.0}, {"margin": math.nan}):
        with pytest.raises(ConfigError, match="margin is above 0"):
            recipe(**changes)
    with pytest.raises(ConfigError, match="known: guarded, judged, paper, published"):
        mining_recipe("papr")
