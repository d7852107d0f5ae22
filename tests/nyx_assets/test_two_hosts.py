"""Two hosts work on one home in an S3 store at the same time: nothing is lost, nothing twice, nobody in the other's way.

Run as a program (`python test_two_hosts.py STORE LOCAL`), it is the main job of one host; with a PARTITION behind, it is
a run of `doubled` alone.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
from dagster import DagsterInstance, DagsterRunStatus

from nyx_assets import recovery
from nyx_assets.catalog.assets import catalog_over
from nyx_assets.main_job import Pipeline, run_main_job
from nyx_assets.materialization import Step, key_of, name_of
from nyx_assets.partitions import CRAWL, EVERY_CRAWL
from nyx_assets.recovery import bury_dead_runs, bury_killed_runs
from nyx_assets.registering import open_instance
from resources.home import Home
from resources.leases import Leases
from resources.stores import SharedHome
from resources.tables import Provenance

NUMBERS = pa.schema([("x", pa.int64())])
PARTITIONS = tuple("abcd")
PATIENCE_SECONDS = 400


LEASE_SECONDS = 5.0
"""Shorter than in use, so that a test need not wait for a minute; longer than a renewal takes on a busy machine."""


def host(store: str, local: Path) -> Home:
    home = Home.at(SharedHome(store=store, local=local, has_index_server=False))
    return replace(home, leases=Leases(f"{store}/leases", seconds=LEASE_SECONDS))


def slow_pipeline(home: Home) -> Pipeline:
    """landed* -> doubled* -> total, catalog; every execution leaves a line beside the home of its host."""

    def note(step: Step, what: str) -> None:
        with (step.home.root / "executions.txt").open("a") as file:
            file.write(f"{what} {step.partition}\n")

    @dg.asset(deps=["landed"], partitions_def=CRAWL, code_version="1")
    def doubled(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> Iterator[dg.MaterializeResult]:
        step = Step(context, home)
        with step.tables({"doubled": NUMBERS}) as tables:
            note(step, "doubled")
            time.sleep(float(os.environ.get("TOY_SLEEP_SECONDS", "0")))
            rows = home.tables.read("landed", partition=step.partition)["x"].to_pylist()
            tables["doubled"].append({"x": 2 * x} for x in rows)
        yield from step.results("doubled")

    @dg.asset(deps=[dg.AssetDep("doubled", partition_mapping=EVERY_CRAWL)], code_version="1")
    def total(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> Iterator[dg.MaterializeResult]:
        step = Step(context, home)
        with step.tables({"total": NUMBERS}) as tables:
            note(step, "total")
            tables["total"].append([{"x": sum(home.tables.read("doubled")["x"].to_pylist())}])
        yield from step.results("total")

    assets = [doubled, total]
    assets.append(catalog_over(spec for asset in assets for spec in asset.specs))
    specs = {name_of(spec.key): spec for asset in assets for spec in asset.specs}
    return Pipeline(
        defs=dg.Definitions(
            assets=[dg.AssetSpec("landed", partitions_def=CRAWL), *assets],
            resources={"home": home},
            executor=dg.in_process_executor,
        ),
        specs=specs,
        resources={},
        siblings={name: (name,) for name in specs},
    )


def run(home: Home) -> dict[str, dict[str, int]]:
    """What the main job of this host made and found made."""
    with open_instance(home) as instance:
        instance.add_dynamic_partitions(str(CRAWL.name), list(PARTITIONS))
        (home.root / "ready").touch()
        while (other := os.environ.get("TOY_WAITS_FOR")) and not Path(other, "ready").exists():
            time.sleep(0.05)
        report = run_main_job(slow_pipeline(home), instance, home)
    assert report.failures == []
    return {name: {"made": one.made, "reused": one.reused} for name, one in report.by_asset.items()}


@pytest.fixture
def landed(bucket: str, tmp_path: Path) -> str:
    home = host(bucket, tmp_path / "lander")
    for number, partition in enumerate(PARTITIONS):
        with home.tables.write(
            "landed", NUMBERS, partition=partition, provenance=Provenance(code_version="1")
        ) as table:
            table.append({"x": 10 * number + digit} for digit in range(3))
    return bucket


def start(*arguments: object, **env: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, __file__, *map(str, arguments)],
        env={**os.environ, **env, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def executions(local: Path) -> list[str]:
    place = local / "executions.txt"
    return place.read_text().splitlines() if place.exists() else []


def test_two_hosts_share_the_partitions_of_one_home_and_make_each_thing_once(landed: str, tmp_path: Path) -> None:
    locals_ = [tmp_path / "one", tmp_path / "other"]
    jobs = [
        start(landed, local, TOY_SLEEP_SECONDS="2", TOY_WAITS_FOR=str(other))
        for local, other in zip(locals_, reversed(locals_), strict=True)
    ]
    try:
        ended = [job.communicate(timeout=PATIENCE_SECONDS) for job in jobs]
    finally:
        for job in jobs:
            job.kill()
    assert [job.returncode for job in jobs] == [0, 0], ended
    done = [Counter(executions(local)) for local in locals_]
    assert done[0] + done[1] == Counter({**{f"doubled {name}": 1 for name in PARTITIONS}, "total None": 1})
    assert all(counts.keys() & {f"doubled {name}" for name in PARTITIONS} for counts in done), "each had its share"
    home = host(landed, locals_[0])
    landed_rows = sorted(x for name in PARTITIONS for x in home.tables.read("landed", partition=name)["x"].to_pylist())
    assert sorted(home.tables.read("doubled")["x"].to_pylist()) == [2 * x for x in landed_rows]
    assert home.tables.read("total")["x"].to_pylist() == [2 * sum(landed_rows)]
    for local in locals_:
        assert (local / "catalog.duckdb").is_file()
    reports = [json.loads(out) for out, _ in ended]
    assert sum(report["doubled"]["made"] for report in reports) == len(PARTITIONS)
    assert all(sum(report["doubled"].values()) == len(PARTITIONS) for report in reports)
    assert home.tables.fs.find(f"{landed}/leases"), "leases were taken"
    assert all(home.leases.holder(what) == "nobody" for what in ("main job of a", "total", "doubled of a"))


@pytest.mark.long
def test_a_host_that_is_killed_holds_the_others_up_for_the_time_of_a_lease_and_leaves_nothing_behind(
    landed: str, tmp_path: Path
) -> None:
    doomed = start(landed, tmp_path / "one", TOY_SLEEP_SECONDS="1000")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not executions(tmp_path / "one") and time.monotonic() < deadline:
        time.sleep(0.2)
    doomed.kill()
    doomed.communicate()
    assert executions(tmp_path / "one") == ["doubled a"]
    survivor = start(landed, tmp_path / "other")
    try:
        out, errors = survivor.communicate(timeout=PATIENCE_SECONDS)
    finally:
        survivor.kill()
    assert survivor.returncode == 0, errors
    assert json.loads(out)["doubled"] == {"made": len(PARTITIONS), "reused": 0}
    assert executions(tmp_path / "other")[len(PARTITIONS) - 1] == "doubled a", "what was held came last"
    home = host(landed, tmp_path / "other")
    assert home.tables.read("doubled").num_rows == home.tables.read("landed").num_rows
    files = home.tables.fs.find(f"{landed}/tables/doubled")
    assert {path.rpartition("/")[2] for path in files} == {"part-0.parquet"}


def test_what_is_asked_of_one_partition_on_two_hosts_is_done_one_after_the_other(landed: str, tmp_path: Path) -> None:
    """As two backfills do, which decide for themselves what to make."""
    one, other = host(landed, tmp_path / "one"), host(landed, tmp_path / "other")
    for home in (one, other):
        home.root.mkdir()
    said: list[str] = []
    with one.held("doubled of a", log=said.append):
        job = start(landed, other.root, "a")
        assert job.stderr is not None
        waiting = next((line for line in job.stderr if "waiting: process" in line), "")
        assert "works on doubled of a" in waiting
        assert executions(other.root) == []
    _, rest = job.communicate(timeout=PATIENCE_SECONDS)
    assert job.returncode == 0, rest
    assert executions(other.root) == ["doubled a"]
    assert one.tables.read("doubled", partition="a")["x"].to_pylist() == [0, 2, 4]


@pytest.mark.long
def test_a_main_job_leaves_the_living_run_of_another_host_alone_and_ends_that_of_a_silent_one(
    landed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where hosts have their records in one Postgres: a process of another host shows in its lease alone."""
    monkeypatch.setattr(recovery, "is_elsewhere", lambda mark: True)
    one, other = host(landed, tmp_path / "one"), host(landed, tmp_path / "other")
    graph = slow_pipeline(other).defs.resolve_asset_graph()

    def only_run(records: DagsterInstance) -> dg.DagsterRun:
        [run] = records.get_runs()
        return run

    job = start(landed, one.root, TOY_SLEEP_SECONDS="1000")
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not executions(one.root) and time.monotonic() < deadline:
            time.sleep(0.2)
        with open_instance(one) as records:
            assert only_run(records).tags[recovery.LEASE_TAG].endswith(" main job of a")
            bury_killed_runs(records, other, graph, log=print)
            assert only_run(records).status == DagsterRunStatus.STARTED
            job.kill()
            job.wait()
            said: list[str] = []
            bury_killed_runs(records, other, graph, log=said.append)
            assert only_run(records).status == DagsterRunStatus.FAILURE
            assert said[0].startswith("waiting: do their holders live, of main job of a")
    finally:
        job.kill()
        job.communicate()


def test_a_sensor_finds_the_run_of_a_silent_host_without_waiting(tmp_path: Path) -> None:
    home = host(str(tmp_path / "store"), tmp_path / "one")
    graph = slow_pipeline(home).defs.resolve_asset_graph()
    with open_instance(home) as records:
        lease = home.leases.take("main job of a")
        assert lease is not None
        run = records.create_run_for_job(
            slow_pipeline(home).defs.resolve_implicit_global_asset_job_def(),
            tags=recovery.MAIN_JOB_TAGS | recovery.lease_tags(home, lease.what), status=DagsterRunStatus.STARTED,
        )  # fmt: skip
        begun = time.monotonic()
        assert bury_dead_runs(records, home, graph, log=print) == []
        assert time.monotonic() - begun < LEASE_SECONDS
        time.sleep(LEASE_SECONDS + 0.1)
        assert bury_dead_runs(records, home, graph, log=print) == [run.run_id]


if __name__ == "__main__":
    at = host(sys.argv[1], Path(sys.argv[2]))
    if len(sys.argv) == 3:
        print(json.dumps(run(at)))
    else:
        with open_instance(at) as records:
            records.add_dynamic_partitions(str(CRAWL.name), list(PARTITIONS))
            slow_pipeline(at).defs.resolve_implicit_global_asset_job_def().execute_in_process(
                instance=records, partition_key=sys.argv[3], asset_selection=[key_of("doubled")]
            )
