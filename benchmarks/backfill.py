"""A backfill of many small partitions in one run: python -m benchmarks.backfill --partitions 1000.

One run makes documents and chunks of every partition, with a check result and a data version for each, as a backfill from
the UI does; Dagster's records are the real ones of a home. Our own work is what the asset functions took to make their
tables, and what the checks took; the share outside of it is Dagster's: its events, and its own bookkeeping.
"""

import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.report import argument_parser, machine
from benchmarks.soak import page
from nyx_assets.definitions import build_pipeline
from nyx_assets.materialization import key_of
from nyx_assets.registering import open_instance, register_deliveries
from resources.home import Home
from resources.settings import Settings

MADE = ("crawl_documents", "rejected_documents", "link_rot", "chunked_corpus")
FIRST_OF_STEP = ("crawl_documents", "chunked_corpus")
"""An asset of each function that makes them."""
NUM_CHECKS = 4
"""Of documents and of chunks, two each."""
WORDS = 366
"""As many as the median page of shared/data/interleaved has."""
TARGET = 0.20


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill:
    """Seconds of the wall."""

    partitions: int
    pages: int
    words_a_page: int
    seconds: float
    making_seconds: float
    checking_seconds: float
    share_outside: float
    target: float
    load: float
    machine: str


def backfill(folder: Path, *, num_partitions: int, pages_a_partition: int, words_a_page: int = WORDS) -> Backfill:
    crawl, home = folder / "crawl", Home.at(folder / "home")
    crawl.mkdir()
    for number in range(num_partitions):
        rows = [_page(number * pages_a_partition + place, words_a_page) for place in range(pages_a_partition)]
        pq.write_table(pa.Table.from_pylist(rows), crawl / f"c{number:05}.parquet")
    settings = Settings.from_env({"NYX_HOME": str(home.root), "NYX_RECIPE": "smoke"})
    with open_instance(home) as instance:
        register_deliveries(home, instance, crawl)
        keys = home.tables.partitions("landed_crawl")
        job = build_pipeline(settings, home).defs.resolve_implicit_global_asset_job_def()
        began = time.perf_counter()
        result = job.execute_in_process(
            instance=instance,
            asset_selection=[key_of(name) for name in MADE],
            tags={"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]},
        )
        seconds = time.perf_counter() - began
        assert result.success
        making = sum(
            event.materialization.metadata["seconds"].value
            for event in result.get_asset_materialization_events()
            if event.asset_key in map(key_of, FIRST_OF_STEP)
        )
        checked = [one for one in result.get_asset_check_evaluations() if one.partition is not None]
        assert len(checked) == NUM_CHECKS * num_partitions
        checking = sum(one.metadata["seconds"].value for one in checked)
    return Backfill(
        partitions=num_partitions,
        pages=num_partitions * pages_a_partition,
        words_a_page=words_a_page,
        seconds=round(seconds, 2),
        making_seconds=round(making, 2),
        checking_seconds=round(checking, 2),
        share_outside=round(1 - (making + checking) / seconds, 3),
        target=TARGET,
        load=round(os.getloadavg()[0], 1),
        machine=machine(),
    )


def _page(number: int, num_words: int) -> dict[str, Any]:
    """A page of paragraphs."""
    sentences = (page(number * 100 + place)["texts"][0] for place in count())
    text = " ".join(islice(chain.from_iterable(sentence.split() for sentence in sentences), num_words))
    return page(number) | {"texts": [text]}


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--partitions", type=int, default=1000)
    parser.add_argument("--pages", type=int, default=20, help="of each partition")
    parser.add_argument("--words", type=int, default=WORDS, help="of each page")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nyx_backfill_") as scratch:
        row = backfill(
            Path(scratch),
            num_partitions=options.partitions,
            pages_a_partition=options.pages,
            words_a_page=options.words,
        )
    if options.json:
        print(json.dumps(asdict(row)))
        return
    print(
        f"{row.partitions:,} partitions of {row.pages // row.partitions} pages of {row.words_a_page} words in one run: {row.seconds:.1f} s, of it "
        f"{row.making_seconds:.1f} s making and {row.checking_seconds:.1f} s checking; outside of our own work "
        f"{row.share_outside:.1%} (target {row.target:.0%}); load {row.load}, {row.machine}"
    )


if __name__ == "__main__":
    main()
