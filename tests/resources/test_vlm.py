"""complete_all: order, laziness, errors in place, early close, and what ends the stream."""

import asyncio
import itertools
import threading
import time

import pytest

from resources.vlm import LOOK_AHEAD, Message, Reply, Request, Sampling, complete_all
from training_kernels.documents import Document
from training_kernels.errors import VLMError


def request(text: str, *, role="user", temperature=0.0, seed=0, prompt_version="p") -> Request:
    sampling = Sampling(temperature=temperature, max_output_tokens=8, seed=seed)
    return Request(messages=(Message(role, Document.of(text)),), sampling=sampling, prompt_version=prompt_version)


class ScriptedVLM:
    """Answers `<seconds> <text>` after that many seconds; `refuse` in the text is a VLMError, `break` a bug."""

    model = "scripted"
    is_stand_in = True

    def __init__(self, max_in_flight: int) -> None:
        self.max_in_flight = max_in_flight
        self.under_way = self.most_under_way = self.cancelled = self.finished = 0

    async def complete(self, request: Request) -> Reply:
        seconds, text = request.messages[0].content.text.split(" ", 1)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(float(seconds))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1
        if "refuse" in text:
            raise VLMError(text)
        if "break" in text:
            raise ZeroDivisionError(text)
        self.finished += 1
        return Reply(
            text=text, model=self.model, request_digest=request.digest(self.model), input_tokens=1, output_tokens=1,
            cost_usd=0.0, latency_seconds=float(seconds), finish_reason="stop", is_stand_in=True,
        )  # fmt: skip


def texts(replies) -> list[str]:
    return [f"error {reply}" if isinstance(reply, VLMError) else reply.text for reply in replies]


def test_replies_come_in_the_order_of_the_requests_though_later_ones_finish_first():
    requests = [request(f"{0.12 if i % 5 == 0 else 0.0} {i}") for i in range(23)]
    assert texts(complete_all(ScriptedVLM(4), requests)) == [str(i) for i in range(23)]


def test_no_requests_give_no_replies():
    assert list(complete_all(ScriptedVLM(4), [])) == []


@pytest.mark.parametrize("max_in_flight", [1, 3])
def test_as_many_as_allowed_are_under_way_and_no_more(max_in_flight):
    vlm = ScriptedVLM(max_in_flight)
    list(complete_all(vlm, (request(f"0.01 {i}") for i in range(12))))
    assert vlm.most_under_way == max_in_flight


def test_calls_overlap():
    began = time.perf_counter()
    list(complete_all(ScriptedVLM(10), [request(f"0.2 {i}") for i in range(20)]))
    assert time.perf_counter() - began < 1.0  # two rounds of 0.2 s; one after the other it would be 4 s


def test_a_refused_request_yields_its_error_in_its_place():
    requests = [request("0.05 a"), request("0 refuse b"), request("0.02 c"), request("0.01 refuse d"), request("0 e")]
    assert texts(complete_all(ScriptedVLM(5), requests)) == ["a", "error refuse b", "c", "error refuse d", "e"]


def test_another_exception_ends_the_stream_after_the_replies_before_it():
    replies = complete_all(ScriptedVLM(2), [request("0 a"), request("0 b"), request("0 break"), request("0 d")])
    assert texts(itertools.islice(replies, 2)) == ["a", "b"]
    with pytest.raises(ZeroDivisionError, match="break"):
        next(replies)
    with pytest.raises(StopIteration):
        next(replies)


@pytest.mark.parametrize("error", [KeyError("row"), VLMError("cap reached")])
def test_an_exception_of_the_requests_themselves_is_raised_and_not_taken_for_a_reply(error):
    def broken():
        yield request("0 a")
        raise error

    replies = complete_all(ScriptedVLM(2), broken())
    assert next(replies).text == "a"
    with pytest.raises(type(error)):
        next(replies)


def test_requests_are_drawn_lazily_from_an_endless_stream():
    drawn = itertools.count()
    vlm = ScriptedVLM(2)
    replies = complete_all(vlm, (request(f"0 {i}") for i in drawn))
    assert texts(itertools.islice(replies, 5)) == ["0", "1", "2", "3", "4"]
    time.sleep(0.3)
    # 5 read, 2 * 2 waiting in the queue, 1 being put, LOOK_AHEAD * 2 beyond it, 1 drawn and waiting for its turn
    assert next(drawn) <= 5 + 4 + 1 + LOOK_AHEAD * 2 + 1
    replies.close()


def test_a_stuck_first_call_does_not_let_the_rest_run_away():
    drawn = itertools.count()
    replies = complete_all(ScriptedVLM(2), (request(f"{'0.6' if i == 0 else '0'} {i}") for i in drawn))
    threading.Timer(0.4, lambda: seen.append(next(drawn))).start()
    seen: list[int] = []
    assert next(replies).text == "0"
    assert 10 < seen[0] <= LOOK_AHEAD * 2 + 2
    replies.close()


def test_closing_early_starts_nothing_more_and_lets_what_is_under_way_finish():
    vlm = ScriptedVLM(3)
    replies = complete_all(vlm, [request("0 first"), *(request(f"0.4 {i}") for i in range(9))])
    assert next(replies).text == "first"
    time.sleep(0.1)
    replies.close()
    assert (vlm.finished, vlm.cancelled) == (1 + 3, 0)
    assert not [thread for thread in threading.enumerate() if thread.name == "vlm-requests"]


def test_what_does_not_finish_in_the_time_given_after_closing_is_cancelled(monkeypatch):
    monkeypatch.setattr("resources.vlm.CLOSING_SECONDS", 0.3)
    vlm = ScriptedVLM(3)
    replies = complete_all(vlm, [request("0 first"), *(request(f"30 {i}") for i in range(9))])
    assert next(replies).text == "first"
    time.sleep(0.1)
    began = time.perf_counter()
    replies.close()
    assert time.perf_counter() - began < 2.0
    assert (vlm.finished, vlm.cancelled) == (1, 3)


def test_an_exception_of_one_call_lets_the_others_under_way_finish_and_starts_no_more(monkeypatch):
    monkeypatch.setattr("resources.vlm.CLOSING_SECONDS", 0.05)  # only a reader that stops is in a hurry
    vlm = ScriptedVLM(3)
    requests = [request("0.1 break"), request("0.5 a"), request("0.5 b"), *(request(f"0 {i}") for i in range(20))]
    with pytest.raises(ZeroDivisionError):
        list(complete_all(vlm, requests))
    assert (vlm.finished, vlm.cancelled) == (2, 0)


def test_closing_while_the_worker_waits_for_the_reader_ends_it():
    replies = complete_all(ScriptedVLM(1), (request(f"0 {i}") for i in itertools.count()))
    next(replies)
    time.sleep(0.2)  # the queue is full now
    replies.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "vlm-requests"]


def test_the_digest_changes_with_everything_the_reply_depends_on():
    plain = request("what is it")
    others = [
        request("what is it?"),
        request("what is it", role="system"),
        request("what is it", temperature=0.5),
        request("what is it", seed=1),
        request("what is it", prompt_version="q"),
    ]
    digests = {plain.digest("m"), plain.digest("n"), *(other.digest("m") for other in others)}
    assert len(digests) == 7
    assert request("what is it").digest("m") == plain.digest("m")
