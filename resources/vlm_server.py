"""The offline VLM as an OpenAI-compatible server on the loopback address, with faults on demand.

So that tests, the demo and benchmarks exercise the real client path:
`python -m resources.vlm_server --port 8100 --delay 0.2 --faults 429=0.1,cut=0.05`
"""

import argparse
import base64
import binascii
import hashlib
import json
import select
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore, Lock, Thread
from typing import Any

from resources.vlm import STAND_IN_MODEL, Message, Reply, Request, Sampling
from resources.vlm_offline import OfflineVLM
from training_kernels.documents import Document, Segment
from training_kernels.errors import ConfigError, DataError, VLMError

FAULTS = ("429", "500", "503", "slow", "cut", "not_json")
"""429 asks to come back after RETRY_AFTER_SECONDS; slow answers after `slow_seconds`; cut ends in the middle of the
body; not_json sends a web page with status 200."""

RETRY_AFTER_SECONDS = 1


@dataclass(kw_only=True)
class OfflineService:
    """What the server does, and what it has done.

    A fault is drawn by hash of seed, request and attempt, so the same requests meet the same faults in any order.
    """

    fault_shares: dict[str, float] = field(default_factory=dict)
    """Share of the attempts that meet a fault, by its name in FAULTS; the shares add up to at most 1."""
    seed: int = 0
    delay_seconds: float = 0.0
    """Time that every answer takes, working it out included, while it holds one of the `max_concurrent` places."""
    slow_seconds: float = 5.0
    max_concurrent: int = 64
    base_url: str = ""
    model: str = STAND_IN_MODEL
    """The name that it serves the stand-in under."""
    attempts_by_digest: Counter[str] = field(default_factory=Counter)
    """Requests that came in, by SHA-256 of their body."""
    answers_by_digest: Counter[str] = field(default_factory=Counter)
    """Requests that were answered in full: what a provider would bill."""
    abandoned_by_digest: Counter[str] = field(default_factory=Counter)
    """Requests whose client hung up before the answer was ready. vLLM and SGLang stop working on these; others may bill
    what they had written by then."""
    faults_by_name: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.fault_shares) - set(FAULTS))
        if unknown or sum(self.fault_shares.values()) > 1 or min(self.fault_shares.values(), default=0) < 0:
            raise ConfigError(
                f"faults are shares from 0 to 1 that add up to at most 1, by name ({', '.join(FAULTS)}), got "
                f"{self.fault_shares}"
            )
        self.lock = Lock()
        self.places = BoundedSemaphore(self.max_concurrent)

    def draw_fault(self, digest: str) -> str | None:
        """The fault that this attempt meets, if any."""
        with self.lock:
            self.attempts_by_digest[digest] += 1
            attempt = self.attempts_by_digest[digest]
        drawn = hashlib.sha256(f"{self.seed}/{digest}/{attempt}".encode()).digest()
        share = int.from_bytes(drawn[:8], "big") / 2**64
        for name, fault_share in self.fault_shares.items():
            if share < fault_share:
                with self.lock:
                    self.faults_by_name[name] += 1
                return name
            share -= fault_share
        return None

    def counts(self) -> dict[str, dict[str, int]]:
        """What has come in and gone out so far."""
        with self.lock:
            return {
                "attempts": dict(self.attempts_by_digest),
                "answers": dict(self.answers_by_digest),
                "abandoned": dict(self.abandoned_by_digest),
                "faults": dict(self.faults_by_name),
            }


def faults_from_text(text: str) -> dict[str, float]:
    """Shares by name from `429=0.1,cut=0.05`. Raises ConfigError for another shape."""
    try:
        return {name.strip(): float(share) for name, share in (part.split("=") for part in text.split(",") if part)}
    except ValueError:
        raise ConfigError(
            f"faults are written name=share,name=share, got {text!r}; names: {', '.join(FAULTS)}"
        ) from None


def request_of(body: dict[str, Any]) -> Request:
    """The request that a chat completion's body describes, its pictures named by the SHA-256 of their bytes."""
    try:
        messages = tuple(Message(turn["role"], _document(turn["content"])) for turn in body["messages"])
    except (KeyError, TypeError, binascii.Error) as error:
        raise DataError(f"messages need role and content with text and data: URL parts ({error!r})") from None
    schema = (body.get("response_format") or {}).get("json_schema", {}).get("schema")
    sampling = Sampling(
        temperature=body.get("temperature") or 0.0,
        max_output_tokens=body.get("max_tokens") or 0,
        seed=body.get("seed") or 0,
        json_schema=None if schema is None else json.dumps(schema),
    )
    return Request(messages=messages, sampling=sampling, prompt_version="over HTTP")


def _document(content: str | list[dict[str, Any]]) -> Document:
    if isinstance(content, str):
        return Document.of(content)
    return Document(tuple(_segment(part) for part in content))


def _segment(part: dict[str, Any]) -> Segment:
    if part["type"] == "text":
        return Segment(text=part["text"])
    url = part["image_url"]["url"]
    if not url.startswith("data:image/"):
        raise DataError(f"a picture must come as a data: URL, got {url[:40]!r}: this server fetches nothing")
    return Segment(image=hashlib.sha256(base64.b64decode(url.partition(",")[2], validate=True)).hexdigest())


def completion_of(reply: Reply, digest: str, *, model: str = STAND_IN_MODEL) -> dict[str, Any]:
    """A reply as the body of a chat completion."""
    return {
        "id": f"chatcmpl-{digest[:24]}",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [
            {"index": 0, "finish_reason": reply.finish_reason, "message": {"role": "assistant", "content": reply.text}}
        ],
        "usage": {
            "prompt_tokens": reply.input_tokens,
            "completion_tokens": reply.output_tokens,
            "total_tokens": reply.input_tokens + reply.output_tokens,
        },
    }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body in one write
    server: "_Server"

    def do_GET(self) -> None:
        if self.path.rstrip("/") == "/v1/models":
            model = {"id": self.server.service.model, "object": "model", "created": 0, "owned_by": "nyx"}
            self._send(200, {"object": "list", "data": [model]})
        elif self.path == "/counts":  # no part of the API: for tests and benchmarks with a server of their own process
            self._send(200, self.server.service.counts())
        else:
            self._refuse(404, f"no such path: {self.path}")

    def do_POST(self) -> None:
        service = self.server.service
        content = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path.rstrip("/") != "/v1/chat/completions":
            self._refuse(404, f"no such path: {self.path}")
            return
        digest = hashlib.sha256(content).hexdigest()
        fault = service.draw_fault(digest)
        if fault in ("429", "500", "503"):
            headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if fault == "429" else {}
            self._refuse(int(fault), "a fault that was asked for", headers)
            return
        if fault == "slow":
            time.sleep(service.slow_seconds)
        with service.places:
            ready = time.monotonic() + service.delay_seconds
            self._answer(content, digest, fault, ready=ready)

    def _answer(self, content: bytes, digest: str, fault: str | None, *, ready: float) -> None:
        try:
            body = json.loads(content)
            if not isinstance(body, dict):
                raise DataError(f"the body must be a JSON object, got {type(body).__name__}")
            if body.get("model") != (served := self.server.service.model):
                self._refuse(404, f"model {body.get('model')!r} is not here; there is {served!r}")
                return
            reply = OfflineVLM().answer(request_of(body))
        except (json.JSONDecodeError, DataError, VLMError) as error:
            self._refuse(400, str(error))
            return
        time.sleep(max(0.0, ready - time.monotonic()))
        if self._client_has_hung_up():
            with self.server.service.lock:
                self.server.service.abandoned_by_digest[digest] += 1
            self.close_connection = True
            return
        if fault == "not_json":
            self._send_bytes(200, b"<html><body>Bad gateway</body></html>", "text/html")
            return
        answer = json.dumps(completion_of(reply, digest, model=served)).encode()
        if fault == "cut":
            self._send_bytes(200, answer[: len(answer) // 2], "application/json", announced=len(answer))
            self.close_connection = True
            return
        with self.server.service.lock:
            self.server.service.answers_by_digest[digest] += 1
        self._send_bytes(200, answer, "application/json")

    def _client_has_hung_up(self) -> bool:
        """True if the connection is closed at the other end: it can be read, and nothing is in it."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        try:
            return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        except ConnectionError:
            return True

    def _refuse(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        self._send(status, {"error": {"message": message, "type": "refused", "code": status}}, headers)

    def _send(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._send_bytes(status, json.dumps(body).encode(), "application/json", headers=headers)

    def _send_bytes(
        self,
        status: int,
        body: bytes,
        media_type: str,
        *,
        announced: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body) if announced is None else announced))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()
        except ConnectionError:
            self.close_connection = True  # the client gave up waiting; nobody is left to tell

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the service counts, and a line for each request would hide what a test prints."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, port: int, service: OfflineService) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.service = service
        service.base_url = f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone is nothing to tell anybody; everything else is."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serve_offline_vlm(service: OfflineService, *, port: int = 0) -> Iterator[OfflineService]:
    """The service under its `base_url` for as long as the block runs; port 0 takes a free one."""
    server = _Server(port, service)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True, name="vlm-server")
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def main(arguments: list[str]) -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m resources.vlm_server", description=__doc__)
    parser.add_argument("--port", type=int, default=8100, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--faults", default="", help=f"name=share,...; names: {', '.join(FAULTS)}")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that every answer takes")
    parser.add_argument("--slow", type=float, default=5.0, help="seconds more that a slow answer takes")
    parser.add_argument("--max-concurrent", type=int, default=64, help="answers worked on at once")
    told = parser.parse_args(arguments)
    service = OfflineService(
        fault_shares=faults_from_text(told.faults),
        seed=told.seed,
        delay_seconds=told.delay,
        slow_seconds=told.slow,
        max_concurrent=told.max_concurrent,
    )
    server = _Server(told.port, service)
    print(f"{STAND_IN_MODEL} at {service.base_url}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main(sys.argv[1:])
