"""Fetches one file from the web as a stranger's server must be asked: bounded in everything, and never trusted.

Every request, redirects and robots.txt included, takes the same way: permission of the site, a place among the
requests, a connection to a checked address, a bounded read.
"""

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import httpcore2
import httpx2

from resources.fetch_addresses import WebAccess
from resources.fetch_connection import CheckedBackend, Resolve, system_resolver
from resources.fetch_limits import FetchLimits, Gates, PassingFault
from resources.fetch_robots import MAX_ROBOTS_BYTES, PRODUCT, Robots, refuse_by_tag
from resources.images import PictureRefused
from resources.retrying import RETRIED_STATUSES, retry_after_seconds

REDIRECTS = frozenset({301, 302, 303, 307, 308})

HOST = re.compile(rb"[a-z0-9._:-]+")
"""A host name or an IP address, once its letters are those of DNS."""

ACCEPTED = "image/avif,image/webp,image/png,image/jpeg,image/gif,image/bmp,image/tiff"

Result = TypeVar("Result")
Headers = list[tuple[bytes, bytes]]
Screen = Callable[[Headers], None]
"""Looks at the headers of an answer of status 200 before its body is read. Raises PictureRefused."""


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A file as a server sent it, and the address that it came from in the end."""

    data: bytes
    address: str


@dataclass(frozen=True, slots=True)
class _Answer:
    """One answer; the body is read only of status 200."""

    status: int
    body: bytes
    location: str | None


class Fetcher:
    """An HTTP client for files of strangers, without cookies, credentials, referrer, proxies or content encodings.

    Args:
        resolve: how names become addresses.
        tls: the certificates that are believed.
    """

    def __init__(
        self,
        access: WebAccess,
        limits: FetchLimits,
        *,
        resolve: Resolve = system_resolver,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._limits = limits
        self._gates = Gates(limits)
        self._robots = Robots(self._read_robots)
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=None,  # bounded by the gates
            max_keepalive_connections=limits.max_in_flight,
            keepalive_expiry=15.0,
            network_backend=CheckedBackend(access.allow, resolve),
        )
        self._user_agent = f"{PRODUCT} (+{access.contact})"

    async def fetch(self, address: str, *, max_bytes: int) -> FetchedFile:
        """The file behind an http(s) address. Raises PictureRefused with the cause as its rule."""
        url = _parsed(address)

        def screen(headers: Headers) -> None:
            refuse_by_tag(headers)
            _refuse_announced_size(headers, max_bytes)

        async def follow() -> FetchedFile:
            last, answer = await self._follow(url, self._robots.permit, screen, max_bytes + 1)
            if answer.status != 200:
                raise PictureRefused(f"http_{answer.status}", f"{last} answers with status {answer.status}")
            if len(answer.body) > max_bytes:
                raise PictureRefused(
                    "too_large", f"{last} sends more than {max_bytes:,} bytes, the most that are taken"
                )
            return FetchedFile(answer.body, str(last))

        return await self._persistently(url, follow)

    async def aclose(self) -> None:
        await self._pool.aclose()

    async def _read_robots(self, url: httpx2.URL) -> bytes:
        async def follow() -> bytes:
            last, answer = await self._follow(url, _no_delay, _no_screen, MAX_ROBOTS_BYTES)
            if answer.status >= 500:
                raise PictureRefused(f"http_{answer.status}", f"{last} answers with status {answer.status}")
            return answer.body  # empty of every other status but 200

        try:
            return await self._persistently(url, follow)
        except PictureRefused as refusal:
            if refusal.rule.startswith("http_"):
                reason = f"its robots.txt cannot be had, so nothing is allowed: {refusal.reason}"
                raise PictureRefused("robots_unreachable", reason) from None
            raise PictureRefused(refusal.rule, refusal.reason) from None

    async def _persistently(self, url: httpx2.URL, attempt: Callable[[], Awaitable[Result]]) -> Result:
        """What an attempt returns, after more of them where the fault may pass."""
        for number in range(self._limits.max_attempts):
            try:
                return await attempt()
            except PassingFault as fault:
                is_last = number + 1 == self._limits.max_attempts
                if is_last or fault.retry_after_seconds > self._limits.longest_pause_seconds:
                    raise PictureRefused(fault.rule, f"{fault.reason} ({number + 1} attempts)") from None
                await asyncio.sleep(self._limits.pause_seconds(number, str(url)))  # the host's own rest is its gate's
        raise AssertionError("limits allow at least one attempt")

    async def _follow(
        self, url: httpx2.URL, permit: Callable[[httpx2.URL], Awaitable[float]], screen: Screen, max_bytes: int
    ) -> tuple[httpx2.URL, _Answer]:
        """The first answer that is no redirect, and its address."""
        for _ in range(self._limits.max_redirects + 1):
            answer = await self._ask(url, await permit(url), screen, max_bytes)
            if answer.location is None:
                return url, answer
            url = _redirected(url, answer.location)
        raise PictureRefused(
            "too_many_redirects", f"more than {self._limits.max_redirects} redirects, the last one to {url}"
        )

    async def _ask(self, url: httpx2.URL, delay_seconds: float, screen: Screen, max_bytes: int) -> _Answer:
        """One request and at most `max_bytes` of its answer. Raises PassingFault where another attempt may help."""
        limits = self._limits
        seconds_apart = max(limits.seconds_between_requests, min(delay_seconds, limits.longest_pause_seconds))
        async with self._gates.passage(url.host, seconds_apart=seconds_apart):
            try:
                async with asyncio.timeout(limits.request_seconds):
                    return await self._exchange(url, screen, max_bytes)
            except TimeoutError:
                raise PictureRefused(
                    "too_slow", f"{url} was not there after {limits.request_seconds:g} s, the longest that is waited"
                ) from None
            except PassingFault as fault:
                self._gates.hold(url.host, min(fault.retry_after_seconds, limits.longest_pause_seconds))
                raise

    async def _exchange(self, url: httpx2.URL, screen: Screen, max_bytes: int) -> _Answer:
        limits = self._limits
        silence = limits.silence_seconds
        with _faults_of(url, "connection_failed"):
            async with self._pool.stream(
                "GET",
                httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=[
                    ("Host", url.netloc.decode("ascii")),
                    ("User-Agent", self._user_agent),
                    ("Accept", ACCEPTED),
                    ("Accept-Encoding", "identity"),
                ],
                extensions={"timeout": {"connect": limits.connect_seconds, "read": silence, "write": silence}},
            ) as response:
                if response.status in RETRIED_STATUSES:
                    raise _status_fault(url, response)
                if response.status != 200:
                    is_redirect = response.status in REDIRECTS
                    return _Answer(
                        response.status, b"", _header(response.headers, b"location") if is_redirect else None
                    )
                screen(response.headers)
                if (encoding := _header(response.headers, b"content-encoding")) not in (None, "", "identity"):
                    # a few bytes of gzip unfold to gigabytes, and a picture is compressed already
                    raise PictureRefused(
                        "content_encoding", f"{url} comes as {encoding[:50]!r}; asked for was identity"
                    )
                with _faults_of(url, "truncated"):
                    return _Answer(200, await _first_bytes(response, max_bytes), None)


async def _no_delay(url: httpx2.URL) -> float:
    """A robots.txt may always be asked for."""
    return 0.0


def _no_screen(headers: Headers) -> None:
    """An X-Robots-Tag on robots.txt is about the file itself, and its first bytes are enough whatever its size."""


async def _first_bytes(response: httpcore2.Response, max_bytes: int) -> bytes:
    body = bytearray()
    async for part in response.aiter_stream():
        body += part[: max_bytes - len(body)]
        if len(body) == max_bytes:
            break
    return bytes(body)


def _parsed(address: str) -> httpx2.URL:
    """An address as this client asks for it, without fragment. Raises PictureRefused if it is none, or not http(s)."""
    try:
        url = httpx2.URL(address).copy_with(fragment=None)
    except (httpx2.InvalidURL, ValueError) as error:
        raise PictureRefused("bad_address", f"{address[:200]!r} is no address: {error}") from None
    if url.scheme not in ("http", "https"):
        raise PictureRefused("unsupported_scheme", f"{address[:200]!r} is not http(s), nothing else is fetched")
    port = 80 if url.port is None else url.port
    if not HOST.fullmatch(url.raw_host) or url.userinfo or not 0 < port < 65536:
        raise PictureRefused(
            "bad_address", f"{address[:200]!r} needs a host, no user name and a port from 1 to 65,535 to be fetched"
        )
    return url


def _redirected(url: httpx2.URL, location: str) -> httpx2.URL:
    try:
        return _parsed(str(url.join(location)))
    except PictureRefused as refusal:
        raise PictureRefused(refusal.rule, f"{url} redirects: {refusal.reason}") from None
    except (httpx2.InvalidURL, ValueError) as error:
        raise PictureRefused("bad_address", f"{url} redirects to {location[:200]!r}, no address: {error}") from None


@contextmanager
def _faults_of(url: httpx2.URL, rule: str) -> Iterator[None]:
    """Names what goes wrong on the way; `rule` for a connection that is lost or an answer that breaks HTTP."""
    try:
        yield
    except httpcore2.TimeoutException as error:
        raise PassingFault("timeout", f"{url}: no word in time ({type(error).__name__})") from None
    except (httpcore2.NetworkError, httpcore2.RemoteProtocolError) as error:
        raise PassingFault(rule, f"{url}: {str(error) or type(error).__name__}") from None
    except httpcore2.LocalProtocolError as error:
        raise PictureRefused("bad_address", f"{url} cannot be asked for: {error}") from None


def _status_fault(url: httpx2.URL, response: httpcore2.Response) -> PassingFault:
    wait_seconds = retry_after_seconds(_header(response.headers, b"retry-after"), now=datetime.now(UTC))
    return PassingFault(f"http_{response.status}", f"{url} answers with status {response.status}", wait_seconds)


def _refuse_announced_size(headers: Headers, max_bytes: int) -> None:
    announced = _header(headers, b"content-length") or ""
    if announced.isdigit() and int(announced) > max_bytes:
        raise PictureRefused("too_large", f"{int(announced):,} bytes are announced, at most {max_bytes:,} are taken")


def _header(headers: Headers, name: bytes) -> str | None:
    return next((value.decode("utf-8", "replace").strip() for key, value in headers if key.lower() == name), None)
