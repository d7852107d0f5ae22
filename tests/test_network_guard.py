"""No test leaves the machine: whoever tries fails."""

import asyncio
import socket

import pytest


def caught(network_guard: list[str]) -> list[str]:
    attempts = list(network_guard)
    network_guard.clear()
    return attempts


def test_a_connection_to_an_outside_address_is_stopped_whoever_makes_it(network_guard):
    async def connect():
        await asyncio.open_connection("192.0.2.1", 80)

    with pytest.raises(AssertionError, match=r"outside the machine.*192\.0\.2\.1"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    with pytest.raises(AssertionError, match=r"outside the machine.*192\.0\.2\.1"):
        asyncio.run(connect())
    with pytest.raises(AssertionError, match="outside the machine.*pictures"):
        socket.getaddrinfo("pictures.example", 80)
    assert len(caught(network_guard)) == 3


def test_an_attempt_that_was_swallowed_is_still_seen(network_guard):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, pytest.raises(AssertionError):
        sender.sendto(b"x", ("192.0.2.7", 53))
    assert caught(network_guard) == ["socket.sendto '192.0.2.7'"]


def test_connections_within_the_machine_are_let_through(network_guard):
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(("localhost", server.getsockname()[1]), timeout=1).close()
    assert network_guard == []
