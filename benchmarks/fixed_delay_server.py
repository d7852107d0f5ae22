"""A chat server that takes a fixed time and almost no processor: python -m benchmarks.fixed_delay_server DELAY PLACES.

It answers every POST with the same completion, DELAY seconds after one of its PLACES was free, so that what is measured
against it is the client. It prints its base URL first.
"""

import asyncio
import json
import sys
from collections import deque

from resources.vlm import STAND_IN_MODEL

TEXT = json.dumps({"pairs": [{"question": f"What did keeper {n} write down?", "answer": "the tide"} for n in range(5)]})
BODY = json.dumps(
    {
        "id": "chatcmpl-fixed",
        "object": "chat.completion",
        "created": 0,
        "model": STAND_IN_MODEL,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": TEXT}}],
        "usage": {"prompt_tokens": 1500, "completion_tokens": 90, "total_tokens": 1590},
    }
).encode()
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)


class Places:
    """Who is being answered, and who waits for that."""

    def __init__(self, delay_seconds: float, number: int) -> None:
        self._delay_seconds = delay_seconds
        self._num_free = number
        self._waiting: deque[asyncio.Transport] = deque()

    def take(self, transport: asyncio.Transport) -> None:
        if not self._num_free:
            self._waiting.append(transport)
            return
        self._num_free -= 1
        asyncio.get_running_loop().call_later(self._delay_seconds, self._answer, transport)

    def _answer(self, transport: asyncio.Transport) -> None:
        self._num_free += 1
        transport.write(ANSWER)
        if self._waiting:
            self.take(self._waiting.popleft())


class Connection(asyncio.Protocol):
    """One request after the other."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._head = b""
        self._num_missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._num_missing:
            self._num_missing -= len(data)
        else:
            self._head += data
            head, end, rest = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            self._num_missing = int(length.partition(b":")[2]) - len(rest)
            self._head = b""
        if not self._num_missing:
            self._places.take(self._transport)


async def serve(delay_seconds: float, number: int) -> None:
    """Until the process is ended."""
    places = Places(delay_seconds, number)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(places), "127.0.0.1", 0, backlog=4 * number
    )
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1]), int(sys.argv[2])))
