"""A backfill: named assets are made again, of named crawl partitions, whether or not they are current."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import dagster as dg

from nyx_assets.main_job import Pipeline
from nyx_assets.materialization import is_current, name_of
from nyx_assets.planned_work import Foreseen
from nyx_assets.planning import Outlook
from nyx_assets.quarantine import quarantined_partitions
from nyx_assets.scope import Places, Scope
from resources.home import Home
from training_kernels.errors import ConfigError

MAX_NAMED = 5
"""Choice: names that a person reads in one line."""
WHOLE: Places = frozenset({None})


@dataclass(frozen=True, slots=True, kw_only=True)
class WhichPartitions:
    """How a person names crawl partitions: by their keys, by a pattern, all of them, or not at all."""

    keys: tuple[str, ...] = ()
    pattern: str = ""
    """As a shell has it: `*`, `?` and `[…]`."""
    is_all: bool = False

    def __post_init__(self) -> None:
        if bool(self.keys) + bool(self.pattern) + self.is_all > 1:
            raise ConfigError(
                "--partitions, --partitions-like and --all-partitions exclude each other: give one of them"
            )

    @property
    def are_named(self) -> bool:
        return bool(self.keys or self.pattern or self.is_all)

    def among(self, home: Home) -> Places:
        """The partitions that are meant. Raises ConfigError for one that never landed or is quarantined, or if none is."""
        out = {one.crawl: one for one in quarantined_partitions(home)}
        landed = home.tables.partitions("landed_crawl")
        known = sorted(set(landed) - out.keys())
        if not known:
            raise ConfigError(f"no crawl partition has landed in {home} yet: start with `nyx run`")
        if self.is_all:
            return frozenset(known)
        if self.pattern:
            if not (found := [key for key in known if fnmatchcase(key, self.pattern)]):
                raise ConfigError(f"no crawl partition is like {self.pattern!r}; there are {_some(known)}")
            return frozenset(found)
        for key in self.keys:
            if key in out:
                raise ConfigError(
                    f"crawl partition {key} is quarantined ({out[key].reason}): deliver it again, or `nyx quarantine release "
                    f"{key}`, and `nyx run`"
                )
            if key not in known:
                raise ConfigError(
                    f"crawl partition {key!r} is unknown{_near(key, known)}; there are {_some(known)}; `nyx run` registers "
                    "what lies in the crawl folder"
                )
        return frozenset(self.keys)


def scope_of_backfill(
    pipeline: Pipeline, home: Home, assets: Sequence[str], which: WhichPartitions, *, with_downstream: bool
) -> Scope:
    """What a backfill makes again, and what it may make besides.

    Raises ConfigError for an asset or partition that is not there, and for partitions of an asset that has none.
    """
    for asset in assets:
        if asset == "landed_crawl":
            raise ConfigError("landed_crawl is what was delivered, and not made: deliver it again, and `nyx run`")
        if asset not in pipeline.specs:
            raise ConfigError(
                f"asset {asset!r} is unknown{_near(asset, pipeline.specs)}; `nyx status` lists all {len(pipeline.specs)}"
            )
    whole = [asset for asset in assets if pipeline.specs[asset].partitions_def is None]
    cut = [asset for asset in assets if asset not in whole]
    if which.are_named and whole:
        raise ConfigError(
            f"{_some(whole)} {'is' if len(whole) == 1 else 'are'} made of all crawl partitions together: leave the partitions "
            "out, in a command of its own, or use --with-downstream, which makes it where it depends on the others"
        )
    if cut and not which.are_named:
        raise ConfigError(
            f"{_some(cut)} {'is' if len(cut) == 1 else 'are'} made by crawl partition: say which by --partitions a,b, "
            "--partitions-like 'GLOB' or --all-partitions"
        )
    places = which.among(home) if cut else WHOLE
    again = {sibling: places if asset in cut else WHOLE for asset in assets for sibling in pipeline.siblings[asset]}
    return Scope(reach=_with_downstream(pipeline, home, again) if with_downstream else again, again=again)


def scope_until(pipeline: Pipeline, assets: Iterable[str]) -> Scope:
    """These assets and all that they are made from, of every partition."""
    wanted = {sibling for asset in assets for sibling in pipeline.siblings[asset]}
    for name in reversed(list(pipeline.specs)):  # inputs stand before what reads them
        if name in wanted:
            parents = {name_of(one.asset_key) for one in pipeline.specs[name].deps} & pipeline.specs.keys()
            wanted |= {sibling for parent in parents for sibling in pipeline.siblings[parent]}
    return Scope(reach=dict.fromkeys(wanted))


def _with_downstream(pipeline: Pipeline, home: Home, again: Mapping[str, Places]) -> dict[str, Places]:
    """The same, and the places of all assets that depend on it, directly or through others."""
    every: Places = frozenset(home.tables.partitions("landed_crawl"))
    reach = dict(again)
    for name, spec in pipeline.specs.items():  # inputs stand before what reads them
        found: set[str | None] = set(reach.get(name, ()))
        for dependency in spec.deps:
            parent = name_of(dependency.asset_key)
            if parent not in reach or parent in pipeline.siblings[name]:
                continue
            if spec.partitions_def is None:
                found |= WHOLE
            elif reach[parent] == WHOLE or isinstance(dependency.partition_mapping, dg.AllPartitionMapping):
                found |= every
            else:
                found |= reach[parent]
        for sibling in pipeline.siblings[name] if found else ():
            reach[sibling] = reach.get(sibling, frozenset()) | found
    return reach


def made_together(pipeline: Pipeline, assets: Collection[str]) -> list[tuple[str, ...]]:
    """Assets beside the named ones that one function makes with them, the named one first."""
    groups = {}
    for asset in assets:
        others = tuple(name for name in pipeline.siblings[asset] if name not in assets)
        if others:
            groups[pipeline.siblings[asset]] = (asset, *others)
    return list(groups.values())


def stale_inputs(pipeline: Pipeline, home: Home, scope: Scope) -> dict[str, list[str]]:
    """Partitions of inputs that are not current themselves, and that the backfill reads as they stand; by asset."""
    found: dict[str, set[str]] = {}
    for name, places in scope.again.items():
        for dependency in pipeline.specs[name].deps:
            parent = name_of(dependency.asset_key)
            spec = pipeline.specs.get(parent)
            if spec is None:
                continue
            read = WHOLE if spec.partitions_def is None else places if None not in places else frozenset()
            for place in read:
                if not scope.reaches(parent, place) and not is_current(spec, place, home):
                    found.setdefault(parent, set()).add(place or "")
    return {name: sorted(places) for name, places in found.items()}


def stale_after(pipeline: Pipeline, home: Home, scope: Scope) -> dict[Outlook, dict[str, list[str]]]:
    """What depends on the backfill and is stale now ("will"), or may become so when that is made; partitions by asset."""
    downstream = _with_downstream(pipeline, home, scope.again)
    foreseen = Foreseen(pipeline, home, dict.fromkeys(home.tables.partitions("landed_crawl"), "same"))
    stale: dict[Outlook, dict[str, list[str]]] = {"will": {}, "may": {}}
    for name in pipeline.specs:
        for place in sorted(downstream.get(name, ()), key=str):
            outlook, _ = foreseen.outlook(name, place)
            if outlook in stale:
                stale[outlook].setdefault(name, []).append(place or "")
    return stale


def backfill_json(pipeline: Pipeline, scope: Scope, assets: Collection[str]) -> dict[str, Any]:
    """What is made again, as data."""
    return {
        "again": {name: sorted(place for place in places if place) for name, places in scope.again.items()},
        "made_together": [list(group) for group in made_together(pipeline, assets)],
    }


def backfill_lines(
    pipeline: Pipeline, scope: Scope, assets: Collection[str], stale: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """What is made again, with what, and from what that is not current."""
    for asset in assets:
        yield f"made again: {asset}{_places(sorted(place or '' for place in scope.again[asset]))}"
    for asset, *others in made_together(pipeline, assets):
        yield f"  together with {asset}, by the same function: {', '.join(others)}"
    for name, places in stale.items():
        yield f"  reads {name}{_places(places)} as it stands; it is not current: name {name} as well to make it first"


def stale_lines(stale: Mapping[Outlook, Mapping[str, Sequence[str]]]) -> Iterator[str]:
    """What `nyx run` has to do after a backfill."""
    if not stale["will"]:
        yield "Nothing that depends on it is stale: `nyx run` has nothing to do for it."
        return
    yield "Stale now, made by `nyx run`:"
    for name, places in stale["will"].items():
        yield f"  {name}{_places(places)}"
    if stale["may"]:
        yield f"and, only if the content of what they read changes: {', '.join(stale['may'])}"


def _places(places: Sequence[str]) -> str:
    if not any(places):
        return ""
    return f" of {len(places)} partitions: {_some(places)}" if len(places) > 1 else f" of {places[0]}"


def _some(names: Collection[str]) -> str:
    named = list(names)
    return ", ".join(named[:MAX_NAMED]) + (f" and {len(named) - MAX_NAMED} more" if len(named) > MAX_NAMED else "")


def _near(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=3)
    return f"; near it: {', '.join(near)}" if near else ""
