"""Ticks of the sensors refresh and retraining over thousands of partitions that are current: python -m benchmarks.refresh [--json].

The daemon evaluates with it, for every asset that a landing brings about and every partition, whether something is to be
made. The records are those of a home in which everything is made; a tick in which nothing happens, and the two after one
partition has landed anew. Peer: the same conditions over a tenth of the partitions, so the ratio says how a tick grows.
Retraining reads the tables instead: what of their commits is not that of the last training (change_since_training).
"""

import json
import tempfile
import time
from dataclasses import asdict
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import dagster as dg
import pyarrow as pa
from dagster import DagsterInstance

from benchmarks.report import argument_parser, comparison_of, print_comparison
from nyx_assets.automation import REFRESH
from nyx_assets.definitions import build_pipeline
from nyx_assets.materialization import DATA_VERSION_TAG, key_of
from nyx_assets.partitions import CRAWL
from nyx_assets.quarantine import LANDED
from nyx_assets.quick_records import write_records_quickly
from nyx_assets.records import QUALITY_GATE, TRAINING_MANIFEST
from nyx_assets.registering import open_instance
from nyx_assets.retraining import (
    CHUNKS,
    DRAFTS,
    FINETUNED,
    GATE,
    MANIFEST,
    PAGES,
    PAIRS,
    PRETRAINED,
    change_since_training,
)
from resources.artifacts import MANIFEST as COMPLETE
from resources.home import Home
from resources.settings import Settings
from resources.tables import Commit, Provenance

PARTITIONS = 10_000
ROUNDS = 5


def report(instance: DagsterInstance, asset: str, partition: str | None, version: str) -> None:
    instance.report_runless_asset_event(
        dg.AssetMaterialization(key_of(asset), partition=partition, tags={DATA_VERSION_TAG: version})
    )


class Resting:
    """The records of a home in which `num_partitions` landed and everything was made of them."""

    def __init__(self, folder: Path, num_partitions: int) -> None:
        home = Home.at(folder)
        settings = Settings.from_env({"NYX_HOME": str(folder), "NYX_RECIPE": "smoke"})
        self._opened = open_instance(home)
        self.instance = self._opened.__enter__()
        self.defs = build_pipeline(settings, home).defs
        graph = self.defs.resolve_asset_graph()
        keys = [f"c{number:05}" for number in range(num_partitions)]
        self.instance.add_dynamic_partitions(str(CRAWL.name), keys)
        made = [LANDED, *sorted(REFRESH, key=lambda name: graph.toposorted_asset_keys.index(key_of(name)))]
        for asset in ["promoted_checkpoint", *made]:
            for partition in keys if graph.get(key_of(asset)).is_partitioned else [None]:
                report(self.instance, asset, partition, "1")
        self.cursor: Any = None

    def tick(self) -> tuple[float, int]:
        """Seconds, and how many partitions are to be made."""
        began = time.perf_counter()
        # the daemon reads the keys once a tick, Dagster's tester hundreds of times
        with mock.patch.object(self.instance, "get_dynamic_partitions", cache(self.instance.get_dynamic_partitions)):
            result = dg.evaluate_automation_conditions(self.defs, self.instance, cursor=self.cursor)
        self.cursor = result.cursor
        return time.perf_counter() - began, result.total_requested

    def close(self) -> None:
        self._opened.__exit__(None, None, None)


NUMBERS = pa.schema([("x", pa.int64())])


def trained_home(folder: Path, num_partitions: int) -> Home:
    """A home in which `num_partitions` of one row were trained on, and nothing has changed since."""
    home = Home.at(folder)
    listed = []
    for number in range(num_partitions):
        crawl, inputs = f"c{number:05}", {}
        for asset in (PAGES, CHUNKS, DRAFTS, PAIRS):
            provenance = Provenance(code_version="1", inputs=inputs)
            with home.tables.write(asset, NUMBERS, partition=crawl, provenance=provenance) as table:
                table.append([{"x": number}])
            commit = home.tables.commit(asset, crawl)
            assert commit is not None
            inputs = {asset: commit.data_version}
            if asset in (CHUNKS, PAIRS):
                listed.append({"input": asset, "crawl": crawl, "num_rows": 1, "data_version": commit.data_version})
    with home.tables.write(
        MANIFEST, TRAINING_MANIFEST, partition=None, provenance=Provenance(code_version="1")
    ) as table:
        table.append(listed)
    manifest = home.tables.commit(MANIFEST, None)
    assert manifest is not None
    made_from = {MANIFEST: manifest.data_version}
    for asset in (PRETRAINED, FINETUNED):
        folder = home.artifacts.folder(asset, asset)
        folder.mkdir(parents=True)
        (folder / COMPLETE).write_text("{}")
        provenance = Provenance(code_version="1", inputs=made_from)
        home.artifacts.publish(
            asset, folder, Commit(data_version=asset, num_rows=1, provenance=provenance, written_at="")
        )
        made_from = made_from | {asset: asset}
    with home.tables.write(GATE, QUALITY_GATE, partition=None, provenance=Provenance(code_version="1")) as table:
        table.append([dict.fromkeys(QUALITY_GATE.names) | {"candidate": FINETUNED, "decided_by": "gate"}])
    return home


def seconds_of_retraining(home: Home) -> float:
    """Of one look of the sensor, which finds nothing new."""
    began = time.perf_counter()
    change = change_since_training(home)
    seconds = time.perf_counter() - began
    assert change.crawls == ()
    return seconds


def main() -> None:
    parser = argument_parser(__doc__.splitlines()[0])
    parser.add_argument("--partitions", type=int, default=PARTITIONS)
    options = parser.parse_args()
    write_records_quickly()
    with tempfile.TemporaryDirectory(prefix="nyx_refresh_") as scratch:
        many = Resting(Path(scratch) / "many", options.partitions)
        few = Resting(Path(scratch) / "few", options.partitions // 10)
        first = [home.tick()[0] for home in (many, few)]
        for home in (many, few):
            home.tick()  # what the first one asked for is taken as told
        rounds = [(many.tick()[0], few.tick()[0]) for _ in range(ROUNDS)]
        report(many.instance, LANDED, "c00000", "2")
        after = [many.tick(), many.tick()]
        many.close()
        few.close()
        trained = trained_home(Path(scratch) / "trained", options.partitions)
        retraining = [seconds_of_retraining(trained) for _ in range(ROUNDS)]
    comparison = comparison_of(
        f"refresh, an idle tick over {options.partitions:,} partitions against {options.partitions // 10:,}",
        rounds,
        unit="seconds, less is better",
    )
    if options.json:
        print(json.dumps(asdict(comparison) | {"first": first, "after one landed": after, "retraining": retraining}))
        return
    print_comparison(comparison, as_json=False)
    print(
        f"the first tick {first[0]:.2f} s; after one partition has landed anew: "
        + ", ".join(f"{seconds:.2f} s, {asked} to be made" for seconds, asked in after)
    )
    print(f"a look of the sensor retraining: {median(retraining):.2f} s")


if __name__ == "__main__":
    main()
