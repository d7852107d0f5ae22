"""Every call leaves a row: hits, refusals and stand-ins too."""

import json
import math
import multiprocessing
from pathlib import Path

from resources.vlm import Message, Reply, Request, Sampling, complete_all
from resources.vlm_budget import Budget, Caps, Spending
from resources.vlm_cached import CachedVLM
from resources.vlm_ledger import MeteredVLM
from resources.vlm_replies import ReplyFolder
from training_kernels.documents import Document
from training_kernels.errors import VLMError

NO_CAPS = Caps(max_calls=math.inf, max_tokens=math.inf, max_usd=math.inf, since=0.0)


def request(text: str) -> Request:
    sampling = Sampling(temperature=0.0, max_output_tokens=8, seed=0)
    return Request(messages=(Message("user", Document.of(text)),), sampling=sampling, prompt_version="p")


def cached_in(inner, root) -> CachedVLM:
    replies = ReplyFolder(str(root))
    return CachedVLM(inner, replies, Budget(Path(root) / "journals", NO_CAPS, replies))


class PricedVLM:
    model = "priced"
    is_stand_in = False
    max_in_flight = 1

    def bound(self, request: Request) -> Spending:
        return Spending(calls=1, tokens=100, usd=1.0)

    async def complete(self, request: Request) -> Reply:
        if "refuse" in request.messages[0].content.text:
            raise VLMError("over\nquota")
        return Reply(
            text="x", model=self.model, request_digest=request.digest(self.model), input_tokens=3, output_tokens=4,
            cost_usd=0.25, latency_seconds=1.5, finish_reason="length", is_stand_in=False,
        )  # fmt: skip


def rows_in(root) -> list[dict]:
    return [json.loads(line) for file in sorted(root.glob("*.jsonl")) for line in file.read_text().splitlines()]


def test_a_row_says_who_asked_when_what_it_took_and_what_it_cost(tmp_path):
    vlm = MeteredVLM(PricedVLM(), str(tmp_path), asset="raw_qa", partition="c-7", clock=lambda: 1_700_000_000.25)
    list(complete_all(vlm, [request("a")]))
    assert rows_in(tmp_path) == [
        {
            "time": "2023-11-14T22:13:20.250+00:00",
            "asset": "raw_qa",
            "partition": "c-7",
            "model": "priced",
            "request_digest": request("a").digest("priced"),
            "input_tokens": 3,
            "output_tokens": 4,
            "cost_usd": 0.25,
            "latency_seconds": 1.5,
            "finish_reason": "length",
            "is_cached": False,
            "is_stand_in": False,
            "error": None,
        }
    ]


def test_a_cached_reply_is_a_row_that_costs_nothing(tmp_path):
    cached = cached_in(PricedVLM(), str(tmp_path / "replies"))
    vlm = MeteredVLM(cached, str(tmp_path / "ledger"), asset="a", partition=None)
    list(complete_all(vlm, [request("a")]))
    list(complete_all(vlm, [request("a")]))
    assert [(row["is_cached"], row["cost_usd"], row["input_tokens"]) for row in rows_in(tmp_path / "ledger")] == [
        (False, 0.25, 3),
        (True, 0.0, 3),
    ]


def test_a_refusal_is_a_row_with_its_reason_and_still_a_refusal(tmp_path):
    vlm = MeteredVLM(PricedVLM(), str(tmp_path), asset="a", partition=None)
    (error,) = complete_all(vlm, [request("refuse")])
    assert isinstance(error, VLMError)
    (row,) = rows_in(tmp_path)
    assert (row["error"], row["cost_usd"], row["finish_reason"]) == ("over\nquota", 0.0, "refused")
    assert row["request_digest"] == request("refuse").digest("priced")


def test_assets_of_one_process_share_a_file_and_processes_do_not(tmp_path):
    def work(asset: str) -> None:
        list(complete_all(MeteredVLM(PricedVLM(), str(tmp_path), asset=asset, partition=None), [request("a")] * 40))

    work("first")
    work("second")
    assert len(list(tmp_path.glob("*.jsonl"))) == 1
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work, args=(f"child {i}",)) for i in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len(list(tmp_path.glob("*.jsonl"))) == 3
    counts = [row["asset"] for row in rows_in(tmp_path)]
    assert {asset: counts.count(asset) for asset in counts} == {"first": 40, "second": 40, "child 0": 40, "child 1": 40}
