"""What making an asset took so far: seconds from Dagster's records, bytes from the tables that lie there."""

from collections.abc import Mapping
from dataclasses import dataclass

from dagster import DagsterInstance

from nyx_assets.main_job import Pipeline
from nyx_assets.materialization import key_of, name_of
from resources.home import Home


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRuns:
    """Measures to foresee the next run by."""

    seconds_by_asset: Mapping[str, tuple[float, str | None]]
    """Of the step that made it last, shared out among what it made together, and the partition that it made."""
    bytes_by_place: Mapping[tuple[str, str | None], int]
    pages_by_key: Mapping[str, int]
    """Pages of each crawl partition, as it is delivered now."""

    def seconds(self, asset: str, partition: str | None) -> float | None:
        """What making it is likely to take, in proportion to its pages; None for what was never timed."""
        if asset not in self.seconds_by_asset:
            return None
        seconds, measured_on = self.seconds_by_asset[asset]
        if partition is None or measured_on is None or not self.pages_by_key.get(measured_on):
            return seconds
        return seconds * self.pages_by_key.get(partition, 0) / self.pages_by_key[measured_on]

    def num_bytes(self, asset: str, partition: str | None) -> float | None:
        """What it is likely to take on the disk, beside what lies there: a new table is whole before the old one goes."""
        if (asset, partition) in self.bytes_by_place:
            return self.bytes_by_place[asset, partition]
        others = [(key, size) for (name, key), size in self.bytes_by_place.items() if name == asset and key is not None]
        pages = sum(self.pages_by_key.get(key, 0) for key, _ in others)
        if partition is None or not pages:
            return None
        return sum(size for _, size in others) / pages * self.pages_by_key.get(partition, 0)


def past_runs(pipeline: Pipeline, home: Home, pages_by_key: Mapping[str, int]) -> PastRuns:
    """What is known in this home; nothing in a new one. Writes nothing."""
    return PastRuns(
        seconds_by_asset=_seconds(pipeline, home), bytes_by_place=_table_bytes(home), pages_by_key=pages_by_key
    )


def _seconds(pipeline: Pipeline, home: Home) -> dict[str, tuple[float, str | None]]:
    folder = home.root / "dagster"
    if not folder.is_dir():
        return {}
    found = {}
    with DagsterInstance.from_config(str(folder)) as instance:
        latest = instance.get_latest_materialization_events([key_of(name) for name in pipeline.specs])
        for key, entry in latest.items():
            event = entry.asset_materialization if entry is not None else None
            if event is not None and "seconds" in event.metadata:  # one that was only reported has none
                name = name_of(key)
                seconds = float(str(event.metadata["seconds"].value))
                found[name] = (seconds / len(pipeline.siblings[name]), event.partition)
    return found


def _table_bytes(home: Home) -> dict[tuple[str, str | None], int]:
    """Bytes of every table file, by asset and partition."""
    tables = home.tables
    found = {}
    for path, info in tables.fs.find(tables.base, detail=True).items():
        folder, _, file = path.removeprefix(tables.base).strip("/").rpartition("/")
        if file == "part-0.parquet":
            asset, _, partition = folder.partition("/crawl=")
            found[asset, partition or None] = int(info["size"])
    return found
