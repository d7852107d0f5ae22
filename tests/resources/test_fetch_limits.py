"""No host is asked harder than allowed, and none that asked for rest before its time."""

import asyncio
import time
from dataclasses import replace

import pytest

from resources import fetch_limits
from resources.fetch_limits import Gates
from training_kernels.errors import ConfigError


@pytest.mark.parametrize(
    "change", [{"max_in_flight": 0}, {"max_attempts": 0}, {"max_redirects": -1}, {"request_seconds": 0.0}]
)
def test_a_bound_that_lets_nothing_through_is_an_error_that_names_it(impatient, change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        replace(impatient, **change)


def test_pauses_double_up_to_the_longest_and_differ_by_address(impatient):
    limits = replace(impatient, first_pause_seconds=1.0, longest_pause_seconds=3.0)
    for attempt, longest in enumerate((1.0, 2.0, 3.0, 3.0)):
        pauses = [limits.pause_seconds(attempt, f"http://h/{number}") for number in range(50)]
        assert all(longest / 2 <= pause <= longest for pause in pauses)
        assert len(set(pauses)) == 50
        assert pauses[7] == limits.pause_seconds(attempt, "http://h/7")


def test_idle_hosts_are_forgotten_and_those_that_must_wait_are_not(impatient, monkeypatch):
    monkeypatch.setattr(fetch_limits, "REMEMBERED_HOSTS", 3)

    async def ask() -> float:
        gates = Gates(impatient)
        gates.hold("busy.test", 0.3)
        for number in range(20):
            async with gates.passage(f"h{number}.test", seconds_apart=0.0):
                pass
        assert len(gates._gate_by_host) <= 4
        began = asyncio.get_running_loop().time()
        async with gates.passage("busy.test", seconds_apart=0.0):
            return asyncio.get_running_loop().time() - began

    assert 0.2 < asyncio.run(ask()) < 0.6


def test_429_with_retry_after_is_waited_for(web, fetch, png):
    def busy_at_first(it) -> None:
        if web.asked("/a.png") == 1:
            it.answer(429, Retry_After="1")
        else:
            it.answer(200, png)

    web.routes["/a.png"] = busy_at_first
    assert fetch(web.url("/a.png")).data == png
    answered = [moment for moment, (_, path, _) in zip(web.times, web.requests) if path == "/a.png"]
    assert 0.9 < answered[1] - answered[0] < 2.5


def test_a_host_that_asked_for_rest_is_not_asked_for_another_picture_meanwhile(web, fetch_all, png, impatient):
    web.routes["/robots.txt"] = lambda it: it.answer(404)
    web.routes["/a.png"] = lambda it: it.answer(429, Retry_After="1")
    web.default = lambda it: it.answer(200, png)
    limits = replace(impatient, max_attempts=1, seconds_between_requests=0.3)
    addresses = [web.url(f"/{name}.png") for name in "abc"]  # b and c wait in line while a is refused
    busy, *others = fetch_all(*addresses, limits=limits, at_once=True)
    assert busy.rule == "http_429"
    assert [other.data for other in others] == [png, png]
    asked_at = {path: moment for moment, (_, path, _) in zip(web.times, web.requests)}
    assert 0.7 < min(asked_at["/b.png"], asked_at["/c.png"]) - asked_at["/a.png"] < 2.5


def test_a_rest_longer_than_the_limit_is_a_refusal(web, fetch):
    web.routes["/a.png"] = lambda it: it.answer(429, Retry_After="3600")
    began = time.monotonic()
    assert (fetch(web.url("/a.png")).rule, web.asked("/a.png")) == ("http_429", 1)
    assert time.monotonic() - began < 5.0


def test_a_host_is_asked_by_no_more_than_its_share_at_once(web, fetch_all, png, impatient):
    def slowly(it) -> None:
        time.sleep(0.05)
        it.answer(200, png)

    web.default = slowly
    addresses = [web.url(f"/{number}.png") for number in range(9)]
    outcomes = fetch_all(*addresses, limits=replace(impatient, max_in_flight_per_host=3), at_once=True)
    assert all(outcome.data == png for outcome in outcomes)
    assert web.most_served == 3


def test_all_hosts_together_are_asked_by_no_more_than_the_whole_at_once(web, fetch_all, png, impatient):
    def slowly(it) -> None:
        time.sleep(0.05)
        it.answer(200, png)

    web.default = slowly
    addresses = [web.url(f"/{number}.png", host=f"h{number % 5}.test") for number in range(15)]
    hosts = ", ".join(f"h{number}.test" for number in range(5))
    outcomes = fetch_all(*addresses, limits=replace(impatient, max_in_flight=4), allow=hosts, at_once=True)
    assert all(outcome.data == png for outcome in outcomes)
    assert web.most_served == 4


@pytest.mark.parametrize(
    ("spacing", "crawl_delay"), [(0.15, ""), (0.0, "Crawl-delay: 0.15\n"), (0.15, "Crawl-delay: 0\n")]
)
def test_requests_to_one_host_keep_their_distance(web, fetch_all, png, impatient, spacing, crawl_delay):
    web.routes["/robots.txt"] = lambda it: it.answer(200, b"User-agent: *\n" + crawl_delay.encode())
    web.default = lambda it: it.answer(200, png)
    addresses = [web.url(f"/{number}.png") for number in range(4)]
    fetch_all(*addresses, limits=replace(impatient, seconds_between_requests=spacing), at_once=True)
    moments = [moment for moment, (_, path, _) in zip(web.times, web.requests) if path != "/robots.txt"]
    assert 0.3 < moments[-1] - moments[0] < 1.5  # three times 0.15 s, measured from outside on a busy machine


def test_a_slow_host_does_not_hold_up_another(web, fetch_all, png, impatient):
    web.routes["/robots.txt"] = lambda it: it.answer(404)
    web.default = lambda it: it.answer(200, png)
    slow = [web.url(f"/{number}.png") for number in range(4)]
    limits = replace(impatient, seconds_between_requests=0.5, max_in_flight=2)
    began = time.monotonic()
    fetch_all(*slow, web.url("/x.png", host="other.test"), limits=limits, at_once=True)
    at = next(moment for moment, (_, path, _) in zip(web.times, web.requests) if path == "/x.png")
    assert at - began < 1.4  # the five requests to the slow one take two seconds


def test_attempts_are_apart_by_a_pause_that_doubles(web, fetch, impatient):
    web.routes["/a.png"] = lambda it: it.answer(500)
    fetch(web.url("/a.png"), limits=replace(impatient, first_pause_seconds=0.3))
    first, second, third = (moment for moment, (_, path, _) in zip(web.times, web.requests) if path == "/a.png")
    assert 0.12 < second - first < 0.8
    assert 0.27 < third - second < 1.4
