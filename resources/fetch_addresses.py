"""Which network addresses the fetcher may connect to: public ones, and what the installation allows by name or network.

What decides is the address that a connection goes to, never the name that stood in a page: see fetch_connection.py.
"""

import ipaddress
from dataclasses import dataclass

from training_kernels.errors import ConfigError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
"""The only IPv6 addresses given out for the public internet. Source: IANA, IPv6 address space registry."""

TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
"""NAT64: the last 32 bits are the IPv4 address that a gateway connects to. Source: RFC 6052, section 2.1."""

PUBLIC_BUT_INSIDE: tuple[IPNetwork, ...] = (
    ipaddress.IPv4Network("168.63.129.16/32"),  # answers only inside Azure: the host's own agent
    ipaddress.IPv4Network("192.0.0.0/24"),  # protocol assignments; a cloud's metadata service is at .192
    ipaddress.IPv4Network("192.88.99.0/24"),  # relays from IPv6, given up in RFC 7526
)
"""Addresses that the registries call global and that no picture on the web has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowList:
    """Names and networks that are connected to although they are not public."""

    hosts: frozenset[str]
    """Names in lower case, as they stand in addresses: whatever such a name resolves to is allowed."""
    networks: tuple[IPNetwork, ...]

    @classmethod
    def from_text(cls, text: str) -> "AllowList":
        """From `intranet.example, 10.1.0.0/16, ::1`. Raises ConfigError for a part that is neither name nor network."""
        hosts, networks = set(), []
        for part in (part.strip().lower() for part in text.split(",")):
            if not part:
                continue
            try:
                networks.append(ipaddress.ip_network(part))
            except ValueError as error:
                if not all(label.replace("-", "").replace("_", "").isalnum() for label in part.split(".")):
                    raise ConfigError(
                        f"the allow-list holds host names and networks (10.1.0.0/16), separated by commas; {part!r} is "
                        f"neither: {error}"
                    ) from None
                hosts.add(part)
        return cls(hosts=frozenset(hosts), networks=tuple(networks))

    def allows(self, host: str, address: IPAddress) -> bool:
        """True if this address, found under this name, is allowed by name or by network."""
        carried = carried_ipv4(address)
        return host.lower().rstrip(".") in self.hosts or any(
            address in network or (carried is not None and carried in network) for network in self.networks
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WebAccess:
    """That pictures may be fetched: whom the user agent names as responsible, and what is allowed beyond the public."""

    contact: str
    """Address of a page or mailbox for those whose sites are fetched from."""
    allow: AllowList

    def __post_init__(self) -> None:
        if not self.contact.isascii() or not self.contact.isprintable() or not ({"@", ":"} & set(self.contact)):
            raise ConfigError(
                "fetching needs a contact that the user agent can name, an http(s) address or a mail address, got "
                f"{self.contact!r}; set NYX_FETCH_CONTACT"
            )


def carried_ipv4(address: IPAddress) -> ipaddress.IPv4Address | None:
    """The IPv4 address that packets to an IPv6 address end up at, if it is one that carries another."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in TRANSLATED:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def forbidden_kind(address: IPAddress) -> str | None:
    """What kind of address that is not public this is, as a word for a message; None for a public one."""
    if (carried := carried_ipv4(address)) is not None:
        kind = forbidden_kind(carried)
        return f"{kind} ({carried})" if kind else None
    for kind, holds in (
        ("unspecified", address.is_unspecified),
        ("loopback", address.is_loopback),
        ("link-local", address.is_link_local),
        ("multicast", address.is_multicast),
        ("private", address.is_private),
        ("reserved", address.is_reserved),
        ("shared or special", not address.is_global or any(address in network for network in PUBLIC_BUT_INSIDE)),
        ("not a public unicast", address.version == 6 and address not in GLOBAL_UNICAST),
    ):
        if holds:
            return kind
    return None
