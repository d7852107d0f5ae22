"""A tick of the landings sensor over a crawl folder of thousands of deliveries that landed before.

    python -m benchmarks.landings [--deliveries 10000] [--json]

`ours` is processor time of one tick in which nothing is new, in seconds; `peer` is what a plain walk over the same files
(os.scandir and a stat of each) takes, which no look into the folder can do without. A tick with one new delivery, and the
cursor's size, stand beside. Rounds of both alternate in one process.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
from dagster import DagsterInstance

from nyx_assets.corpus.deliveries import find_deliveries
from nyx_assets.main_job import Pipeline
from resources.home import Home
from resources.settings import Settings
from sensors.landings import landings_sensor, remember

ROUNDS = 5
ROW = {"images": [None], "texts": ["A page."], "metadata": "[null]", "general_metadata": "{}"}
OBELICS = pa.schema(
    [
        ("images", pa.list_(pa.string())),
        ("texts", pa.list_(pa.string())),
        ("metadata", pa.string()),
        ("general_metadata", pa.string()),
    ]
)


def deliver(crawl: Path, number: int) -> None:
    """A marked delivery of one page, in a folder of its own."""
    folder = crawl / f"crawl-{number:06d}"
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([ROW], schema=OBELICS), folder / "part-0.parquet")
    (folder / "_SUCCESS").touch()


def processor_seconds(work: Callable[[], Any]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def walk(crawl: Path) -> int:
    """Bytes of all files, by the operating system's own listing."""
    num_bytes = 0
    for folder in Path(crawl).iterdir():
        num_bytes += sum(file.stat().st_size for file in folder.iterdir())
    return num_bytes


def measure(num_deliveries: int) -> dict[str, Any]:
    """The figures of this run."""
    with tempfile.TemporaryDirectory() as scratch, DagsterInstance.ephemeral() as instance:
        crawl, home = Path(scratch) / "crawl", Home.at(Path(scratch) / "home")
        for number in range(num_deliveries):
            deliver(crawl, number)
        pipeline = Pipeline(defs=dg.Definitions(), specs={}, resources={}, siblings={})
        sensor = landings_sensor(home, Settings.from_env({"NYX_CRAWL": str(crawl)}), lambda: pipeline)
        # as the ticks left it that took them all: what a landing itself costs is no part of this
        landed = {one.key: one.fingerprint for one in find_deliveries(crawl).deliveries}
        remember(instance, landed)
        instance.add_dynamic_partitions("crawl", [*landed])
        cursor = json.dumps({"seen": {}, "landed": {}})

        def tick() -> Any:
            with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
                return sensor.evaluate_tick(context)

        assert (tick().skip_message or "").startswith(f"{num_deliveries} deliveries landed before")
        ours, peer = [], []
        for _ in range(ROUNDS):
            ours.append(processor_seconds(tick))
            peer.append(processor_seconds(lambda: walk(crawl)))
        deliver(crawl, num_deliveries)
        begun = time.process_time()
        of_one = tick()
        one_new = time.process_time() - begun
        assert len(of_one.asset_events) == 1
    ratios = [one / other for one, other in zip(ours, peer, strict=True)]
    return {
        "name": "landings",
        "ours": round(statistics.median(ours), 3),
        "peer": round(statistics.median(peer), 3),
        "ratio": round(statistics.median(ratios), 2),
        "spread": [round(min(ratios), 2), round(max(ratios), 2)],
        "unit": "processor seconds a tick; the peer is a bare walk over the files",
        "machine": platform.platform(),
        "deliveries": num_deliveries,
        "with_one_new": round(one_new, 3),
        "cursor_bytes": len(of_one.cursor or ""),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--deliveries", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = measure(arguments.deliveries)
    if arguments.json:
        print(json.dumps(figures))
        return
    print("\n".join(f"{name}: {value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
