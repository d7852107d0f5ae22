"""How long a person waits for an asset's page when many deliveries have landed: python -m benchmarks.ui_page.

Dagster's own webserver over the records of a home with 10,000 landed partitions, and a real Chromium. The clock starts when
the page is asked for, and stops when it says how many partitions are made and how many are missing. Pages are opened in
turns, each several times; beside it, the bytes of Dagster's records and the webserver's memory.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.chromium import Browser, end_group, free_port, is_free, missing_programs, opened_browser, wait_for
from benchmarks.report import argument_parser, machine
from benchmarks.soak import page
from nyx_assets.registering import open_instance, prepare_dagster_home, register_deliveries
from resources.home import Home

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 5
PAGES = {"landed_crawl": "Materialized ({landed})", "chunked_corpus": "Missing ({landed})"}
"""What a page says once it is whole, by asset: all are landed, and no chunk is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Seconds from asking for an asset's page to its numbers."""

    asset: str
    partitions: int
    median_seconds: float
    seconds: tuple[float, ...]
    first_seconds: float
    """The first time, with nothing in any cache."""
    webserver_mb: float
    records_mb: float
    load: float
    machine: str


def pages(folder: Path, *, landed: int, rounds: int) -> list[Page]:
    home, crawl = Home.at(folder / "home"), folder / "crawl"
    crawl.mkdir()
    rows = pa.Table.from_pylist([page(0)])
    for number in range(landed):
        pq.write_table(rows, crawl / f"c{number:05}.parquet")
    with open_instance(home) as instance:
        register_deliveries(home, instance, crawl)
    records = prepare_dagster_home(home)
    port = free_port()
    env = os.environ | {"NYX_HOME": str(home.root), "NYX_RECIPE": "smoke", "DAGSTER_HOME": str(records)}
    command = [str(Path(sys.executable).with_name("dagster-webserver")), "-w", "workspace.yaml", "-p", str(port)]
    server = subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        wait_for("the webserver", lambda: not is_free(port), seconds=120)
        with opened_browser(folder) as browser:
            seconds: dict[str, list[float]] = {asset: [] for asset in PAGES}
            for _ in range(rounds + 1):
                for asset, said in PAGES.items():
                    address = f"http://127.0.0.1:{port}/assets/{asset}?view=partitions"
                    seconds[asset].append(seconds_until(browser, address, said.format(landed=landed)))
        process = psutil.Process(server.pid)
        memory = sum(one.memory_info().rss for one in [process, *process.children(recursive=True)])
    finally:
        end_group(server)
    return [
        Page(
            asset=asset,
            partitions=landed,
            median_seconds=round(statistics.median(later), 2),
            seconds=tuple(round(one, 2) for one in later),
            first_seconds=round(first, 2),
            webserver_mb=round(memory / 2**20),
            records_mb=round(sum(file.stat().st_size for file in records.rglob("*.db")) / 2**20),
            load=round(os.getloadavg()[0], 1),
            machine=machine(),
        )
        for asset, (first, *later) in seconds.items()
    ]


def seconds_until(browser: Browser, address: str, said: str) -> float:
    browser.open("about:blank")
    began = time.perf_counter()
    browser.open(address)
    browser.wait("return document.body.innerText.includes(arguments[0])", said, seconds=300)
    return time.perf_counter() - began


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--partitions", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    if missing := missing_programs():
        sys.exit(f"{' and '.join(missing)} not found; on Debian: apt-get install chromium chromium-driver")
    with tempfile.TemporaryDirectory(prefix="nyx_ui_page_") as scratch:
        for row in pages(Path(scratch), landed=options.partitions, rounds=options.rounds):
            print(
                json.dumps(asdict(row))
                if options.json
                else f"{row.asset}, {row.partitions:,} partitions: {row.median_seconds} s ({min(row.seconds)} to "
                f"{max(row.seconds)}), the first time {row.first_seconds} s; webserver {row.webserver_mb} MiB, records "
                f"{row.records_mb} MiB; load {row.load}, {row.machine}"
            )


if __name__ == "__main__":
    main()
