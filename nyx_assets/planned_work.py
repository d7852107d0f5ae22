"""Which assets a run would make, partition by partition, and why.

What reads a table that is made again stays as it is when that table comes out the same, and nobody knows before. So what
is ahead is of two kinds: what a run makes if nothing fails, and what it makes if the content of an input changes.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Literal

import dagster as dg

from nyx_assets.main_job import Pipeline
from nyx_assets.materialization import FILE_KEY, SETTINGS_KEY, name_of
from nyx_assets.past_runs import PastRuns
from nyx_assets.planning import Outlook, PlannedWork
from nyx_assets.scope import Scope
from nyx_assets.setting_notes import changed_settings
from resources.commits import Commit
from resources.home import Home

Landing = Literal["new", "changed", "same"]
"""How a delivery stands to what is registered of it."""
MAX_NAMED = 3


class Foreseen:
    """What a run on this home would do, given how the deliveries stand. Writes nothing."""

    def __init__(
        self, pipeline: Pipeline, home: Home, landing_by_key: Mapping[str, Landing], scope: Scope | None = None
    ) -> None:
        self._pipeline = pipeline
        self._scope = scope
        self._home = home
        self._landing = landing_by_key
        self.keys = sorted(landing_by_key)
        """Crawl partitions that a run walks through."""
        self.outlook = cache(self._outlook)
        self._own = cache(self._own_outlook)

    def work(self, past: PastRuns) -> Iterator[PlannedWork]:
        """Everything that is not certain to stay, in the order in which a run comes to it."""
        for name, spec in self._pipeline.specs.items():
            for partition in self.keys if spec.partitions_def is not None else [None]:
                outlook, reasons = self.outlook(name, partition)
                if outlook != "current":
                    yield PlannedWork(
                        asset=name,
                        partition=partition,
                        outlook=outlook,
                        reasons=reasons,
                        seconds=past.seconds(name, partition),
                        num_bytes=past.num_bytes(name, partition),
                    )

    def is_ahead(self, name: str, partition: str | None) -> bool:
        """Whether a run makes this, or may make it; of landed_crawl, whether it registers the delivery."""
        return self.outlook(name, partition)[0] in ("will", "may")

    def _outlook(self, name: str, partition: str | None) -> tuple[Outlook, tuple[str, ...]]:
        """Of the asset with those that one function makes together with it."""
        if name not in self._pipeline.specs:
            return self._landed(partition)
        by_sibling = {sibling: self._own(sibling, partition) for sibling in self._pipeline.siblings[name]}
        for outlook in ("will", "may", "blocked"):
            if outlook == "blocked" and any(own == "may" for own, _ in by_sibling.values()):
                continue
            named = [sibling for sibling, (own, _) in by_sibling.items() if own == outlook]
            if named:
                own, reasons = by_sibling[name]
                return outlook, reasons if own == outlook else (f"made together with {', '.join(named[:MAX_NAMED])}",)
        return "current", ()

    def _landed(self, partition: str | None) -> tuple[Outlook, tuple[str, ...]]:
        landing = self._landing.get(partition, "same") if partition is not None else "same"
        return ("current", ()) if landing == "same" else ("will", (f"{landing} delivery",))

    def _own_outlook(self, name: str, partition: str | None) -> tuple[Outlook, tuple[str, ...]]:
        """Of the asset by itself."""
        if self._scope is not None and not self._scope.reaches(name, partition):
            return "current", ()
        spec = self._pipeline.specs[name]
        commit = self._home.commit(name, partition)
        certain = list(self._faults(spec, partition, commit))
        if self._scope is not None and self._scope.makes_again(name, partition):
            certain.insert(0, "asked for")
        possible, missing = [], []
        for dependency in spec.deps:
            parent = name_of(dependency.asset_key)
            if parent in self._pipeline.siblings[name]:
                continue
            reads_all = partition is None or isinstance(dependency.partition_mapping, dg.AllPartitionMapping)
            ahead = [one for one in self._read(parent, partition, reads_all) if self.is_ahead(parent, one)]
            new = [one for one in ahead if one is not None and self._landing.get(one) == "new"]
            if parent not in self._pipeline.specs and ahead:
                certain.append(f"its delivery is {self._landing[str(ahead[0])]}")
            elif reads_all and new and commit is not None:
                certain.append(f"{parent} gets {_named(new)}")
            elif ahead:
                if commit is not None:
                    possible.append(f"{parent}{_of(ahead)}")
            else:
                version = self._home.input_version(parent, None if reads_all else partition)
                if not version:
                    missing.append(f"its input {parent} is missing or quarantined")
                elif commit is not None and commit.provenance.inputs.get(parent) != version:
                    certain.append(f"{parent} has changed since")
        if missing:
            return "blocked", tuple(missing)
        if certain:
            return "will", tuple(certain)
        return ("may", tuple(f"{one} is made again" for one in possible)) if possible else ("current", ())

    def _read(self, parent: str, partition: str | None, reads_all: bool) -> list[str | None]:
        """The partitions of an input that are read; [None] of one that has none."""
        spec = self._pipeline.specs.get(parent)
        if spec is not None and spec.partitions_def is None:
            return [None]
        return [*self.keys] if reads_all else [partition]

    def _faults(self, spec: dg.AssetSpec, partition: str | None, commit: Commit | None) -> Iterator[str]:
        """Why an asset has to be made whatever its inputs are."""
        name = name_of(spec.key)
        if commit is None:
            yield "new crawl partition" if self._landing.get(partition or "") == "new" else "missing"
            return
        if (reason := self._home.tables.quarantine_reason(name, partition)) is not None:
            yield f"quarantined: {reason}"
        file = spec.metadata.get(FILE_KEY)
        if file is not None and not (self._home.root / file).is_file():
            yield f"its file {file} is gone"
        yield from self._code_changes(spec, commit)
        gone = commit.provenance.inputs.keys() ^ {name_of(one.asset_key) for one in spec.deps}
        if gone:
            yield f"it reads other tables than when it was made: {', '.join(sorted(gone))}"

    def _code_changes(self, spec: dg.AssetSpec, commit: Commit) -> Iterator[str]:
        before, after = commit.provenance.code_version, str(spec.code_version)
        if after in {before, *commit.provenance.in_place_of}:
            return
        (code, _, digest), (code_now, _, digest_now) = before.partition("-"), after.partition("-")
        if code != code_now:
            yield f"its code is version {code_now}, it was made by {code}"
        if digest != digest_now:
            names = str(spec.metadata[SETTINGS_KEY]).split(", ") if digest_now else []
            values = self._pipeline.setting_values
            if names and digest and all(name in values for name in names):
                yield from changed_settings(self._home, values, names, digest)
            else:
                yield "it depends on other settings than when it was made"


def _named(partitions: list[str]) -> str:
    return ", ".join(partitions[:MAX_NAMED]) + (
        f" and {len(partitions) - MAX_NAMED} more" if len(partitions) > MAX_NAMED else ""
    )


def _of(partitions: list[str | None]) -> str:
    named = [one for one in partitions if one is not None]
    return f" of {_named(named)}" if named else ""
