"""What of the asset graph a main job is meant to look at, and what of that it makes although it is current."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Places = frozenset[str | None]
"""Crawl partitions of an asset; {None} for an asset that has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """A part of the graph. What is outside stays as it is, and what it holds is read as it stands."""

    reach: Mapping[str, Places | None]
    """By asset: places that may be made; None for all of them."""
    again: Mapping[str, Places] = field(default_factory=dict)
    """By asset: places, all within reach, that are made whether or not they are current."""

    def reaches(self, asset: str, partition: str | None) -> bool:
        if asset not in self.reach:
            return False
        places = self.reach[asset]
        return places is None or partition in places

    def makes_again(self, asset: str, partition: str | None) -> bool:
        return partition in self.again.get(asset, ())
