"""A pair on its way through the checks, and what a check may say about it."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from nyx_assets.miners import Miner
from nyx_assets.nyxqa.asking import Tally, ask_all
from resources.vlm import VLM, Reply, Request
from training_kernels.documents import Document
from training_kernels.errors import ReplyFormatError, VLMError

Row = Mapping[str, Any]
Role = Literal["teacher", "generator", "judge"]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A question, its answer and its golden chunk, with what the checks so far have added."""

    row: Row
    """Of `raw_qa`."""
    chunk: Row
    """Of `chunked_corpus`."""
    answer: str
    options: tuple[str, ...] = ()
    right_option: int = 0
    judge_score: float | None = None
    """None before a judge was asked."""
    marks: tuple[str, ...] = ()

    @classmethod
    def of(cls, row: Row, chunk: Row) -> "Pair":
        return cls(row=row, chunk=chunk, answer=row["answer"])

    @property
    def qa_id(self) -> str:
        return self.row["qa_id"]

    @cached_property
    def question(self) -> Document:
        return Document.from_rows(self.row["question"])

    @cached_property
    def document(self) -> Document:
        """The golden chunk."""
        return Document.from_rows(self.chunk["segments"])


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a check refuses a pair."""

    rule: str
    """The check's name, or what went wrong in it."""
    reason: str
    """For a person."""
    measured: float | None
    """In the unit of the check's threshold; None where nothing could be measured."""


@dataclass(frozen=True, slots=True)
class Search:
    """A retriever over the chunks that a round trip goes through."""

    miner: Miner
    described: str
    """Who searches in how many chunks, for a rejection's reason."""


@dataclass(frozen=True, kw_only=True)
class Means:
    """What a check may use besides the pairs."""

    vlm_by_role: Mapping[Role, VLM]
    chunk_by_id: Mapping[str, Row]
    """Chunks of the crawl partition."""
    url_by_doc: Mapping[str, str | None]
    """Address of each page of the partition."""
    blocked_domains: Collection[str]
    """Of the recipe."""
    seed: int
    open_search: Callable[[], Search]
    """The retriever of the recipe's round trip; opened only by the check that asks for it."""
    tally: Tally = field(default_factory=Tally)
    """Of the check that is under way."""

    def ask(
        self, role: Role, pairs: Sequence[Pair], request_of: Callable[[Pair], Request | None], *, check: str
    ) -> Iterator[tuple[Pair, Reply | VLMError | None]]:
        """Each pair with the reply to its request, in order; with None for a pair that there is nothing to ask about."""
        asked = [(pair, request_of(pair)) for pair in pairs]
        replies = ask_all(
            self.vlm_by_role[role],
            (request for _, request in asked if request is not None),
            what_for=f"check {check} by the {role}",
            tally=self.tally,
        )
        for pair, request in asked:
            yield pair, None if request is None else next(replies)
        for _ in replies:  # the stream's end may raise
            raise AssertionError("more replies than requests")


Outcome = Pair | Objection
Check = Callable[[Sequence[Pair], float, Means], Iterator[Outcome]]
"""Pairs and threshold in; for each pair in order: the pair, with what the check adds to it, or the objection."""


def asked_about(
    role: Role,
    pairs: Sequence[Pair],
    request_of: Callable[[Pair], Request | None],
    outcome: Callable[[Pair, Reply], Outcome],
    *,
    means: Means,
    check: str,
) -> Iterator[Outcome]:
    """What a check makes of the replies about its pairs, in order; a pair that there is nothing to ask about passes.

    A refused call has approved nothing and is an objection under a rule of its own, which shows a broken server as such;
    so is a reply that `outcome` cannot read (ReplyFormatError).
    """
    for pair, reply in means.ask(role, pairs, request_of, check=check):
        if reply is None:
            yield pair
        elif isinstance(reply, VLMError):
            yield Objection("refused_call", str(reply), None)
        else:
            try:
                yield outcome(pair, reply)
            except ReplyFormatError as error:
                yield Objection("unreadable_reply", str(error), None)
