"""Four options for a pair: unique, exactly one right, in an order that only content and seed decide, and solvable."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

from nyx_assets.nyxqa.asking import object_schema, pair_on_document, request_with
from nyx_assets.nyxqa.pairs import Means, Objection, Outcome, Pair, asked_about
from nyx_assets.nyxqa.replies import wrong_options_in
from nyx_assets.rag.answering import answer_of, answer_request
from nyx_assets.rag.grading import normalise_answer, option_accuracy
from resources.vlm import Reply, Request
from training_kernels.documents import Segment

MAX_OPTIONS_TOKENS = 300
"""Choice: three short answers in any script."""

MAX_ANSWER_TOKENS = 64
"""Of one option, written out."""


def bad_options(pairs: Sequence[Pair], num_options: float, means: Means) -> Iterator[Outcome]:
    """Pairs with `num_options` options: the answer, and wrong ones written by the teacher.

    Source: arXiv 2510.17354, section 3.2 (four options). Choice: the right one is the answer itself, by identity, where the
    published code looks for the option nearest to it.
    """
    num_wrong = int(num_options) - 1

    def request_of(pair: Pair) -> Request:
        shown = pair_on_document(pair.chunk["segments"], pair.question, pair.answer)
        return request_with(
            "write_options.v1",
            (*shown, Segment(text=f"Write {num_wrong} wrong options.")),
            schema=object_schema(wrong_options={"type": "array", "items": {"type": "string"}, "minItems": num_wrong}),
            max_output_tokens=MAX_OPTIONS_TOKENS,
            temperature=0.0,
            seed=means.seed,
        )

    def outcome(pair: Pair, reply: Reply) -> Outcome:
        options = different_options(pair.answer, wrong_options_in(reply.text), num_options=int(num_options))
        if len(options) < num_options:
            reason = (
                f"{len(options)} different options with the answer {pair.answer!r} among them, {num_options:g} needed"
            )
            return Objection("bad_options", reason, float(len(options)))
        ordered = shuffled(options, qa_id=pair.qa_id, seed=means.seed)
        return replace(pair, options=ordered, right_option=ordered.index(pair.answer))

    return asked_about("teacher", pairs, request_of, outcome, means=means, check="bad_options")


def different_options(answer: str, wrong: Sequence[str], *, num_options: int) -> list[str]:
    """The answer, then wrong options that differ from it and from one another after normalisation; the first that fit."""
    option_by_key = {normalise_answer(answer): answer}
    for option in wrong:
        key = normalise_answer(option)
        if key and len(option_by_key) < num_options:
            option_by_key.setdefault(key, " ".join(option.split()))
    return list(option_by_key.values())


def shuffled(options: Sequence[str], *, qa_id: str, seed: int) -> tuple[str, ...]:
    """The options in an order that only the pair's id and the seed decide."""
    draw = hashlib.sha256(f"options/{seed}/{qa_id}".encode()).digest()
    return tuple(Random(int.from_bytes(draw[:8], "big")).sample(options, len(options)))


def options_not_solved(pairs: Sequence[Pair], min_accuracy: float, means: Means) -> Iterator[Outcome]:
    """Pairs whose right option the generator picks when it is shown the chunk and the options.

    One that it misses has a wrong answer, or a second right one among its options. Measured: accuracy, 0 or 1.
    """

    def request_of(pair: Pair) -> Request:
        return answer_request(
            pair.question,
            [pair.document],
            options=pair.options,
            max_output_tokens=MAX_ANSWER_TOKENS,
            temperature=0.0,
            seed=means.seed,
        )

    def outcome(pair: Pair, reply: Reply) -> Outcome:
        answer = answer_of(reply)
        accuracy = option_accuracy(answer, pair.options, pair.right_option)
        if accuracy >= min_accuracy:
            return pair
        reason = f"shown the chunk, the generator chose {answer!r} of {list(pair.options)}, not {pair.answer!r}"
        return Objection("options_not_solved", reason, accuracy)

    return asked_about("generator", pairs, request_of, outcome, means=means, check="options_not_solved")
