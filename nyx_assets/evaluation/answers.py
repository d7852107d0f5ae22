"""The generator's answers to held-out questions, by what it was shown."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nyx_assets.evaluation.rag_evaluation import GOLDEN, NO_DOCUMENT
from nyx_assets.evaluation.retrievers import Retriever
from nyx_assets.rag.answering import answer_of, answer_request
from nyx_assets.recipes import PipelineRecipe
from nyx_assets.records import document_key
from resources.vlm import VLM, complete_all
from training_kernels.documents import Document
from training_kernels.errors import VLMError

Row = Mapping[str, Any]

RANKED = 100
"""Hits among which the golden chunk counts as retrieved. Choice: as many as retrieval metrics look at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """A question and the chunks that one retriever would show for it."""

    pair: Row
    retriever: str
    window: tuple[str, ...]
    golden_rank: int | None = None
    """Of the golden chunk, or of one with the same content, among the first RANKED hits; None if it is not there. Of
    several golds that are all needed, the last one's."""


def contexts_of(
    pairs: Sequence[Row], chunk_by_id: Mapping[str, Document], retrievers: Sequence[Retriever], *, window: int
) -> list[Context]:
    """What each retriever shows for each question; "none" shows nothing and "golden" the golden chunk."""
    contexts = [Context(pair=pair, retriever=NO_DOCUMENT, window=()) for pair in pairs]
    contexts += [Context(pair=pair, retriever=GOLDEN, window=(pair["chunk_id"],), golden_rank=1) for pair in pairs]
    golden = {document_key(chunk_by_id[pair["chunk_id"]]) for pair in pairs}
    key_by_id = {chunk_id: key for chunk_id, chunk in chunk_by_id.items() if (key := document_key(chunk)) in golden}
    questions = [Document.from_rows(pair["question"]) for pair in pairs]
    for retriever in retrievers if pairs else ():
        by_dim = retriever.rank(questions, chunk_by_id, top_k=max(window, RANKED))
        for pair, ranking in zip(pairs, by_dim[max(by_dim)], strict=True):
            ids = [chunk_id for chunk_id, _ in ranking]
            key = key_by_id[pair["chunk_id"]]
            rank = next((place for place, one in enumerate(ids, start=1) if key_by_id.get(one) == key), None)
            contexts.append(Context(pair=pair, retriever=retriever.name, window=tuple(ids[:window]), golden_rank=rank))
    return contexts


def answered_with(
    vlm: VLM, contexts: Sequence[Context], chunk_by_id: Mapping[str, Document], recipe: PipelineRecipe
) -> Iterator[dict[str, Any]]:
    """A row an answer, as grades_of takes them. The options are shown: the paper's accuracy is over four options.

    Raises VLMError at the end if every call was refused: that says nothing of the answers, and all of them would be 0.
    """
    requests = (
        answer_request(
            Document.from_rows(context.pair["question"]),
            [chunk_by_id[chunk_id] for chunk_id in context.window],
            options=context.pair["options"],
            max_output_tokens=recipe.feedback.max_output_tokens,
            temperature=recipe.feedback.temperature,
            seed=recipe.seed,
        )
        for context in contexts
    )
    num_refused = 0
    for context, reply in zip(contexts, complete_all(vlm, requests), strict=True):
        num_refused += isinstance(reply, VLMError)
        if isinstance(reply, VLMError) and num_refused == len(contexts):
            raise VLMError(f"the generator {vlm.model} refused all of {num_refused:,} calls, the last with: {reply}")
        yield {
            "qa_id": context.pair["qa_id"],
            "retriever": context.retriever,
            "answer": None if isinstance(reply, VLMError) else answer_of(reply),
            "window": context.window,
            "golden_rank": context.golden_rank,
            "generator": vlm.model,
            "is_stand_in": vlm.is_stand_in,
        }
