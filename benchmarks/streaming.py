"""Memory and speed of the corpus stage at 10,000 and 100,000 pages: python -m benchmarks.streaming [--json].

One partition of generated pages is taken, cut, signed and clustered, each step with its checks, as `nyx run` does it: by
the main job, in a new process for each number of pages. Printed are pages a second of documents and chunks at the
greatest number of pages (ours) against the least (peer), over the wall and over the processor's own time, and the peak
memory against the 2 GB that are allowed.

A generated crawl of any size shows the same pictures, and each is verified once: with the imports and the tokenizer that
is a price of the start. So rates are told twice: of all pages, and of those after the first START_PAGES alone.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.report import argument_parser, comparison_of, print_comparison

ROOT = Path(__file__).resolve().parents[1]
STAGES = {
    "documents": ("crawl_documents", "rejected_documents", "link_rot"),
    "chunks": ("chunked_corpus",),
    "signatures": ("page_signatures", "picture_signatures", "chunk_signatures"),
    "clusters": ("near_duplicates", "page_clusters", "page_furniture"),
}
"""What is made together and timed as one, checks included; each is made from those before it."""
STREAMED = ("documents", "chunks")
"""The stages of which the rate is compared."""
ALLOWED_BYTES = 2e9
START_PAGES = 3_000
"""Choice: by then a generated crawl has shown all its pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What one stage took; peak memory is that of the process from its start."""

    num_rows: int
    wall_seconds: float
    processor_seconds: float
    seconds_by_step: dict[str, float]
    """Of the function that makes the assets, and of each check."""
    peak_bytes: int


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--pages", type=int, nargs="+", default=[10_000, 100_000], help="least number first")
    parser.add_argument("--rounds", type=int, default=1, help="each in a new home, the numbers of pages in turns")
    parser.add_argument("--keep", type=Path, help="folder to keep the generated crawls in, for another time")
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--crawl", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.home is not None:
        print(json.dumps({name: asdict(stage) for name, stage in measured(options.home, options.crawl).items()}))
        return
    with tempfile.TemporaryDirectory(prefix="nyx-streaming-") as scratch:
        crawls = options.keep or Path(scratch) / "crawls"
        rounds = [
            {
                pages: in_new_process(Path(scratch) / f"{turn}-{pages}", crawl_of(crawls, pages))
                for pages in sorted({START_PAGES, *options.pages})
            }
            for turn in range(options.rounds)
        ]
    for results in rounds:
        for pages, stages in results.items():
            say(pages, stages)
    least, greatest = min(options.pages), max(options.pages)
    for clock in ("wall_seconds", "processor_seconds"):
        for what, first in (("all pages", 0), (f"pages after the first {START_PAGES:,}", START_PAGES)):
            rates = [(rate(one, greatest, first, clock), rate(one, least, first, clock)) for one in rounds]
            name = f"streaming {greatest:,} against {least:,}, {what}, {clock.removesuffix('_seconds')} time"
            print_comparison(comparison_of(name, rates, unit="pages/s"), as_json=options.json)
    peaks = [(max(stage.peak_bytes for stage in one[greatest].values()) / 1e9, ALLOWED_BYTES / 1e9) for one in rounds]
    print_comparison(
        comparison_of(f"peak memory at {greatest:,} pages against what is allowed", peaks, unit="GB"),
        as_json=options.json,
    )


def crawl_of(folder: Path, num_pages: int) -> Path:
    """A generated crawl of one partition."""
    crawl = folder / f"{num_pages}-pages"
    command = [sys.executable, "-m", "sample_crawl", str(crawl), "--pages", str(num_pages), "--partitions", "1"]
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
    return crawl


def in_new_process(home: Path, crawl: Path) -> dict[str, Stage]:
    """The stages of a crawl, made in a new home by a process of its own."""
    command = [sys.executable, "-m", "benchmarks.streaming", "--home", str(home), "--crawl", str(crawl)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return {name: Stage(**stage) for name, stage in json.loads(done.stdout.splitlines()[-1]).items()}


def measured(home_folder: Path, crawl: Path) -> dict[str, Stage]:
    """Make the corpus stage of a crawl in this process. Raises RuntimeError if anything of it fails."""
    from nyx_assets.definitions import build_pipeline
    from nyx_assets.main_job import run_main_job
    from nyx_assets.registering import open_instance, register_deliveries
    from resources.home import Home
    from resources.settings import Settings

    settings = Settings.from_env({**os.environ, "NYX_HOME": str(home_folder)})
    home = Home.at(settings.home)
    pipeline = build_pipeline(settings, home)
    stages = {}
    with open_instance(home) as instance:
        if refused := register_deliveries(home, instance, crawl):
            raise RuntimeError(f"{crawl} was refused: {refused[0].reason}")
        for name, assets in STAGES.items():
            known_runs = {run.run_id for run in instance.get_runs()}
            wall, processor = time.perf_counter(), time.process_time()
            specs = {asset: pipeline.specs[asset] for asset in assets}
            report = run_main_job(replace(pipeline, specs=specs), instance, home)
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
            if report.failures:
                raise RuntimeError("; ".join(report.failures))
            steps = [
                step
                for run in instance.get_runs()
                if run.run_id not in known_runs
                for step in instance.get_run_step_stats(run.run_id)
            ]
            stages[name] = Stage(
                num_rows=sum(asset.num_rows for asset in report.by_asset.values()),
                wall_seconds=round(wall, 2),
                processor_seconds=round(processor, 2),
                seconds_by_step={
                    step.step_key: round(step.end_time - step.start_time, 2)
                    for step in steps
                    if step.start_time is not None and step.end_time is not None
                },
                peak_bytes=peak_bytes(),
            )
    return stages


def peak_bytes() -> int:
    """The most memory that this process ever held (resident set)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def rate(results: dict[int, dict[str, Stage]], num_pages: int, first: int, clock: str) -> float:
    """Pages a second through the streamed stages together, of the pages after the first ones."""

    def seconds(pages: int) -> float:
        return sum(getattr(results[pages][name], clock) for name in STREAMED) if pages else 0.0

    return (num_pages - first) / (seconds(num_pages) - seconds(first))


def say(num_pages: int, stages: dict[str, Stage]) -> None:
    """The stages of one process, for a person."""
    for name, stage in stages.items():
        steps: dict[str, Any] = dict(sorted(stage.seconds_by_step.items(), key=lambda step: -step[1]))
        print(
            f"{num_pages:,} pages, {name}: {stage.num_rows:,} rows, {stage.wall_seconds:.1f} s "
            f"({num_pages / stage.wall_seconds:,.0f} pages/s), {stage.processor_seconds:.1f} s of processor, peak so far "
            f"{stage.peak_bytes / 1e9:.2f} GB; {', '.join(f'{step} {seconds:.1f} s' for step, seconds in steps.items())}",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
