"""Hard negatives: chunks that a miner ranked high for a query and that do not answer it."""

from collections.abc import Iterable, Mapping
from typing import Any

from nyx_assets.rag.bm25 import FIRST_CJK, terms
from nyx_assets.rag.rankings import Ranking
from nyx_assets.recipes import MiningRecipe
from training_kernels.documents import Document
from training_kernels.errors import DataError

MIN_TELLING_LETTERS = 3
MIN_TELLING_DIGITS = 4
TRUTH_VALUES = frozenset({"yes", "no", "true", "false", "none", "unknown"})
ARTICLES = frozenset({"a", "an", "the"})

NO_CANDIDATE = "no_candidate"
"""Reason of the row that stands for a query whose ranking has nothing in the mined ranks: rank 0, no chunk."""


def mine(
    queries: Iterable[Mapping[str, Any]],
    ranking_by_qa: Mapping[str, Ranking],
    chunk_by_id: Mapping[str, Document],
    *,
    recipe: MiningRecipe,
    miner: str,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of NEGATIVES and of REFUSED_NEGATIVES.

    A query's hits of ranks first_rank to first_rank + depth - 1 are taken in order until `keep` are found; each hit
    passed over on the way is a refused row with its reason. Every query stands in one of the two tables at least.

    Args:
        queries: rows of filtered_qa (qa_id, chunk_id, answer).
        ranking_by_qa: the miner's hits by qa_id, from the first rank.
        chunk_by_id: every chunk that a query or a hit names.
        miner: its name, for the rows.

    Raises:
        DataError: a query has no ranking, or a chunk is named that chunk_by_id lacks.

    Source: Nyx paper, section 3.2: the best-ranked that are not golden. The checks for false negatives are ours.
    """
    negatives: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    for query in queries:
        qa_id = query["qa_id"]
        if qa_id not in ranking_by_qa:
            raise DataError(f"query {qa_id} has no ranking; search for every query that is mined, an empty one counts")
        mined = ranking_by_qa[qa_id][recipe.first_rank - 1 : recipe.first_rank - 1 + recipe.depth]
        if not mined:
            refused.append(_row(qa_id, 0, None, None, miner) | {"reason": NO_CANDIDATE})
        golden = _chunk(chunk_by_id, query["chunk_id"])
        taken: dict[Any, str] = {}
        for rank, (chunk_id, score) in enumerate(mined, start=recipe.first_rank):
            if len(taken) == recipe.keep:
                break
            chunk = _chunk(chunk_by_id, chunk_id)
            reason = _why_false(chunk_id, chunk, query, golden, taken)
            if reason is None:
                taken[_content(chunk)] = chunk_id
                negatives.append(_row(qa_id, len(taken), chunk_id, score, miner))
            else:
                refused.append(_row(qa_id, rank, chunk_id, score, miner) | {"reason": reason})
    return negatives, refused


def contains_answer(text: str, answer: str) -> bool:
    """Whether a text holds an answer as whole words, in order.

    An answer that says little by itself (under 3 letters, a number under 4 digits, yes, no) stands in almost any text
    by chance and counts as contained in none. Choice: refusing on it would leave only far-off negatives.
    """
    answer_terms = [term for term in terms(answer) if term not in ARTICLES]
    if not _is_telling(answer_terms):
        return False
    text_terms = [term for term in terms(text) if term not in ARTICLES]
    return f" {' '.join(answer_terms)} " in f" {' '.join(text_terms)} "


def _is_telling(answer_terms: list[str]) -> bool:
    letters = "".join(answer_terms)
    if letters.isdigit():
        return len(letters) >= MIN_TELLING_DIGITS
    # Two Chinese letters are a word; one is not.
    is_long = len(letters) >= (2 if FIRST_CJK.match(letters) else MIN_TELLING_LETTERS)
    return is_long and letters not in TRUTH_VALUES


def _why_false(
    chunk_id: str,
    chunk: Document,
    query: Mapping[str, Any],
    golden: Document,
    taken: Mapping[Any, str],
) -> str | None:
    """Why a hit must not be a negative, or None."""
    if chunk_id == query["chunk_id"]:
        return "golden_chunk"
    if _content(chunk) == _content(golden):
        return "same_content_as_golden"
    if contains_answer(chunk.text, query["answer"]):
        return "contains_answer"
    if _content(chunk) in taken:
        return "same_content_as_negative"
    return None


def _content(chunk: Document) -> tuple[str, ...]:
    """What two chunks share when one could stand for the other: their terms, or their pictures where there are none.

    Choice: equal texts beside other pictures count as the same, for such pairs are mostly two crops of one picture.
    """
    return tuple(terms(chunk.text)) or ("pictures", *sorted(chunk.images))


def _chunk(chunk_by_id: Mapping[str, Document], chunk_id: str) -> Document:
    if chunk_id not in chunk_by_id:
        raise DataError(f"chunk {chunk_id} is not in chunked_corpus; mine again with the corpus that was searched")
    return chunk_by_id[chunk_id]


def _row(qa_id: str, rank: int, chunk_id: str | None, score: float | None, miner: str) -> dict[str, Any]:
    return {"qa_id": qa_id, "rank": rank, "chunk_id": chunk_id, "score": score, "miner": miner}
