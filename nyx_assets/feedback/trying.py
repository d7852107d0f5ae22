"""The calls of the feedback stage: one for each window of each query, and one without any document."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nyx_assets.feedback.preferences import NO_DOCUMENT
from nyx_assets.feedback.windows import windows
from nyx_assets.rag.answering import answer_of, answer_request
from nyx_assets.rag.drawing import draw_by_hash
from nyx_assets.rag.grading import token_f1
from nyx_assets.rag.rankings import Ranking
from nyx_assets.recipes import FeedbackRecipe
from resources.vlm import VLM, Reply, Request
from training_kernels.documents import Document
from training_kernels.errors import VLMError


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One window that the generator is to answer a query from."""

    pair: Mapping[str, Any]
    """Row of filtered_qa."""
    window_rank: int
    window: tuple[str, ...]
    similarity: float | None


def drawn_queries(pairs: Iterable[Mapping[str, Any]], *, at_most: int, seed: int) -> list[Mapping[str, Any]]:
    """Training pairs to try, at most so many, in order of id."""
    training = {pair["qa_id"]: pair for pair in pairs if pair["split"] == "train"}
    return [training[qa_id] for qa_id in draw_by_hash(training, limit=at_most, seed=seed)]


def tried_windows(pairs: Sequence[Mapping[str, Any]], rankings: Sequence[Ranking], recipe: FeedbackRecipe) -> list[Try]:
    """Every try of every pair, by pair and window rank; window_rank 0 shows no document at all.

    Windows of one query follow each other, and a query's text comes after its window in the prompt, so a server that
    caches prefixes reads the instructions once.
    """
    tries = []
    for pair, ranking in zip(pairs, rankings, strict=True):
        tries.append(Try(pair=pair, window_rank=NO_DOCUMENT, window=(), similarity=None))
        similarity = dict(ranking)
        hits = [chunk_id for chunk_id, _ in ranking]
        for rank, window in enumerate(windows(hits, length=recipe.window_length, stride=recipe.window_stride), start=1):
            tries.append(Try(pair=pair, window_rank=rank, window=window, similarity=similarity[window[0]]))
    return tries


def requests_of(
    tries: Iterable[Try], chunk_by_id: Mapping[str, Document], recipe: FeedbackRecipe, *, seed: int
) -> Iterator[Request]:
    """One call a try. The options are not shown: a guess among four would pass for a document that helped."""
    for one in tries:
        yield answer_request(
            Document.from_rows(one.pair["question"]),
            [chunk_by_id[chunk_id] for chunk_id in one.window],
            max_output_tokens=recipe.max_output_tokens,
            temperature=recipe.temperature,
            seed=seed,
        )


def tries_of(tries: Iterable[Try], replies: Iterable[Reply | VLMError], *, generator: VLM) -> Iterator[dict[str, Any]]:
    """Rows of FEEDBACK_PREFERENCES without `role`. The grade is the token F1 against the pair's answer (published code);
    a refused call has no grade, and the refusal as its answer."""
    for one, reply in zip(tries, replies, strict=True):
        refused = isinstance(reply, VLMError)
        answer = str(reply) if isinstance(reply, VLMError) else answer_of(reply)
        yield {
            "qa_id": one.pair["qa_id"],
            "window_rank": one.window_rank,
            "window": list(one.window),
            "similarity": one.similarity,
            "answer": answer,
            "grade": None if refused else token_f1(answer, [one.pair["answer"]]),
            "generator": generator.model,
            "is_stand_in": generator.is_stand_in,
            "input_tokens": 0 if isinstance(reply, VLMError) else reply.input_tokens,
            "output_tokens": 0 if isinstance(reply, VLMError) else reply.output_tokens,
            "cost_usd": 0.0 if isinstance(reply, VLMError) else reply.cost_usd,
        }
