"""The whole factory against a server with faults, killed, and capped, to the same tables: python -m benchmarks.factory.

Three homes are made from one crawl up to `filtered_qa`, each with a loopback server of its own: one in peace, one whose
runs are killed with kill -9 at random moments, and one that is stopped by a cap of half the calls and then goes on. Tables
must be equal row for row, and no request may be answered twice: what a kill caught on its way, the courier finishes.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.vlm import server
from resources.home import Home
from resources.settings import ROLES, Settings
from resources.vlm import STAND_IN_MODEL
from resources.vlm_budget import Budget
from resources.vlm_folders import couriers_in
from resources.vlm_roles import budget_of

ROOT = Path(__file__).resolve().parents[1]
REAL_PAGES = ROOT.parent / "shared" / "data" / "interleaved"
INVARIANTS = ROOT.parent / "shared" / "checks" / "corpus_invariants.py"
FAULTS = "429=0.005,500=0.01,503=0.005,slow=0.002,cut=0.01,not_json=0.01"
"""Choice: each of some hundred times in 70,000 calls, and the pauses after them take a fifth of the time."""
FINAL_TABLES = ("raw_qa", "filtered_qa", "rejected_qa", "qa_funnel")
UNTIL = "filtered_qa"
STOPPED_BY_CAP = 3
MAX_IN_FLIGHT = 16
TIMEOUT_SECONDS, SLOW_SECONDS = 3, 4
LATEST_KILL_SECONDS = 3.0
"""After the first call of a run: a partition of the real pages takes the teacher a few seconds."""

FUNNEL = """
    SELECT step, "check", sum(num_in) AS num_in, sum(num_out) AS num_out, sum(num_rejected) AS num_rejected,
        sum(num_calls) AS calls, sum(cost_usd) AS usd
    FROM qa_funnel GROUP BY ALL ORDER BY step
"""
ADDS_UP = """
    SELECT
        (SELECT count(*) FROM raw_qa) AS drafts,
        (SELECT count(*) FROM filtered_qa) AS kept,
        (SELECT count(*) FROM rejected_qa) AS rejected,
        (SELECT count(*) FROM qa_funnel WHERE num_in <> num_out + num_rejected AND unit = 'pair') AS steps_that_do_not_add_up
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crawl", type=Path, default=REAL_PAGES, help="crawl folder; default: the shared real pages")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--delay", type=float, default=0.05, help="seconds that the server takes for an answer")
    parser.add_argument("--peace-only", action="store_true", help="neither kill nor cap")
    parser.add_argument(
        "--keep", type=Path, help="new folder to make the homes in and leave there; default: a passing one"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument(
        "--run", action="store_true", help="make the home of NYX_HOME in this process (used from inside)"
    )
    options = parser.parse_args()
    if options.run:
        sys.exit(make(options.crawl))
    with kept_or_temporary(options.keep) as folder:
        peace = in_peace(folder / "peace", options)
        results = [peace.result]
        if not options.peace_only:
            results.append(killed(folder / "killed", options, peace))
            results.append(capped(folder / "capped", options, peace))
    print(json.dumps(results, indent=1))


@contextmanager
def kept_or_temporary(folder: Path | None) -> Iterator[Path]:
    """The folder, made; or one that goes when the block ends."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="nyx-factory-") as passing:
            yield Path(passing)
    else:
        folder.mkdir(parents=True)
        yield folder


def make(crawl: Path, *, until: str = UNTIL) -> int:
    """Everything that an asset is made from, and itself, as `nyx run` makes it; the exit status of `nyx run`."""
    from nyx_assets.definitions import build_pipeline
    from nyx_assets.main_job import run_main_job
    from nyx_assets.materialization import name_of
    from nyx_assets.registering import open_instance, register_deliveries

    settings = Settings.from_env(os.environ)
    home = Home.at(settings.home)
    home.claim(crawl)
    pipeline = build_pipeline(settings, home)
    wanted = set(pipeline.siblings[until])
    for name in reversed(list(pipeline.specs)):  # inputs stand before what reads them
        if name in wanted:
            parents = {name_of(one.asset_key) for one in pipeline.specs[name].deps} & pipeline.specs.keys()
            wanted |= {sibling for parent in parents for sibling in pipeline.siblings[parent]}
    with open_instance(home) as instance:
        register_deliveries(home, instance, crawl)
        specs = {name: spec for name, spec in pipeline.specs.items() if name in wanted}
        report = run_main_job(replace(pipeline, specs=specs), instance, home)
    for failure in report.failures:
        print(failure, file=sys.stderr)
    return STOPPED_BY_CAP if report.stopped_by_cap else 1 if report.failures else 0


@dataclass(frozen=True)
class Factory:
    """A home, its crawl and its server."""

    home: Path
    crawl: Path
    base_url: str

    def environment(self, **more: str) -> dict[str, str]:
        roles = {
            f"NYX_{role.upper()}_{name}": value
            for role in ROLES
            for name, value in (
                ("BASE_URL", self.base_url),
                ("MODEL", STAND_IN_MODEL),
                ("MAX_IN_FLIGHT", str(MAX_IN_FLIGHT)),
                ("TIMEOUT_SECONDS", str(TIMEOUT_SECONDS)),
                ("USD_PER_MILLION_INPUT", "1"),
                ("USD_PER_MILLION_OUTPUT", "2"),
            )
        }
        return {**os.environ, **roles, "NYX_HOME": str(self.home), **more}

    def start(self, **more: str) -> "subprocess.Popen[bytes]":
        """A run in a process group of its own."""
        command = [sys.executable, "-m", "benchmarks.factory", "--run", "--crawl", str(self.crawl)]
        return subprocess.Popen(command, cwd=ROOT, env=self.environment(**more), start_new_session=True)

    def finish(self, **more: str) -> int:
        return self.start(**more).wait()

    def budget(self) -> Budget:
        return budget_of(Settings.from_env(self.environment()), Home.at(self.home))

    def counts(self) -> dict[str, dict[str, int]]:
        with urllib.request.urlopen(f"{self.base_url.removesuffix('/v1')}/counts") as answer:
            return json.load(answer)

    def versions(self) -> dict[str, str]:
        """Content version of every final table by name and partition."""
        tables = Home.at(self.home).tables
        return {
            f"{name}/{partition}": commit.data_version
            for name in FINAL_TABLES
            for partition in tables.partitions(name)
            if (commit := tables.commit(name, partition)) is not None
        }


@dataclass(frozen=True)
class Peace:
    """What the uninterrupted run came to."""

    result: dict[str, Any]
    versions: dict[str, str]
    """Content version of every final table."""


@contextmanager
def factory_in(folder: Path, options: argparse.Namespace) -> Iterator[Factory]:
    """A new home with a server of its own that answers, and fails, as every other."""
    folder.mkdir()
    with server(options.delay, MAX_IN_FLIGHT, "--faults", FAULTS, "--slow", str(SLOW_SECONDS)) as base_url:
        yield Factory(folder / "home", options.crawl.absolute(), base_url)


def in_peace(folder: Path, options: argparse.Namespace) -> Peace:
    """An uninterrupted run; its tables are what the others must come to."""
    with factory_in(folder, options) as factory:
        begun = time.monotonic()
        status = factory.finish()
        tables = Home.at(factory.home).tables
        print(tables.query(FUNNEL).to_pandas().to_string(index=False), file=sys.stderr, flush=True)
        (adds_up,) = tables.query(ADDS_UP).to_pylist()
        result = {
            "scene": "in peace",
            "exit": status,
            "seconds": round(time.monotonic() - begun),
            **answers(factory),
            **adds_up,
        }
        if INVARIANTS.is_file():
            command = [sys.executable, str(INVARIANTS), str(factory.crawl), str(factory.home)]
            said = subprocess.run(command, capture_output=True, text=True)
            result["broken_invariants"] = [line for line in said.stdout.splitlines() if "BROKEN" in line]
            result["invariants_exit"] = said.returncode
        return Peace(result, factory.versions())


def killed(folder: Path, options: argparse.Namespace, peace: Peace) -> dict[str, Any]:
    """Runs that end by kill -9 while calls are under way, and one that finishes."""
    draw = random.Random(options.seed)
    with factory_in(folder, options) as factory:
        kills, caught = 0, []
        for _ in range(options.kills):
            before = sum(factory.counts()["attempts"].values())
            run = factory.start()
            while run.poll() is None and sum(factory.counts()["attempts"].values()) == before:
                time.sleep(0.05)
            time.sleep(draw.uniform(0.0, LATEST_KILL_SECONDS))
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
                kills += 1
                caught.append(len(factory.budget().open_calls()))
            run.wait()
        status = factory.finish()
        return {
            "scene": "killed",
            "exit": status,
            "kills": kills,
            **answers(factory),
            "caught_under_way": caught,
            "interrupted": len(factory.budget().interrupted()),
            "couriers_left": len(list(couriers_in(factory.home / "vlm").iterdir())),
            "same_tables": factory.versions() == peace.versions,
        }


def capped(folder: Path, options: argparse.Namespace, peace: Peace) -> dict[str, Any]:
    """A run that a cap of half the calls stops, and one that finishes under the raised cap."""
    calls = peace.result["distinct"]
    with factory_in(folder, options) as factory:
        stopped = factory.finish(NYX_MAX_CALLS=str(calls // 2))
        paid_at_the_cap = answers(factory)["paid"]
        status = factory.finish(NYX_MAX_CALLS=str(2 * calls))
        return {
            "scene": "capped",
            "cap": calls // 2,
            "exit_at_the_cap": stopped,
            "paid_at_the_cap": paid_at_the_cap,
            "exit": status,
            **answers(factory),
            "same_tables": factory.versions() == peace.versions,
        }


def answers(factory: Factory) -> dict[str, Any]:
    """What the server was asked, and what it would bill."""
    counts = factory.counts()
    paid = counts["answers"]
    return {
        "distinct": len(paid),
        "paid": sum(paid.values()),
        "paid_twice": sum(number > 1 for number in paid.values()),
        "abandoned": sum(counts["abandoned"].values()),
        "faults": counts["faults"],
    }


if __name__ == "__main__":
    main()
