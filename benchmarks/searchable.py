"""From a delivery in the crawl folder to hits in the live index: python -m benchmarks.searchable.

A real `dagster dev` over a home with a promoted checkpoint and a live index; its daemon finds the delivery, and nobody
gives a command. The clock starts when the delivery is whole in the folder, and stops when the table of versions says that a
version of the index that holds all its chunks is live. Seconds of what lay in between are printed beside: Dagster's waiting
(its daemon looks at intervals, and every run is a process of its own) and our work.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.chromium import wait_for
from benchmarks.dagster_dev import Dagster, serving
from benchmarks.soak import made_home
from nyx_assets.registering import open_instance
from resources.home import Home
from sample_crawl import generate

KEY = "landing"
TARGET_SECONDS = 120.0
STEPS = ("landed_crawl", "crawl_documents", "chunked_corpus", "promoted/chunk_embeddings", "final_index")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=500, help="generated pages of the delivery")
    parser.add_argument("--delivery", type=Path, help="a folder with Parquet files of real pages, in place of those")
    parser.add_argument("--seconds", type=float, default=600.0, help="give up after so long")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nyx_searchable_") as scratch:
        json.dump(searchable(Path(scratch), options), sys.stdout, indent=1)
        print()


def searchable(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """What landed, and the seconds of each part of its way."""
    root, crawl = made_home(folder)
    home = Home.at(root)
    delivery = folder / KEY
    if options.delivery:
        shutil.copytree(options.delivery, delivery)
    else:
        generate(delivery, num_pages=options.pages, num_partitions=1)
    os.environ.update({"NYX_HOME": str(root), "NYX_RECIPE": "smoke", "NYX_CRAWL": str(crawl)})
    with serving(root, folder / "dagster.log") as dagster:
        _wait_for_a_tick(dagster, options.seconds)
        (delivery / "_SUCCESS").touch()
        delivery.rename(crawl / KEY)
        began = time.time()
        wait_for("the delivery in the live index", lambda: _is_live(home), seconds=options.seconds)
        seconds = time.time() - began
    with open_instance(home) as instance:
        made = {
            asset: record.asset_materialization and record.timestamp - began
            for asset in STEPS
            if (record := _last_event(instance, asset)) is not None
        }
        runs = [
            {
                "asked": round(run.create_timestamp.timestamp() - began, 1),
                "started": round((run.start_time or 0) - began, 1),
                "ended": round((run.end_time or 0) - began, 1),
            }
            for run in instance.get_run_records(ascending=True)
            if run.create_timestamp.timestamp() > began
        ]
    return {
        "pages": home.tables.num_rows("crawl_documents", KEY),
        "chunks": home.tables.num_rows("chunked_corpus", KEY),
        "seconds until searchable": round(seconds, 1),
        "target": TARGET_SECONDS,
        "made after seconds": {asset: round(after, 1) for asset, after in made.items()},
        "runs": runs,
        "seconds in runs": round(sum(max(0.0, run["ended"] - run["started"]) for run in runs), 1),
        "load": round(os.getloadavg()[0], 1),
    }


def _wait_for_a_tick(dagster: Dagster, seconds: float) -> None:
    """Until the daemon has looked into the folder once, so that its start is not in the time."""
    query = '{ sensorOrError(sensorSelector: {repositoryLocationName: "nyx", repositoryName: "__repository__", sensorName: "landings"}) { ... on Sensor { sensorState { ticks(limit: 1) { status } } } } }'

    def has_ticked() -> bool:
        found = dagster.query(query)["sensorOrError"]
        return bool(found and found["sensorState"]["ticks"])

    wait_for("a tick of the sensor", has_ticked, seconds=seconds)


def _is_live(home: Home) -> bool:
    """By the table of versions, which is written once the alias points to a new one."""
    return any(row["is_live"] and KEY in row["crawls"] for row in home.tables.read("final_index").to_pylist())


def _last_event(instance: Any, asset: str) -> Any:
    from nyx_assets.materialization import key_of

    return instance.get_latest_data_version_record(key_of(asset), partition_key=None if asset == "final_index" else KEY)


if __name__ == "__main__":
    main()
