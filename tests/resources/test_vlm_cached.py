"""Replies are kept by content: paid once across calls, tasks, threads and processes."""

import asyncio
import json
import math
import multiprocessing
import threading
from pathlib import Path

import pytest

from resources.vlm import Message, Reply, Request, Sampling, complete_all
from resources.vlm_budget import Budget, Caps, Spending
from resources.vlm_cached import CachedVLM
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


class CountingVLM:
    """Answers in capitals after 50 ms and counts; the first call for `refuse once` is refused."""

    is_stand_in = True
    max_in_flight = 8

    def __init__(self, model: str = "counting") -> None:
        self.model = model
        self.calls: list[str] = []

    def bound(self, request: Request) -> Spending:
        return Spending(calls=1, tokens=100, usd=1.0)

    async def complete(self, request: Request) -> Reply:
        text = request.messages[0].content.text
        self.calls.append(text)
        await asyncio.sleep(0.05)
        if text == "refuse once" and self.calls.count(text) == 1:
            raise VLMError("no")
        return Reply(
            text=text.upper() + " é中", model=self.model, request_digest=request.digest(self.model), input_tokens=3,
            output_tokens=4, cost_usd=0.25, latency_seconds=0.05, finish_reason="stop", is_stand_in=True,
        )  # fmt: skip


def test_a_second_reader_gets_the_same_reply_marked_as_cached(tmp_path):
    (first,) = complete_all(cached_in(CountingVLM(), str(tmp_path)), [request("a")])
    later = CountingVLM()
    (second,) = complete_all(cached_in(later, str(tmp_path)), [request("a")])
    assert later.calls == []
    assert not first.is_cached
    assert second == first.from_cache()
    assert second.is_cached
    digest = request("a").digest("counting")
    assert (tmp_path / digest[:2] / f"{digest}.json").is_file()


def test_another_model_or_question_is_paid(tmp_path):
    list(complete_all(cached_in(CountingVLM(), str(tmp_path)), [request("a")]))
    other = CountingVLM("other")
    list(complete_all(cached_in(other, str(tmp_path)), [request("a"), request("b")]))
    assert sorted(other.calls) == ["a", "b"]


def test_equal_requests_under_way_at_once_share_one_call(tmp_path):
    inner = CountingVLM()
    replies = list(complete_all(cached_in(inner, str(tmp_path)), [request("a")] * 6 + [request("b")]))
    assert sorted(inner.calls) == ["a", "b"]
    assert [reply.is_cached for reply in replies[:6]].count(False) == 1


def test_equal_requests_of_two_threads_share_one_call(tmp_path):
    inner = CountingVLM()
    cached = cached_in(inner, str(tmp_path))
    threads = [threading.Thread(target=lambda: list(complete_all(cached, [request("a")]))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inner.calls == ["a"]


def test_a_refusal_is_not_kept_but_reaches_all_who_waited_for_it(tmp_path):
    inner = CountingVLM()
    cached = cached_in(inner, str(tmp_path))
    assert [type(reply) for reply in complete_all(cached, [request("refuse once")] * 3)] == [VLMError] * 3
    (reply,) = complete_all(cached, [request("refuse once")])
    assert reply.text == "REFUSE ONCE é中"
    assert len(inner.calls) == 2


def test_if_the_caller_who_pays_is_cancelled_another_one_pays(tmp_path):
    inner = CountingVLM()
    cached = cached_in(inner, str(tmp_path))

    async def both() -> Reply:
        first = asyncio.create_task(cached.complete(request("a")))
        await asyncio.sleep(0.02)
        second = asyncio.create_task(cached.complete(request("a")))
        await asyncio.sleep(0.02)
        first.cancel()
        return await second

    assert asyncio.run(both()).text == "A é中"
    assert inner.calls == ["a", "a"]


def test_if_one_who_waits_is_cancelled_the_payer_goes_on(tmp_path):
    inner = CountingVLM()
    cached = cached_in(inner, str(tmp_path))

    async def both() -> Reply:
        first = asyncio.create_task(cached.complete(request("a")))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(cached.complete(request("a")))
        await asyncio.sleep(0.01)
        second.cancel()
        return await first

    assert asyncio.run(both()).text == "A é中"
    assert inner.calls == ["a"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: b"[1, 2]",
        lambda content: b"\xff\xfe" + content,
        lambda content: json.dumps({**json.loads(content), "request_digest": "0" * 64}).encode(),
        lambda content: json.dumps({**json.loads(content), "text": None}).encode(),
    ],
)
def test_a_damaged_file_is_set_aside_and_paid_again(tmp_path, damage, caplog):
    list(complete_all(cached_in(CountingVLM(), str(tmp_path)), [request("a")]))
    (file,) = tmp_path.rglob("*.json")
    damaged = damage(file.read_bytes())
    file.write_bytes(damaged)
    inner = CountingVLM()
    (reply,) = complete_all(cached_in(inner, str(tmp_path)), [request("a")])
    assert (reply.text, reply.is_cached, inner.calls) == ("A é中", False, ["a"])
    assert file.with_name(file.name + ".damaged").read_bytes() == damaged
    assert str(file) in caplog.text
    (again,) = complete_all(cached_in(CountingVLM(), str(tmp_path)), [request("a")])
    assert again.is_cached


def test_no_half_written_file_is_left_beside_the_replies(tmp_path):
    list(complete_all(cached_in(CountingVLM(), str(tmp_path)), [request(str(i)) for i in range(20)]))
    assert {file.suffix for file in tmp_path.glob("??/*")} == {".json"}


def _fill(root: str) -> None:
    list(complete_all(cached_in(CountingVLM(), root), [request(str(i)) for i in range(30)]))


def test_many_processes_may_fill_one_folder_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_fill, args=(str(tmp_path),)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    inner = CountingVLM()
    replies = list(complete_all(cached_in(inner, str(tmp_path)), [request(str(i)) for i in range(30)]))
    assert [reply.text for reply in replies] == [f"{i} é中" for i in range(30)]
    assert inner.calls == []


def test_the_cache_speaks_for_the_vlm_behind_it(tmp_path):
    cached = cached_in(CountingVLM(), str(tmp_path))
    assert (cached.model, cached.is_stand_in, cached.max_in_flight) == ("counting", True, 2 * 8)
