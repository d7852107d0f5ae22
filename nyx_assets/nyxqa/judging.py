"""Ask the judge how fit a pair is, from 1 to 10, and keep those that reach the threshold."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from nyx_assets.nyxqa.asking import object_schema, pair_on_document, request_with
from nyx_assets.nyxqa.pairs import Means, Objection, Outcome, Pair, asked_about
from nyx_assets.nyxqa.replies import score_in
from resources.vlm import Reply, Request

LOWEST_SCORE, HIGHEST_SCORE = 1, 10

MAX_SCORE_TOKENS = 200
"""A score is one sentence and one number."""


def judge_request(pair: Pair, means: Means) -> Request:
    """The request to score a pair. Greedy: a score is no draw. The reason comes first, so that the score follows from it."""
    return request_with(
        "judge_qa.v2",
        pair_on_document(pair.chunk["segments"], pair.question, pair.answer),
        schema=object_schema(
            reason={"type": "string"},
            score={"type": "integer", "minimum": LOWEST_SCORE, "maximum": HIGHEST_SCORE},
        ),
        max_output_tokens=MAX_SCORE_TOKENS,
        temperature=0.0,
        seed=means.seed,
    )


def judged_unfit(pairs: Sequence[Pair], min_score: float, means: Means) -> Iterator[Outcome]:
    """Pairs that the judge scores at least `min_score`; the score stays with the pair."""

    def outcome(pair: Pair, reply: Reply) -> Outcome:
        score = score_in(reply.text, lowest=LOWEST_SCORE, highest=HIGHEST_SCORE)
        if score.value < min_score:
            return Objection("judged_unfit", score.reason, score.value)
        return replace(pair, judge_score=score.value)

    def request_of(pair: Pair) -> Request:
        return judge_request(pair, means)

    return asked_about("judge", pairs, request_of, outcome, means=means, check="judged_unfit")
