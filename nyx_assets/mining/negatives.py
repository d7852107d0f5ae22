"""Hard negatives: chunks that a miner ranked high for a query and that do not answer it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nyx_assets.miners import Mined
from nyx_assets.mining.answers import contains_answer
from nyx_assets.rag.bm25 import terms
from nyx_assets.recipes import MiningRecipe
from training_kernels.documents import Document
from training_kernels.errors import DataError

NO_CANDIDATE = "no_candidate"
"""Reason of the row that stands for a query whose ranking has nothing in the mined ranks: rank 0, no chunk."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A hit that passed every rule, on its way to the judge."""

    query: Mapping[str, Any]
    """Row of filtered_qa."""
    chunk: Document
    chunk_id: str
    rank: int
    score: float


Judge = Callable[[Sequence[Proposal]], Iterable[str | None]]
"""For each proposal, why it must not be a negative, or None."""


def accept_all(proposals: Sequence[Proposal]) -> Iterable[str | None]:
    """The judge of a recipe that has none."""
    return [None] * len(proposals)


def mine(
    queries: Iterable[Mapping[str, Any]],
    mined_by_qa: Mapping[str, Mined],
    chunk_by_id: Mapping[str, Document],
    *,
    recipe: MiningRecipe,
    miner: str,
    cluster_by_chunk: Mapping[str, str],
    judge: Judge = accept_all,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of NEGATIVES and of REFUSED_NEGATIVES.

    A query's hits of ranks first_rank to first_rank + depth - 1 are taken in order until `keep` are found; each hit
    passed over on the way is a refused row with its reason. Every query stands in one of the two tables at least. The
    judge is asked only about hits that nothing else refuses, of all queries together, and again for those that it
    left short.

    Args:
        queries: rows of filtered_qa (qa_id, chunk_id, question, answer).
        mined_by_qa: what the miner found, by qa_id, from the first rank.
        chunk_by_id: every chunk that a query or a hit names.
        miner: its name, for the rows.
        cluster_by_chunk: cluster of near-duplicates of each chunk that has one.

    Raises:
        DataError: a query has no ranking, or a chunk is named that chunk_by_id lacks.

    Source: Nyx paper, section 3.2: the best-ranked that are not golden. The checks for false negatives are ours; the
    margin is that of Moreira et al. 2024, NV-Retriever, arXiv:2407.15831, section 3.2 (TopK-PercPos).
    """
    searches = []
    for query in queries:
        if query["qa_id"] not in mined_by_qa:
            raise DataError(
                f"query {query['qa_id']} has no ranking; search for every query that is mined, an empty one counts"
            )
        searches.append(_Search(query, mined_by_qa[query["qa_id"]], chunk_by_id, recipe, miner, cluster_by_chunk))
    waiting = searches
    while waiting:
        proposals = [proposal for search in waiting for proposal in search.propose()]
        objections = dict(zip(map(_key, proposals), judge(proposals), strict=True))
        for search in waiting:
            search.settle(objections)
        waiting = [search for search in waiting if search.goes_on]
    return [row for search in searches for row in search.kept], [row for search in searches for row in search.refused]


def _key(proposal: Proposal) -> tuple[str, str]:
    return proposal.query["qa_id"], proposal.chunk_id


@dataclass
class _Search:
    """The way down one query's ranking."""

    query: Mapping[str, Any]
    mined: Mined
    chunk_by_id: Mapping[str, Document]
    recipe: MiningRecipe
    miner: str
    cluster_by_chunk: Mapping[str, str]
    kept: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    _taken: set[Any] = field(default_factory=set)
    _proposed: list[Proposal] = field(default_factory=list)

    def __post_init__(self) -> None:
        first = self.recipe.first_rank
        hits = self.mined.hits[first - 1 : first - 1 + self.recipe.depth]
        if not hits:
            self.refused.append(self._row(0, None, None) | {"reason": NO_CANDIDATE})
        self._golden = self._chunk(self.query["chunk_id"])
        self._survivors = self._surviving(enumerate(hits, start=first))

    @property
    def goes_on(self) -> bool:
        """Whether the last proposals left places open, and there may be hits for them."""
        return bool(self._proposed) and len(self.kept) < self.recipe.keep

    def propose(self) -> list[Proposal]:
        """The next hits that no rule refuses, as many as there are places open."""
        self._proposed = []
        while len(self.kept) + len(self._proposed) < self.recipe.keep:
            proposal = next(self._survivors, None)
            if proposal is None:
                break
            self._proposed.append(proposal)
        return self._proposed

    def settle(self, objections: Mapping[tuple[str, str], str | None]) -> None:
        """Keep what was proposed and met no objection."""
        for proposal in self._proposed:
            row = self._row(proposal.rank, proposal.chunk_id, proposal.score)
            reason = objections[_key(proposal)]
            if reason is None:
                self.kept.append(row | {"rank": len(self.kept) + 1})
            else:
                self.refused.append(row | {"reason": reason})

    def _surviving(self, ranked: Iterable[tuple[int, tuple[str, float]]]) -> Iterator[Proposal]:
        for rank, (chunk_id, score) in ranked:
            chunk = self._chunk(chunk_id)
            reason = self._why_false(chunk_id, chunk, score)
            if reason is None:
                self._taken |= self._likenesses(chunk_id, chunk)
                yield Proposal(self.query, chunk, chunk_id, rank, score)
            else:
                self.refused.append(self._row(rank, chunk_id, score) | {"reason": reason})

    def _why_false(self, chunk_id: str, chunk: Document, score: float) -> str | None:
        """Why a hit must not be a negative, or None."""
        golden_id = self.query["chunk_id"]
        if chunk_id == golden_id:
            return "golden_chunk"
        if _content(chunk) == _content(self._golden):
            return "same_content_as_golden"
        if chunk_id in self.cluster_by_chunk and self.cluster_by_chunk[chunk_id] == self.cluster_by_chunk.get(
            golden_id
        ):
            return "near_duplicate_of_golden"
        if contains_answer(chunk.text, self.query["answer"]):
            return "contains_answer"
        if self._is_too_close(score):
            return "too_close_to_positive"
        if not self._taken.isdisjoint(self._likenesses(chunk_id, chunk)):
            return "same_content_as_negative"
        return None

    def _is_too_close(self, score: float) -> bool:
        """Whether a hit scores above the margin's share of the positive's score.

        Choice: of a negative score the share is taken away, so that the limit is below the positive's score always;
        where the miner cannot score the positive there is nothing to compare with, and the hit passes.
        """
        positive = self.mined.positive_score
        return positive is not None and score > positive - (1 - self.recipe.margin) * abs(positive)

    def _likenesses(self, chunk_id: str, chunk: Document) -> set[Any]:
        """What two chunks have in common when one could stand for the other."""
        return {_content(chunk), ("cluster", self.cluster_by_chunk.get(chunk_id, chunk_id))}

    def _chunk(self, chunk_id: str) -> Document:
        if chunk_id not in self.chunk_by_id:
            raise DataError(f"chunk {chunk_id} is not in chunked_corpus; mine again with the corpus that was searched")
        return self.chunk_by_id[chunk_id]

    def _row(self, rank: int, chunk_id: str | None, score: float | None) -> dict[str, Any]:
        return {
            "qa_id": self.query["qa_id"],
            "rank": rank,
            "chunk_id": chunk_id,
            "score": score,
            "positive_score": self.mined.positive_score,
            "miner": self.miner,
        }


def _content(chunk: Document) -> tuple[str, ...]:
    """What two chunks share when one could stand for the other: their terms, or their pictures where there are none.

    Choice: equal texts beside other pictures count as the same, for such pairs are mostly two crops of one picture.
    """
    return tuple(terms(chunk.text)) or ("pictures", *sorted(chunk.images))
