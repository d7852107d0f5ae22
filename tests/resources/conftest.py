"""A hostile web server on loopback addresses, and names that lead to it."""

import asyncio
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import pytest
from PIL import Image

from resources.fetch_addresses import AllowList, WebAccess
from resources.fetch_client import FetchedFile, Fetcher
from resources.fetch_limits import FetchLimits
from resources.images import PictureRefused

Behaviour = Callable[["HostileHandler"], None]


class HostileHandler(BaseHTTPRequestHandler):
    """Does what the route of a path says, and notes who asked."""

    protocol_version = "HTTP/1.1"
    server: "HostileServer"

    def do_GET(self) -> None:
        web = self.server.web
        place = self.server.server_address[0]
        with web.lock:
            web.requests.append((place, self.path, dict(self.headers.items())))
            web.times.append(time.monotonic())
            web.now_served[place] += 1
            web.most_served = max(web.most_served, sum(web.now_served.values()))
        try:
            web.routes.get(self.path, web.default)(self)
        except ConnectionError:
            self.close_connection = True  # the client has had enough, as it should
        finally:
            with web.lock:
                web.now_served[place] -= 1

    def answer(self, status: int = 200, body: bytes = b"", announced: int | None = None, **headers: str) -> None:
        """A whole answer; `announced` lies about the length, and headers are written with _ for -."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if announced is None else announced))
        if announced is not None:
            self.send_header("Connection", "close")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


class HostileServer(ThreadingHTTPServer):
    """Quiet where a client breaks off."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    web: "HostileWeb"

    def handle_error(self, request: object, client_address: object) -> None:
        """A handshake that the client broke off."""


@dataclass
class HostileWeb:
    """What the server does by path, and what it was asked."""

    port: int = 0
    routes: dict[str, Behaviour] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """Address that was connected to, path, headers."""
    times: list[float] = field(default_factory=list)
    servers: list[HostileServer] = field(default_factory=list)
    now_served: Counter[str] = field(default_factory=Counter)
    most_served: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def default(self, handler: HostileHandler) -> None:
        handler.answer(404)

    def serve_tls(self, context: ssl.SSLContext) -> None:
        """From now on, talk TLS."""
        for server in self.servers:
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)

    def url(self, path: str, host: str = "pictures.test") -> str:
        return f"http://{host}:{self.port}{path}"

    def asked(self, path: str) -> int:
        return sum(asked == path for _, asked, _ in self.requests)

    def asked_at(self, place: str) -> int:
        """Requests that came in at a loopback address."""
        return sum(at == place for at, _, _ in self.requests)


@pytest.fixture
def web() -> Iterator[HostileWeb]:
    """One server on 127.0.0.1 and 127.0.0.2, on the same port."""
    web = HostileWeb()
    for place in ("127.0.0.1", "127.0.0.2"):
        server = HostileServer((place, web.port), HostileHandler)
        server.web = web
        web.port = server.server_address[1]
        web.servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield web
    for server in web.servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def png() -> bytes:
    """A picture of 60 x 50 pixels that does not compress to nothing."""
    stream = BytesIO()
    Image.effect_noise((60, 50), 40).convert("RGB").save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="session")
def impatient() -> FetchLimits:
    """Limits that make every test end within seconds."""
    return FetchLimits(
        max_in_flight=16,
        max_in_flight_per_host=16,
        seconds_between_requests=0.0,
        connect_seconds=1.0,
        silence_seconds=0.4,
        request_seconds=1.0,
        max_redirects=4,
        max_attempts=3,
        first_pause_seconds=0.02,
        longest_pause_seconds=1.5,
        retry_failures_after_seconds=100.0,
    )


async def names_of_the_test(host: str, port: int) -> list[str]:
    """`*.test` leads to 127.0.0.1; any other name must be an address in one of the ways that systems read one."""
    if host.endswith(".test"):
        return ["127.0.0.1"]
    return [host if ":" in host else socket.inet_ntoa(socket.inet_aton(host))]


@pytest.fixture
def fetch_all(impatient):
    """Files or refusals behind some addresses, asked for by one fetcher, in order."""

    def fetch(
        *addresses, allow="pictures.test, other.test", limits=impatient, at_once=False, max_bytes=200_000, **options
    ):
        async def ask(fetcher: Fetcher, address: str) -> FetchedFile | PictureRefused:
            try:
                return await fetcher.fetch(address, max_bytes=max_bytes)
            except PictureRefused as refusal:
                return refusal

        async def ask_all() -> list[FetchedFile | PictureRefused]:
            access = WebAccess(contact="https://crawler.example/about", allow=AllowList.from_text(allow))
            fetcher = Fetcher(access, limits, **{"resolve": names_of_the_test} | options)
            try:
                if at_once:
                    return await asyncio.gather(*(ask(fetcher, address) for address in addresses))
                return [await ask(fetcher, address) for address in addresses]
            finally:
                await fetcher.aclose()

        return asyncio.run(ask_all())

    return fetch


@pytest.fixture
def fetch(fetch_all):
    def fetch_one(address, **options):
        return fetch_all(address, **options)[0]

    return fetch_one
