"""What a site asks of crawlers: robots.txt by address, X-Robots-Tag by answer. Both bind us.

Source: RFC 9309 (robots.txt); the X-Robots-Tag header as Google and Bing describe it, `noai` and `noimageai` as
DeviantArt introduced them.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import httpx2
from protego import Protego

from resources.images import PictureRefused

PRODUCT = "nyx"
"""The name that a robots.txt calls this crawler by."""

MAX_ROBOTS_BYTES = 500 * 1024
"""What is read of a robots.txt; the rest is passed over. Source: RFC 9309, section 2.5: at least 500 KiB."""

REMEMBERED_SITES = 10_000
"""Choice: rules of sites kept in memory; most are below 5 KB."""

RULE_BY_DIRECTIVE = {
    "noai": "noai",
    "noimageai": "noai",
    "noindex": "noindex",
    "noimageindex": "noindex",
    "none": "noindex",
}
"""Choice: noindex counts as well, since what is built here is an index; `none` is noindex and nofollow in one word."""

DIRECTIVES_WITH_VALUE = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})

ReadRobots = Callable[[httpx2.URL], Awaitable[bytes]]
"""The first MAX_ROBOTS_BYTES of the robots.txt at an address, nothing where there is none. Raises PictureRefused if it
cannot be had."""


@dataclass(frozen=True, slots=True)
class SiteRules:
    """What one site's robots.txt asks."""

    rules: Protego

    @classmethod
    def from_bytes(cls, robots: bytes) -> "SiteRules":
        """Source: RFC 9309, section 2.3.1.3: a robots.txt that is not there, hence empty, allows everything."""
        return cls(Protego.parse(robots.decode("utf-8-sig", "replace")))

    def allow(self, url: httpx2.URL) -> bool:
        return self.rules.can_fetch(str(url), PRODUCT)

    @property
    def crawl_delay_seconds(self) -> float:
        return self.rules.crawl_delay(PRODUCT) or 0.0


class Robots:
    """The rules of every site asked so far, each robots.txt read once. One event loop only."""

    def __init__(self, read: ReadRobots) -> None:
        self._read = read
        self._task_by_site: OrderedDict[str, asyncio.Task[SiteRules | PictureRefused]] = OrderedDict()

    async def permit(self, url: httpx2.URL) -> float:
        """Seconds that the site wants between requests, if it lets us ask for this address at all.

        Raises PictureRefused if it does not, or if its robots.txt cannot be had (section 2.3.1.4: then nothing is
        allowed).
        """
        site = f"{url.scheme}://{url.netloc.decode('ascii')}"
        if site not in self._task_by_site:
            if len(self._task_by_site) >= REMEMBERED_SITES:
                self._task_by_site.popitem(last=False)
            self._task_by_site[site] = asyncio.create_task(self._rules_of(httpx2.URL(f"{site}/robots.txt")))
        # shield: if this caller is cancelled, the others still wait for the same answer
        outcome = await asyncio.shield(self._task_by_site[site])
        if isinstance(outcome, PictureRefused):
            raise PictureRefused(outcome.rule, outcome.reason)
        if not outcome.allow(url):
            raise PictureRefused("robots_disallowed", f"{site}/robots.txt does not let {PRODUCT} fetch {url}")
        return outcome.crawl_delay_seconds

    async def _rules_of(self, address: httpx2.URL) -> SiteRules | PictureRefused:
        try:
            return SiteRules.from_bytes(await self._read(address))
        except PictureRefused as refusal:
            return refusal


def refuse_by_tag(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raises PictureRefused if an X-Robots-Tag meant for everybody or for us forbids the use of the answer."""
    for name, value in headers:
        if name.lower() != b"x-robots-tag":
            continue
        tag = value.decode("latin-1").lower()
        for directive in _directives_for_us(tag):
            if directive in RULE_BY_DIRECTIVE:
                raise PictureRefused(RULE_BY_DIRECTIVE[directive], f"the site answers with X-Robots-Tag: {tag[:100]}")


def _directives_for_us(tag: str) -> list[str]:
    """The directives of a tag, or none if it is headed by the name of another crawler (`otherbot: noai`)."""
    head, colon, rest = tag.partition(":")
    if colon and "," not in head and head.strip() not in DIRECTIVES_WITH_VALUE:
        if head.strip() != PRODUCT:
            return []
        tag = rest
    return [directive.strip() for directive in tag.split(",")]
