"""The calls of the feedback stage: one for each window of each query, and one without any document.

Prompt order: instructions, window, question, as evaluation and serving have it. A server that caches prefixes reads the
instructions once, and a chunk once for all questions that are tried on it soon after one another: the questions of one
golden chunk stand together, and most of what they retrieve is the same. With the question first, the windows of one query
would share its 30 tokens, and no chunk of 200 tokens and its pictures would ever be shared.
"""

import asyncio
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from nyx_assets.feedback.grading import grade_of
from nyx_assets.feedback.preferences import preferences
from nyx_assets.feedback.stopping import NO_DOCUMENT, next_wave
from nyx_assets.feedback.windows import windows
from nyx_assets.rag.answering import answer_of, answer_request
from nyx_assets.rag.rankings import Ranking
from nyx_assets.recipes import FeedbackRecipe
from resources.vlm import VLM, Reply, Request, answered_in_order
from training_kernels.documents import Document
from training_kernels.errors import VLMError

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One training question and the windows that the generator may be shown for it."""

    pair: Mapping[str, Any]
    """Row of filtered_qa."""
    windows: tuple[tuple[str, ...], ...]
    """Chunk ids, in rank order."""
    similarity_by_chunk: Mapping[str, float]

    def window(self, rank: int) -> tuple[str, ...]:
        """Of rank 1 or more; the try without any document shows none."""
        return () if rank == NO_DOCUMENT else self.windows[rank - 1]


def queries_of(
    pairs: Sequence[Mapping[str, Any]], rankings: Sequence[Ranking], recipe: FeedbackRecipe
) -> Iterator[Query]:
    """Each pair with the windows over what was retrieved for it, the pairs of one golden chunk after one another."""
    ranked = sorted(zip(pairs, rankings, strict=True), key=lambda one: (one[0]["chunk_id"], one[0]["qa_id"]))
    for pair, ranking in ranked:
        hits = [chunk_id for chunk_id, _ in ranking]
        yield Query(
            pair=pair,
            windows=tuple(windows(hits, length=recipe.window_length, stride=recipe.window_stride)),
            similarity_by_chunk=dict(ranking),
        )


def request_of(
    query: Query, rank: int, chunk_by_id: Mapping[str, Document], recipe: FeedbackRecipe, *, seed: int
) -> Request:
    """The call for one window."""
    return answer_request(
        Document.from_rows(query.pair["question"]),
        [chunk_by_id[chunk_id] for chunk_id in query.window(rank)],
        options=query.pair["options"] if recipe.shows_options else (),
        max_output_tokens=recipe.max_output_tokens,
        temperature=recipe.temperature,
        seed=seed,
    )


def tried(
    queries: Iterable[Query], vlm: VLM, chunk_by_id: Mapping[str, Document], recipe: FeedbackRecipe, *, seed: int
) -> Generator[list[Row], None, None]:
    """The rows of FEEDBACK_PREFERENCES of each query, in their order.

    As many queries are under way as the endpoint takes calls, each with the wave that it needs next, so no place is
    empty while queries are left, however early each of them stops. At most `vlm.max_in_flight` calls are made at once.
    """
    calls = _Calls(vlm)

    async def try_out(query: Query) -> list[Row]:
        rows: dict[int, Row] = {}
        while wave := next_wave({rank: row["grade"] for rank, row in rows.items()}, len(query.windows), recipe):
            requests = [request_of(query, rank, chunk_by_id, recipe, seed=seed) for rank in wave]
            # all of a wave come back before its first failure is raised, so that what is paid for is kept
            outcomes = await asyncio.gather(*map(calls.ask, requests), return_exceptions=True)
            for rank, outcome in zip(wave, outcomes, strict=True):
                if isinstance(outcome, BaseException) and not isinstance(outcome, VLMError):
                    raise outcome
                rows[rank] = _row(query, rank, outcome, vlm, recipe)
        return preferences(rows.values(), num_windows=len(query.windows), recipe=recipe)

    with closing(answered_in_order(try_out, queries, at_once=vlm.max_in_flight)) as answered:
        try:
            for rows in answered:  # noqa: UP028 - "yield from" would close the stream before further calls are stopped
                yield rows
        finally:
            calls.end(asyncio.CancelledError())


class _Calls:
    """Places at the endpoint, and why it is not asked any more, if so."""

    def __init__(self, vlm: VLM) -> None:
        self._vlm = vlm
        self._places = asyncio.Semaphore(vlm.max_in_flight)
        self._ended_by: BaseException | None = None

    def end(self, reason: BaseException) -> None:
        """Make no further call: those that wait raise the first reason given."""
        self._ended_by = self._ended_by or reason

    async def ask(self, request: Request) -> Reply | VLMError:
        """The reply, or the refusal. Raises what another call broke with, if it waited meanwhile."""
        async with self._places:
            if self._ended_by is not None:
                raise self._ended_by
            try:
                return await self._vlm.complete(request)
            except VLMError as error:
                return error
            except BaseException as error:
                self.end(error)
                raise


def _row(query: Query, rank: int, outcome: Reply | VLMError, vlm: VLM, recipe: FeedbackRecipe) -> Row:
    """A try. A refused call has no grade, and the refusal as its answer."""
    refused = isinstance(outcome, VLMError)
    answer = str(outcome) if isinstance(outcome, VLMError) else answer_of(outcome)
    window = query.window(rank)
    return {
        "qa_id": query.pair["qa_id"],
        "window_rank": rank,
        "window": list(window),
        "similarity": query.similarity_by_chunk[window[0]] if window else None,
        "answer": answer,
        "grade": None if refused else grade_of(answer, query.pair, recipe),
        "generator": vlm.model,
        "is_stand_in": vlm.is_stand_in,
        "input_tokens": 0 if isinstance(outcome, VLMError) else outcome.input_tokens,
        "output_tokens": 0 if isinstance(outcome, VLMError) else outcome.output_tokens,
        "cost_usd": 0.0 if isinstance(outcome, VLMError) else outcome.cost_usd,
    }
