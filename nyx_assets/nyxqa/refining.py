"""Answers of at most so many words: the teacher shortens those that are longer, and gives up on those it cannot."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from nyx_assets.nyxqa.asking import object_schema, pair_on_document, request_with
from nyx_assets.nyxqa.pairs import Means, Objection, Outcome, Pair, asked_about
from nyx_assets.nyxqa.replies import answer_in
from nyx_assets.nyxqa.rules import num_words
from nyx_assets.rag.grading import normalise_answer
from resources.vlm import Reply, Request
from training_kernels.documents import Segment

MAX_ANSWER_TOKENS = 100
"""Choice: room for JSON around a short answer in any script."""


def answer_too_long(pairs: Sequence[Pair], max_words: float, means: Means) -> Iterator[Outcome]:
    """Pairs with answers of at most `max_words` words, refined by the teacher where they are longer.

    Source: arXiv 2510.17354, section 3.2 (at most 5 words). Choice: short answers are not sent again, as the published
    code sends all: there is nothing to shorten.
    """

    def request_of(pair: Pair) -> Request | None:
        if num_words(pair.answer) <= max_words:
            return None
        shown = pair_on_document(pair.chunk["segments"], pair.question, pair.answer)
        return request_with(
            "refine_answer.v1",
            (*shown, Segment(text=f"Shorten it to at most {max_words:g} words.")),
            schema=object_schema(answer={"type": "string"}),
            max_output_tokens=MAX_ANSWER_TOKENS,
            temperature=0.0,  # the shortest right answer is no draw
            seed=means.seed,
        )

    def outcome(pair: Pair, reply: Reply) -> Outcome:
        return _refined(pair, answer_in(reply.text), max_words)

    return asked_about("teacher", pairs, request_of, outcome, means=means, check="answer_too_long")


def _refined(pair: Pair, answer: str, max_words: float) -> Outcome:
    words = num_words(pair.answer)
    if not normalise_answer(answer):
        return Objection(
            "answer_too_long",
            f"the answer has {words} words, at most {max_words:g} allowed, and the teacher found none shorter",
            words,
        )
    if (refined_words := num_words(answer)) > max_words:
        return Objection(
            "answer_too_long",
            f"the answer has {words} words and still {refined_words} after refinement, at most {max_words:g} allowed",
            refined_words,
        )
    return replace(pair, answer=answer)
