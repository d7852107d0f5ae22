"""A real loopback server with /v1/embeddings."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class EmbeddingsServer(ThreadingHTTPServer):
    """Embeds a text as its counts of a, b and c; `refusals` calls are answered with 503 first."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.refusals = 0
        self.delay_seconds = 0.0
        self.calls: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.spoil = lambda data: data

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: EmbeddingsServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.keys.add(self.headers["authorization"])
        if self.server.refusals > 0:
            self.server.refusals -= 1
            self._send(503, {"error": {"message": "busy"}})
            return
        time.sleep(self.server.delay_seconds)
        self.server.calls.append(body)
        data = [
            {"object": "embedding", "index": place, "embedding": [3.0 * text.count(letter) for letter in "abc"]}
            for place, text in enumerate(body["input"])
        ]
        usage = {"prompt_tokens": sum(map(len, body["input"]))}
        self._send(
            200, {"object": "list", "data": self.server.spoil(data[::-1]), "model": body["model"], "usage": usage}
        )

    def _send(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@contextmanager
def serving_embeddings() -> Iterator[EmbeddingsServer]:
    server = EmbeddingsServer()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
