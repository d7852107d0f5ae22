"""Landings under random kills, to an end state that is exact: python -m benchmarks.soak --minutes 20 --landings 200.

Deliveries land one after another. Run after run brings what has landed to documents, chunks, questions, embeddings by the
promoted checkpoint and the live index, without training; the runs, and with --kill-couriers the processes that carry their
VLM calls, are killed with kill -9 at random moments. In the end one run is left in peace, and then: every page stands
exactly once in the tables and every chunk exactly once in the live index, nothing is quarantined or left half written, and
the server has answered no request twice, but for those that a killed courier had under way, which the journal names.

Prints one JSON object; exit status 1 if anything of this is not so.
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
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nyx_assets.index_versions import chunk_table, live_record
from resources.drafts import DRAFT_NAMES
from resources.home import Home
from resources.index_milvus import MilvusIndex
from resources.settings import Settings
from resources.vlm import STAND_IN_MODEL
from resources.vlm_folders import couriers_in
from resources.vlm_roles import budget_of, ledger_folder
from resources.vlm_server import OfflineService, serve_offline_vlm

ROOT = Path(__file__).resolve().parents[1]
MADE = ("crawl_documents", "chunked_corpus", "sampled_chunks", "raw_qa", "promoted/chunk_embeddings", "final_index")
"""With what their functions make together with them: the way of a landing to the index."""
PREFIX = "soak-"
PAGES_A_LANDING = 3
KILLED_SHARE = 0.6
"""Choice: enough runs end in peace that the work goes on on a slow machine."""


@dataclass(kw_only=True)
class Outcome:
    """What a soak saw."""

    landings: int = 0
    pages: int = 0
    runs: int = 0
    kills: dict[str, int] = field(default_factory=dict)
    failed_runs: list[str] = field(default_factory=list)
    """Last words of runs that ended by themselves and not well."""
    seconds: float = 0.0
    requests: int = 0
    answered_twice: int = 0
    interrupted: int = 0
    """Calls that a killed courier had under way."""
    faults: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="time over which the deliveries land")
    parser.add_argument("--landings", type=int, default=200)
    parser.add_argument("--kill-couriers", action="store_true", help="kill the processes of VLM calls as well")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="one run on this crawl folder (used from inside)")
    options = parser.parse_args()
    if options.work:
        sys.exit(work(options.work))
    with tempfile.TemporaryDirectory(prefix="nyx_soak_") as scratch:
        home, crawl = made_home(Path(scratch))
        outcome = soak(
            home,
            crawl,
            landings=options.landings,
            seconds=60 * options.minutes,
            kills=None,
            kill_couriers=options.kill_couriers,
            seed=options.seed,
        )
    json.dump(asdict(outcome), sys.stdout, indent=1)
    print()
    sys.exit(1 if outcome.faults else 0)


def made_home(folder: Path) -> tuple[Path, Path]:
    """A home with a promoted checkpoint and a live index, made of a small sample by `nyx run`; and its crawl folder."""
    from sample_crawl import generate

    crawl = generate(folder / "crawl", num_pages=18, num_partitions=2)
    env = os.environ | {"NYX_HOME": str(folder / "home"), "NYX_RECIPE": "smoke"}
    subprocess.run(
        [sys.executable, "-m", "nyx_assets", "run", "--crawl", str(crawl)],
        cwd=ROOT,
        env=env,
        check=True,
        stdout=sys.stderr,
    )
    return folder / "home", crawl


def work(crawl: Path) -> int:
    """One run from landing to index in this process; the exit status of `nyx run`."""
    from nyx_assets.definitions import build_pipeline
    from nyx_assets.main_job import run_main_job
    from nyx_assets.registering import open_instance, register_deliveries

    settings = Settings.from_env(os.environ)
    home = Home.at(settings.home)
    pipeline = build_pipeline(settings, home)
    wanted = {sibling for name in MADE for sibling in pipeline.siblings[name]}
    with open_instance(home) as instance:
        register_deliveries(home, instance, crawl)
        specs = {name: spec for name, spec in pipeline.specs.items() if name in wanted}
        report = run_main_job(replace(pipeline, specs=specs), instance, home)
    for failure in report.failures:
        print(failure, file=sys.stderr)
    return 1 if report.failures else 0


def soak(
    home: Path, crawl: Path, *, landings: int, seconds: float, kills: int | None, kill_couriers: bool, seed: int
) -> Outcome:
    """Land, run and kill; then look at what is there.

    Args:
        home: a home with a live index, made from the crawl folder.
        seconds: over which the deliveries land.
        kills: so many and no more; None for a share of all runs, for as long as deliveries land.
    """
    draw, outcome, began = random.Random(seed), Outcome(landings=landings), time.monotonic()
    victims = Counter[str]()
    with serve_offline_vlm(OfflineService(delay_seconds=0.05)) as service:
        env = environment(home, service)
        num_landed, typical_seconds = 0, 20.0
        while True:
            due = landings if seconds <= 0 else min(landings, 1 + int((time.monotonic() - began) / seconds * landings))
            for number in range(num_landed, due):
                land(crawl, number)
            num_landed = due
            is_drawn = draw.random() < KILLED_SHARE or not victims  # on a slow machine there are few runs
            wants_kill = is_drawn if kills is None else victims.total() < kills
            wants_kill = wants_kill and (kills is not None or num_landed < landings)
            outcome.runs += 1
            run_began = time.monotonic()
            with running(crawl, env) as process:
                victim = killed(process, home, draw, typical_seconds, kill_couriers) if wants_kill else ""
                said = process.communicate()[1]
            if victim:
                victims[victim] += 1
            what = f"{victim} killed" if victim else f"exit status {process.returncode}"
            seconds_taken = time.monotonic() - run_began
            print(f"run {outcome.runs}, {num_landed} landed: {what} after {seconds_taken:.1f} s", file=sys.stderr)
            if victim != "run" and process.returncode == 0:
                typical_seconds = time.monotonic() - run_began
                if num_landed == landings and not wants_kill:
                    break
            elif not victim:
                outcome.failed_runs.append(said.strip().splitlines()[-1][:300] if said.strip() else "no word")
                if len(outcome.failed_runs) > 3:
                    break
        outcome.requests = len(service.answers_by_digest)
        outcome.answered_twice = sum(count - 1 for count in service.answers_by_digest.values())
    outcome.kills, outcome.seconds = dict(victims), round(time.monotonic() - began, 1)
    outcome.pages = landings * PAGES_A_LANDING
    outcome.interrupted = len(budget_of(Settings.from_env(env), Home.at(home)).interrupted())
    outcome.faults = list(faults(Home.at(home), outcome))
    return outcome


def environment(home: Path, service: OfflineService) -> dict[str, str]:
    teacher = {"BASE_URL": service.base_url, "MODEL": STAND_IN_MODEL, "MAX_IN_FLIGHT": "2", "TIMEOUT_SECONDS": "10"}
    roles = {f"NYX_TEACHER_{name}": value for name, value in teacher.items()}
    return os.environ | {"NYX_HOME": str(home), "NYX_RECIPE": "smoke", "PYTHONPATH": str(ROOT)} | roles


@contextmanager
def running(crawl: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmarks.soak", "--work", str(crawl)]
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def killed(
    process: subprocess.Popen[str], home: Path, draw: random.Random, typical_seconds: float, kill_couriers: bool
) -> str:
    """Kill the run, or its courier, at a random moment; which of them, or "" if it had ended before."""
    try:
        process.wait(draw.uniform(0.1, 1.0) * typical_seconds)
    except subprocess.TimeoutExpired:
        couriers = list(courier_processes(home)) if kill_couriers and draw.random() < 0.5 else []
        os.kill(couriers[0] if couriers else process.pid, signal.SIGKILL)
        return "courier" if couriers else "run"
    return ""


def courier_processes(home: Path) -> Iterator[int]:
    """Processes that carry VLM calls of this home."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:  # ended meanwhile
            continue
        if "vlm_courier_process" in command and str(couriers_in(home / "vlm")) in command:
            yield int(entry.name)


def land(crawl: Path, number: int) -> None:
    """A delivery of pages that are like no others, put in place whole."""
    pages = [page(number * PAGES_A_LANDING + place) for place in range(PAGES_A_LANDING)]
    beside = crawl / f".{PREFIX}{number:05}.parquet"
    pq.write_table(pa.Table.from_pylist(pages), beside)
    beside.replace(crawl / f"{PREFIX}{number:05}.parquet")


def page(number: int) -> dict[str, Any]:
    draw = random.Random(number)
    words = " ".join(
        f"{draw.choice('bdfgklmnprst')}{draw.choice('aeiou')}{draw.choice('lmnrst')}{number}" for _ in range(9)
    )
    text = (
        f"The lighthouse number {number} stands on the cape of {words} and was built in {1000 + number}. Its keeper wrote "
        f"every storm into a book of {200 + number} leaves, and the lamp burned oil until {2000 + number}."
    )
    general = {"url": address(number), "title": f"Lighthouse {number}", "language": "en"}
    return {
        "texts": [text],
        "images": [None],
        "metadata": json.dumps([None]),
        "general_metadata": json.dumps(general),
    }


def address(number: int) -> str:
    return f"https://soak.example.org/{number}"


def faults(home: Home, outcome: Outcome) -> Iterator[str]:
    """What is not as it has to be."""
    if outcome.failed_runs:
        yield f"{len(outcome.failed_runs)} runs failed by themselves"
    urls = Counter(url for url in home.tables.read("crawl_documents", columns=["url"])["url"].to_pylist())
    for number in range(outcome.pages):
        if urls[address(number)] != 1:
            yield f"page {number} stands {urls[address(number)]} times in crawl_documents"
    rows = home.tables.query(
        "SELECT chunk.chunk_id, page.url FROM chunked_corpus AS chunk JOIN crawl_documents AS page USING (doc_id, crawl)"
    ).to_pylist()
    chunk_ids = {row["chunk_id"] for row in rows}
    without = {address(number) for number in range(outcome.pages)} - {row["url"] for row in rows}
    if without:
        yield f"{len(without)} pages have no chunk"
    with closing(MilvusIndex(str(home.root / "index" / "milvus.db"))) as index:
        record = live_record(home, index)
        listed = chunk_table(home, record.version, ["chunk_id"])["chunk_id"].to_pylist()
        held = index.fetch(record.version, listed)
        if not (sorted(listed) == sorted(chunk_ids) == sorted(held)) or index.count(record.version) != len(chunk_ids):
            yield (
                f"the tables hold {len(chunk_ids)} chunks, version {record.version} lists {len(listed)}, holds {len(held)} of "
                f"them and {index.count(record.version)} in all"
            )
    for asset in home.tables.assets():
        for partition in home.tables.all_partitions(asset):
            if (reason := home.tables.quarantine_reason(asset, partition)) is not None:
                yield f"{asset} {partition} is quarantined: {reason}"
    if left := [*(home.root / "tables").rglob(DRAFT_NAMES)]:
        yield f"{len(left)} drafts are left"
    if outcome.answered_twice > outcome.interrupted:
        yield f"{outcome.answered_twice} answers too many, {outcome.interrupted} calls were interrupted"
    asked = _entered(home)
    if len(entered := {digest for digests in asked.values() for digest in digests}) < outcome.requests:
        yield f"{outcome.requests} requests were paid, the ledger has {len(entered)}"
    if lost := asked["raw_qa"] - set(home.tables.read("raw_qa")["request_digest"].to_pylist()):
        yield f"{len(lost)} replies of the teacher are in no row"


def _entered(home: Home) -> dict[str, set[str]]:
    """Requests that the ledger has an answer of, paid or kept, by asset."""
    by_asset: dict[str, set[str]] = defaultdict(set)
    for file in ledger_folder(home).glob("*.jsonl"):
        for line in file.read_text(encoding="utf-8").splitlines():
            if (row := json.loads(line))["error"] is None:
                by_asset[row["asset"]].add(row["request_digest"])
    return by_asset


if __name__ == "__main__":
    main()
