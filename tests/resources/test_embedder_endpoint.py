"""Embeddings over a real loopback server with /v1/embeddings."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import numpy as np
import pytest

from resources.embedder_endpoint import TEXTS_PER_CALL, EndpointEmbedder
from resources.vlm_openai import Endpoint
from training_kernels.documents import Document, Segment
from training_kernels.errors import DataError, VLMError


class Server(ThreadingHTTPServer):
    """Embeds a text as its counts of a, b and c; `refusals` calls are answered with 503 first."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.refusals = 0
        self.calls: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.spoil = lambda data: data

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.keys.add(self.headers["authorization"])
        if self.server.refusals > 0:
            self.server.refusals -= 1
            self._send(503, {"error": {"message": "busy"}})
            return
        self.server.calls.append(body)
        data = [
            {"object": "embedding", "index": place, "embedding": [3.0 * text.count(letter) for letter in "abc"]}
            for place, text in enumerate(body["input"])
        ]
        self._send(200, {"object": "list", "data": self.server.spoil(data[::-1]), "model": body["model"]})

    def _send(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def embedder(server: Server, *, max_retries: int = 2) -> EndpointEmbedder:
    endpoint = Endpoint(
        base_url=server.url,
        model="counts",
        max_in_flight=3,
        timeout_seconds=10,
        max_retries=max_retries,
        price_per_million_input_tokens=0,
        price_per_million_output_tokens=0,
    )
    return EndpointEmbedder(endpoint, api_key="the key")


def test_each_text_gets_its_own_unit_embedding_however_many_calls_and_whatever_their_order(server: Server) -> None:
    texts = [
        "a" * (number % 5 + 1) + "b" * (number % 3) + "c" * (number % 7) for number in range(2 * TEXTS_PER_CALL + 9)
    ]
    found = embedder(server).embed([Document.of(text) for text in texts], side="candidate")
    counts = np.array([[text.count(letter) for letter in "abc"] for text in texts], dtype=np.float64)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, counts / np.linalg.norm(counts, axis=1, keepdims=True), atol=1e-6)
    assert sorted(len(call["input"]) for call in server.calls) == [9, TEXTS_PER_CALL, TEXTS_PER_CALL]
    assert {call["model"] for call in server.calls} == {"counts"}
    assert server.keys == {"Bearer the key"}


def test_a_busy_server_is_asked_again_and_one_that_stays_busy_is_named(server: Server) -> None:
    server.refusals = 2
    assert embedder(server).embed([Document.of("ab")], side="query").shape == (1, 3)
    server.refusals = 2
    with pytest.raises(VLMError, match="counts at http://127.0.0.1:.* after 1 attempts.*busy"):
        embedder(server, max_retries=0).embed([Document.of("ab")], side="query")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: data[1:], "not one of equal width for each"),
        (lambda data: [{**data[0], "embedding": [1.0]}, *data[1:]], "not one of equal width for each"),
        (lambda data: [{**one, "embedding": [0.0, 0.0, 0.0]} for one in data], "norm zero"),
    ],
)
def test_an_answer_that_is_no_set_of_embeddings_is_refused(server: Server, spoil: Any, message: str) -> None:
    server.spoil = spoil
    with pytest.raises(DataError, match=message):
        embedder(server).embed([Document.of("ab"), Document.of("bc")], side="query")


def test_a_document_without_text_is_named_before_anything_is_sent(server: Server) -> None:
    documents = [Document.of("a"), Document.of(Segment(image="aa"))]
    with pytest.raises(DataError, match="document 1 has no text"):
        embedder(server).embed(documents, side="candidate")
    assert server.calls == []
    assert embedder(server).embed([], side="query").shape == (0, 3)
