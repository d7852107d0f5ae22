"""The caps hold across tasks and processes, and a dead process's open calls are counted at what they may have cost."""

import asyncio
import fcntl
import math
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from resources.vlm import Message, Reply, Request, Sampling, complete_all
from resources.vlm_budget import Budget, Caps, Spending
from resources.vlm_cached import CachedVLM
from resources.vlm_replies import ReplyFolder
from training_kernels.documents import Document
from training_kernels.errors import BudgetReached, ConfigError, VLMError

NO_CAPS = Caps(max_calls=math.inf, max_tokens=math.inf, max_usd=math.inf, since=0.0)
MOST = Spending(calls=1, tokens=100, usd=1.0)
REAL = Spending(calls=1, tokens=30, usd=0.25)


def request(text: str) -> Request:
    sampling = Sampling(temperature=0.0, max_output_tokens=8, seed=0)
    return Request(messages=(Message("user", Document.of(text)),), sampling=sampling, prompt_version="p")


class PricedVLM:
    """Takes at most MOST and in truth REAL; `refuse` is refused, `slow` takes long."""

    model = "priced"
    is_stand_in = False

    def __init__(self, max_in_flight: int = 4, *, seconds: float = 0.02) -> None:
        self.max_in_flight = max_in_flight
        self.seconds = seconds
        self.asked: list[str] = []
        self.most_under_way = self.under_way = 0

    def bound(self, request: Request) -> Spending:
        return MOST

    async def complete(self, request: Request) -> Reply:
        text = request.messages[0].content.text
        self.asked.append(text)
        self.under_way += 1
        self.most_under_way = max(self.under_way, self.most_under_way)
        await asyncio.sleep(self.seconds)
        self.under_way -= 1
        if "refuse" in text:
            raise VLMError("no")
        return Reply(
            text=text, model=self.model, request_digest=request.digest(self.model), input_tokens=10,
            output_tokens=20, cost_usd=0.25, latency_seconds=self.seconds, finish_reason="stop", is_stand_in=False,
        )  # fmt: skip


def budget_at(root: Path, clock=time.time, **caps) -> Budget:
    return Budget(root / "journals", replace(NO_CAPS, **caps), ReplyFolder(str(root / "replies")), clock=clock)


def vlm_at(root: Path, inner: PricedVLM, **caps) -> CachedVLM:
    return CachedVLM(inner, ReplyFolder(str(root / "replies")), budget_at(root, **caps))


def ask(vlm: CachedVLM, texts) -> list:
    return list(complete_all(vlm, [request(text) for text in texts]))


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


@pytest.mark.parametrize(
    ("caps", "num_paid"),
    [
        ({"max_calls": 7}, 7),
        (
            {"max_tokens": 310},
            8,
        ),  # 7 calls took 210 and the 8th may take 100; after it 240 are spent and 100 do not fit
        ({"max_usd": 3.0}, 9),  # 8 calls took 2.00 and the 9th may take 1.00
        ({"max_calls": 0}, 0),
        ({"max_calls": 20, "max_tokens": 100}, 1),
    ],
)
def test_a_cap_is_used_up_and_never_passed(tmp_path, caps, num_paid):
    inner = PricedVLM()
    with pytest.raises(BudgetReached):
        ask(vlm_at(tmp_path, inner, **caps), numbers(20))
    assert len(inner.asked) == num_paid
    spent = budget_at(tmp_path).spent()
    assert spent == Spending(calls=num_paid, tokens=30 * num_paid, usd=0.25 * num_paid)
    assert not budget_at(tmp_path).interrupted()


def test_what_is_under_way_is_finished_and_kept_when_the_cap_is_reached_and_a_raised_cap_pays_only_for_the_rest(
    tmp_path,
):
    inner = PricedVLM(4, seconds=0.2)
    with pytest.raises(BudgetReached):
        ask(vlm_at(tmp_path, inner, max_calls=6), numbers(15))
    later = PricedVLM()
    replies = ask(vlm_at(tmp_path, later, max_calls=15), numbers(15))
    assert [reply.text for reply in replies] == numbers(15)
    assert len(inner.asked) == 6
    assert sorted(inner.asked + later.asked) == sorted(numbers(15))


def test_what_is_kept_already_needs_no_room(tmp_path):
    ask(vlm_at(tmp_path, PricedVLM()), numbers(5))
    replies = ask(vlm_at(tmp_path, PricedVLM(), max_calls=0), numbers(5))
    assert all(reply.is_cached for reply in replies)


def test_the_message_names_the_cap_what_was_spent_and_the_remedy(tmp_path):
    ask(vlm_at(tmp_path, PricedVLM(1)), ["a", "b", "c"])
    with pytest.raises(BudgetReached, match=r"NYX_MAX_USD=1 .*3 calls, 90 tokens, 0.7500 USD.*raise.*SINCE") as caught:
        ask(vlm_at(tmp_path, PricedVLM(1), max_usd=1.0), ["d"])
    assert "NYX_MAX_CALLS" not in str(caught.value)


def test_a_cap_is_no_refusal_that_could_become_a_row():
    assert not issubclass(BudgetReached, VLMError)


def test_a_refused_call_counts_as_a_call_that_took_nothing(tmp_path):
    ask(vlm_at(tmp_path, PricedVLM()), ["refuse", "a"])
    assert budget_at(tmp_path).spent() == Spending(calls=2, tokens=30, usd=0.25)


def test_what_was_spent_before_the_moment_does_not_count(tmp_path):
    replies = ReplyFolder(str(tmp_path / "replies"))
    for moment, text in ((100.0, "a"), (200.0, "b"), (300.0, "c")):
        inner = PricedVLM()
        ask(CachedVLM(inner, replies, budget_at(tmp_path, clock=lambda: moment)), [text])  # noqa: B023
    assert budget_at(tmp_path, since=200.0).spent().calls == 2
    ask(vlm_at(tmp_path, PricedVLM(), since=250.0, max_calls=2), ["d"])
    with pytest.raises(BudgetReached):
        ask(vlm_at(tmp_path, PricedVLM(), since=250.0, max_calls=2), ["e"])


def test_looking_writes_nothing(tmp_path):
    assert budget_at(tmp_path).spent() == Spending()
    assert list(tmp_path.iterdir()) == []


def test_no_more_calls_are_at_the_endpoint_than_it_takes_though_more_are_prepared(tmp_path):
    inner = PricedVLM(3)
    vlm = vlm_at(tmp_path, inner)
    assert vlm.max_in_flight > 3
    ask(vlm, numbers(30))
    assert inner.most_under_way == 3


def _spend(root: Path, first: int, out) -> None:
    inner = PricedVLM(8, seconds=0.0)
    try:
        ask(vlm_at(root, inner, max_calls=200), [str(number) for number in range(first, first + 300)])
    except BudgetReached:
        out.put(len(inner.asked))


def test_three_processes_together_stay_within_one_cap(tmp_path):
    context = multiprocessing.get_context("fork")
    out = context.Queue()
    processes = [context.Process(target=_spend, args=(tmp_path, 1000 * number, out)) for number in range(3)]
    for process in processes:
        process.start()
    paid = [out.get(timeout=20) for _ in processes]
    for process in processes:
        process.join()
    assert sum(paid) == 200
    assert budget_at(tmp_path).spent().calls == 200


def test_a_call_is_entered_only_while_no_other_process_is_entering_one(tmp_path):
    (tmp_path / "journals").mkdir()
    budget = budget_at(tmp_path)
    entering = threading.Thread(target=budget.start, args=("d", MOST))
    with (tmp_path / "journals" / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        entering.start()
        entering.join(0.3)
        assert entering.is_alive()
    entering.join(5)
    assert budget_at(tmp_path).spent() == MOST


def _ask_the_same(root: Path, out) -> None:
    inner = PricedVLM(4, seconds=0.15)
    ask(vlm_at(root, inner), numbers(12))
    out.put(inner.asked)


def test_two_processes_that_ask_the_same_at_once_pay_once(tmp_path):
    context = multiprocessing.get_context("fork")
    out = context.Queue()
    processes = [context.Process(target=_ask_the_same, args=(tmp_path, out)) for _ in range(2)]
    for process in processes:
        process.start()
    asked = [text for _ in processes for text in out.get(timeout=20)]
    for process in processes:
        process.join()
    assert sorted(asked, key=int) == numbers(12)


class LateFolder(ReplyFolder):
    """Between the first look and what follows it, another process asks for the same and keeps the reply."""

    has_looked = False

    def read(self, digest: str) -> Reply | None:
        found = super().read(digest)
        if not self.has_looked:
            self.has_looked = True
            root = Path(self.root).parent
            process = multiprocessing.get_context("fork").Process(target=lambda: ask(vlm_at(root, PricedVLM()), ["a"]))
            process.start()
            process.join()
        return found


def test_a_reply_that_another_process_kept_after_the_first_look_is_found_before_the_call(tmp_path):
    inner = PricedVLM()
    vlm = CachedVLM(inner, LateFolder(str(tmp_path / "replies")), budget_at(tmp_path))
    (reply,) = ask(vlm, ["a"])
    assert (inner.asked, reply.is_cached) == ([], True)
    assert budget_at(tmp_path).spent() == REAL


def _hang(root: Path, started) -> None:
    vlm = vlm_at(root, PricedVLM(2, seconds=0.0))
    ask(vlm, ["kept"])
    slow = vlm_at(root, PricedVLM(2, seconds=60.0))
    task = asyncio.gather

    async def both() -> None:
        calls = task(slow.complete(request("x")), slow.complete(request("y")))
        await asyncio.sleep(0.2)
        started.set()
        await calls

    asyncio.run(both())


def test_calls_of_a_killed_process_count_at_their_most_and_are_named_and_asked_again(tmp_path):
    context = multiprocessing.get_context("fork")
    started = context.Event()
    process = context.Process(target=_hang, args=(tmp_path, started))
    process.start()
    assert started.wait(20)
    assert budget_at(tmp_path).spent() == REAL + MOST + MOST
    assert not budget_at(tmp_path).interrupted()  # it lives, so they are under way
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    budget = budget_at(tmp_path)
    assert sorted(budget.interrupted()) == sorted(request(text).digest("priced") for text in ("x", "y"))
    assert budget.spent() == REAL + MOST + MOST
    later = PricedVLM()
    ask(vlm_at(tmp_path, later), ["kept", "x", "y"])
    assert sorted(later.asked) == ["x", "y"]
    assert budget_at(tmp_path).spent().calls == 5


def test_a_reply_that_was_kept_before_the_kill_counts_at_what_it_cost(tmp_path):
    context = multiprocessing.get_context("fork")
    for text in ("a", "b"):
        process = context.Process(target=lambda: ask(vlm_at(tmp_path, PricedVLM()), [text]))  # noqa: B023
        process.start()
        process.join()
    journal = next(
        path for path in (tmp_path / "journals").glob("*.jsonl") if request("b").digest("priced") in path.read_text()
    )
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])  # killed while it wrote that the last one was settled
    assert budget_at(tmp_path).spent() == REAL + REAL
    assert budget_at(tmp_path).interrupted() == [request("b").digest("priced")]


def test_impossible_caps_are_refused():
    for wrong in ({"max_calls": -1}, {"max_usd": math.nan}, {"max_tokens": -0.5}):
        with pytest.raises(ConfigError, match="0 or more"):
            replace(NO_CAPS, **wrong)
