"""Bounds are checked when they are described, and pauses are spread but repeatable."""

import asyncio
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
