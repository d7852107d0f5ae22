"""Pairs about a small town, and a VLM that says what a test tells it to."""

import asyncio
import json
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from nyx_assets.miners import Bm25Miner
from nyx_assets.nyxqa.filters import Sorted, filter_pairs
from nyx_assets.nyxqa.pairs import Means, Search
from nyx_assets.qa_recipes import QACheck
from resources.vlm import Reply, Request
from resources.vlm_offline import OfflineVLM
from training_kernels.documents import Document, Segment
from training_kernels.errors import VLMError

RED, BLUE = Segment(image="a" * 64), Segment(image="b" * 64)
CHUNKS = {
    "c1": {"chunk_id": "c1", "doc_id": "d1", "segments": Document.of(
        "The stone bridge over the river was finished by Marta Olsen in 1907.", RED, BLUE).to_rows()},
    "c2": {"chunk_id": "c2", "doc_id": "d2", "segments": Document.of("The tower burned in the great fire.").to_rows()},
    "c3": {"chunk_id": "c3", "doc_id": "d1", "segments": Document.of("A bridge again, and a mill.").to_rows()},
}  # fmt: skip
URLS = {"d1": "https://town.example/bridge", "d2": None}
SPLITS = {"d1": "train", "d2": "test"}
GOOD = "Who finished the stone bridge over the river?"


class ScriptedVLM:
    """Replies with what `say` returns for a request: a text, an object sent as JSON, or a VLMError to refuse with."""

    is_stand_in = False
    max_in_flight = 2

    def __init__(self, say: Callable[[Request], Any], model: str = "scripted-1") -> None:
        self.say, self.model, self.requests = say, model, []

    async def complete(self, request: Request) -> Reply:
        self.requests.append(request)
        await asyncio.sleep(0.001)  # no server answers at once
        said = self.say(request)
        if isinstance(said, VLMError):
            raise said
        return Reply(
            text=said if isinstance(said, str) else json.dumps(said), model=self.model,
            request_digest=request.digest(self.model), input_tokens=10, output_tokens=3, cost_usd=0.5,
            latency_seconds=0.0, finish_reason="stop", is_stand_in=False,
        )  # fmt: skip


def shown_to(request: Request) -> str:
    """The words of a request's user message."""
    return request.messages[-1].content.text


def draft(question: str | Document = GOOD, answer="Marta Olsen", *, qa_id="q1", chunk_id="c1", problem=None) -> dict:
    """A row of raw_qa."""
    document = question if isinstance(question, Document) else Document.of(question)
    return {
        "qa_id": qa_id, "chunk_id": chunk_id, "variant": "text_only", "question_type": "fact",
        "question": document.to_rows(), "answer": answer, "problem": problem, "teacher": "t-9", "is_stand_in": True,
    }  # fmt: skip


def search_by_words() -> Search:
    documents = {chunk_id: Document.from_rows(chunk["segments"]) for chunk_id, chunk in CHUNKS.items()}
    return Search(Bm25Miner(documents), "bm25 among the town's chunks")


def means(open_search=search_by_words, url_by_doc=URLS, **vlm_by_role) -> Means:
    roles = {role: OfflineVLM() for role in ("teacher", "generator", "judge")} | vlm_by_role
    return Means(
        vlm_by_role=roles, chunk_by_id=CHUNKS, url_by_doc=url_by_doc, blocked_domains=["xxx", "bad.example"], seed=3,
        open_search=open_search,
    )  # fmt: skip


def sort(rows: Sequence[dict], *checks: QACheck, **means_by_name) -> Sorted:
    return filter_pairs(rows, means=means(**means_by_name), split_by_doc=SPLITS, checks=checks)


@pytest.fixture(scope="session")
def town() -> SimpleNamespace:
    """What the tests of this folder share; fixtures are the one way to it, because tests are no package."""
    return SimpleNamespace(
        draft=draft, sort=sort, means=means, ScriptedVLM=ScriptedVLM, shown_to=shown_to, chunks=CHUNKS, red=RED,
        blue=BLUE, good=GOOD,
    )  # fmt: skip
