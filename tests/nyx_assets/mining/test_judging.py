"""The judge of negatives, played by the stand-in over its real rules."""

from nyx_assets.mining.judging import judged_by
from nyx_assets.mining.negatives import Proposal
from resources.cloze import GAP
from resources.vlm import Reply, Request
from resources.vlm_offline import OfflineVLM
from training_kernels.documents import Document
from training_kernels.errors import VLMError

QUERY = {
    "qa_id": "q1",
    "chunk_id": "gold",
    "question": Document.of(f"{GAP} lit the lighthouse of Orsund in the spring of 1861").to_rows(),
    "answer": "Ada Quill",
}


def proposal(text: str) -> Proposal:
    return Proposal(QUERY, Document.of(text), "c", 1, 0.5)


def test_a_chunk_that_lets_the_judge_answer_is_refused_and_another_is_not() -> None:
    verdicts = judged_by(
        OfflineVLM(),
        [
            proposal("Plums are boiled with sugar for an hour."),
            proposal("Ada Quill lit the lighthouse of Orsund in the spring of 1861. She was its keeper."),
        ],
        seed=0,
    )
    assert list(verdicts) == [None, "judged_to_answer"]


def test_a_judge_that_refuses_has_not_cleared_the_chunk() -> None:
    class Refusing(OfflineVLM):
        async def complete(self, request: Request) -> Reply:
            raise VLMError("no")

    assert list(judged_by(Refusing(), [proposal("Plums.")], seed=0)) == ["judge_refused"]


def test_nothing_proposed_asks_nothing() -> None:
    assert list(judged_by(OfflineVLM(), [], seed=0)) == []
