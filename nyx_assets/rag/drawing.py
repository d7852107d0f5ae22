"""Draw some of many by hash, so that the same ones are drawn whatever stands beside them."""

import hashlib
from collections.abc import Iterable


def draw_by_hash(ids: Iterable[str], *, limit: int, seed: int) -> list[str]:
    """At most `limit` of the ids, those of the smallest hash with the seed, in the order of ids.

    A row that is added or removed changes the draw by one place, not all of it, so answers paid for stay of use.
    """

    def place(drawn_id: str) -> bytes:
        return hashlib.sha256(f"{seed}\0{drawn_id}".encode()).digest()

    return sorted(sorted(ids, key=place)[:limit])
