"""Connections that go to an address that was checked: the name is resolved here, once, and what was checked is dialled.

A check of the name before the request would be worth nothing: a server can redirect, and a name can resolve to another
address a moment later (DNS rebinding).
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable

import httpcore2

from resources.fetch_addresses import AllowList, forbidden_kind
from resources.fetch_limits import PassingFault
from resources.images import PictureRefused

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""All addresses of a host name for a port. Raises OSError if there are none."""

MAX_DIALLED = 4
"""Choice: of a name with many addresses the first four are tried, so that a dead host is dead soon."""


async def system_resolver(host: str, port: int) -> list[str]:
    """What this machine's resolver says, each address once. Raises socket.gaierror."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


class CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Dials checked addresses. The connection above it keeps the name, for the Host header and for TLS.

    Choice: a name of which one address is forbidden is refused altogether; no honest public name points inside.
    """

    def __init__(self, allow: AllowList, resolve: Resolve) -> None:
        self._allow = allow
        self._resolve = resolve
        self._network = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        fault: httpcore2.ConnectError | httpcore2.ConnectTimeout | None = None
        for address in (await self._checked(host, port, timeout))[:MAX_DIALLED]:
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                fault = error
        raise fault or httpcore2.ConnectError(f"{host} has no address")

    async def _checked(self, host: str, port: int, timeout: float | None) -> list[str]:
        """The addresses of a host. Raises PictureRefused if one of them is forbidden or there are none."""
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._resolve(host, port)
        except (TimeoutError, socket.gaierror) as error:
            message = f"the name {host} does not resolve: {str(error) or 'no answer in time'}"
            if isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN:
                raise PictureRefused("unresolved_host", message) from None
            raise PassingFault("unresolved_host", message) from None
        except (UnicodeError, OverflowError) as error:
            raise PictureRefused("bad_address", f"{host!r}, port {port} cannot be an address: {error}") from None
        for text in addresses:
            address = ipaddress.ip_address(text)
            kind = forbidden_kind(address)
            if kind is not None and not self._allow.allows(host, address):
                raise PictureRefused(
                    "forbidden_address",
                    f"{host} is at {address}, a {kind} address; only public addresses are connected to, and those that "
                    "NYX_FETCH_ALLOW names",
                )
        return addresses
