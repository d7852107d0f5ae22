"""Can a pair be answered without what it is about? The generator tries, without the document or without the pictures."""

from collections.abc import Callable, Iterator, Sequence

from nyx_assets.nyxqa.pairs import Means, Objection, Outcome, Pair, asked_about
from nyx_assets.rag.answering import answer_of, answer_request
from nyx_assets.rag.grading import token_f1
from resources.vlm import Reply, Request
from training_kernels.documents import Document

MAX_ANSWER_TOKENS = 64
"""Choice: an answer has at most a few words; a model that explains itself is cut, and not graded on its explanation."""


def answered_closed_book(pairs: Sequence[Pair], min_grade: float, means: Means) -> Iterator[Outcome]:
    """Pairs that the generator does not answer from memory, shown the question with its pictures and no document.

    Measured: token F1 of its answer; from `min_grade` on the pair is refused.
    """

    def request_of(pair: Pair) -> Request:
        return _answer_request(pair.question, [], means)

    return _blind(pairs, request_of, min_grade, means, "answered_closed_book", "no document")


def answered_without_picture(pairs: Sequence[Pair], min_grade: float, means: Means) -> Iterator[Outcome]:
    """Pairs whose pictures are needed: the generator, shown the chunk's words and the question's words only, fails.

    Questions without a picture are not asked. Measured: token F1.
    """

    def request_of(pair: Pair) -> Request | None:
        if not pair.question.images:
            return None
        return _answer_request(_words_of(pair.question), [_words_of(pair.document)], means)

    return _blind(pairs, request_of, min_grade, means, "answered_without_picture", "no picture")


def _words_of(document: Document) -> Document:
    return Document(tuple(segment for segment in document.segments if segment.text is not None))


def _answer_request(question: Document, window: Sequence[Document], means: Means) -> Request:
    return answer_request(question, window, max_output_tokens=MAX_ANSWER_TOKENS, temperature=0.0, seed=means.seed)


def _blind(
    pairs: Sequence[Pair],
    request_of: Callable[[Pair], Request | None],
    min_grade: float,
    means: Means,
    rule: str,
    shown: str,
) -> Iterator[Outcome]:
    def outcome(pair: Pair, reply: Reply) -> Outcome:
        answer = answer_of(reply)
        grade = token_f1(answer, [pair.answer])
        if grade < min_grade:
            return pair
        reason = f"shown {shown}, the generator answered {answer!r} (F1 {grade:.2f}); below {min_grade:g} allowed"
        return Objection(rule, reason, grade)

    return asked_about("generator", pairs, request_of, outcome, means=means, check=rule)
