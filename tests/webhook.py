"""A real server on this machine that keeps what is posted to it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class Webhook(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Keeping)
        self.posted: list[dict[str, str]] = []
        self.failures: list[int] = []
        """HTTP states of the next answers, before it takes messages again; 0 for an answer that is no HTTP."""
        self.url = f"http://127.0.0.1:{self.server_address[1]}/hook"

    @property
    def told(self) -> list[str]:
        """The messages, in the order in which they came."""
        return [message["text"] for message in self.posted]


class _Keeping(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = self.server.failures.pop(0) if self.server.failures else 200
        if status == 0:
            self.wfile.write(b"no HTTP\r\n\r\n")
            return
        if status == 200:
            self.server.posted.append(message)
        self.send_response(status)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def serving_webhook() -> Iterator[Webhook]:
    with Webhook() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
