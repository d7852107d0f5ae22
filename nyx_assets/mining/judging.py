"""A VLM as the judge of negatives: it is asked the question with the chunk alone, and must not find the answer."""

from collections.abc import Iterator, Sequence

from nyx_assets.mining.negatives import Proposal
from nyx_assets.rag.answering import answer_of, answer_request
from nyx_assets.rag.grading import token_f1
from resources.vlm import VLM, Request, complete_all
from training_kernels.documents import Document
from training_kernels.errors import VLMError

MIN_GRADE = 0.5
"""Token F1 with the golden answer from which a chunk counts as answering. Choice: half of the tokens right, as the
feedback stage asks of a window that answered."""

MAX_ANSWER_TOKENS = 64
"""Choice: golden answers have at most a few words; a longer reply does not quote one."""


def judge_requests(proposals: Sequence[Proposal], *, seed: int) -> Iterator[Request]:
    """One request a proposal: its question, and its chunk as the only document."""
    for proposal in proposals:
        yield answer_request(
            Document.from_rows(proposal.query["question"]),
            [proposal.chunk],
            max_output_tokens=MAX_ANSWER_TOKENS,
            temperature=0.0,
            seed=seed,
        )


def judged_by(judge: VLM, proposals: Sequence[Proposal], *, seed: int) -> Iterator[str | None]:
    """For each proposal, why it must not be a negative, or None.

    Choice: the judge answers the question instead of giving a verdict on the chunk, so that its reading is graded like
    every other answer and it never sees the golden answer. A judge that refuses has not cleared the chunk.
    """
    for proposal, reply in zip(proposals, complete_all(judge, judge_requests(proposals, seed=seed)), strict=True):
        if isinstance(reply, VLMError):
            yield "judge_refused"
        elif token_f1(answer_of(reply), [proposal.query["answer"]]) >= MIN_GRADE:
            yield "judged_to_answer"
        else:
            yield None
