"""The main job over a small graph of its own, with real tables and real Dagster records.

    landed* -> cleaned* -> left*, right* (one function) -> report* -> summary
               cleaned* -> total -> report*

Run as a program (`python test_main_job.py HOME`), it is the main job in a process of its own, to be killed.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from dagster import DagsterInstance, DagsterRunStatus

from nyx_assets.main_job import JobReport, Level, Pipeline, levels, run_main_job
from nyx_assets.materialization import (
    DATA_VERSION_TAG,
    STANDS_IN_KEY,
    Step,
    blocking_check,
    expected_provenance,
    key_of,
    name_of,
)
from nyx_assets.partitions import CRAWL, EVERY_CRAWL
from nyx_assets.registering import open_instance
from resources.home import Home
from resources.tables import Provenance

NUMBERS = pa.schema([("x", pa.int64())])
SLEEP = "TOY_SLEEP_SECONDS"


def begin(step: Step) -> None:
    """Leave a line in a file: Dagster's own records are what is tested, so they cannot be the witness."""
    note(step.home, "begin", step.context.op_execution_context.op.name, step.partition)
    time.sleep(float(os.environ.get(SLEEP, "0")))


def note(home: Home, word: str, node: str, partition: str | None) -> None:
    with (home.root / "executions.txt").open("a") as file:
        file.write(f"{word} {node} {partition or ''}\n")


def made(home: Home) -> list[str]:
    """What was executed since this was last asked, as "node partition"."""
    place = home.root / "executions.txt"
    lines = place.read_text().splitlines() if place.exists() else []
    place.unlink(missing_ok=True)
    return [line.removeprefix("begin ").strip() for line in lines if line.startswith("begin ")]


def numbers(home: Home, name: str, partition: str | None) -> list[int]:
    return home.tables.read(name, partition=partition, columns=["x"])["x"].to_pylist()


def committed(step: Step, **rows: list[int]) -> Iterator[dg.MaterializeResult]:
    with step.tables(dict.fromkeys(rows, NUMBERS)) as tables:
        for name, values in rows.items():
            tables[name].append({"x": value} for value in values)
    note(step.home, "end", step.context.op_execution_context.op.name, step.partition)
    yield from step.results(*rows)


def no_number_is_negative(home: Home, partition: str | None) -> list[str]:
    """Nothing below zero."""
    rows = numbers(home, "cleaned", partition)
    if 7 in rows:
        raise KeyError("seven")
    return [f"{x} is negative" for x in rows if x < 0]


def toy_pipeline(home: Home, *, cleaned_version: str = "1", halves_version: str = "1") -> Pipeline:
    @dg.asset(
        deps=["landed"],
        partitions_def=CRAWL,
        code_version=cleaned_version,
        pool="toy",
        metadata={STANDS_IN_KEY: True},
    )
    def cleaned(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> Iterator[dg.MaterializeResult]:
        step = Step(context, home)
        begin(step)
        landed = numbers(home, "landed", step.partition)
        if 666 in landed:
            try:
                raise OSError("the disk of the devil")
            except OSError as error:
                raise ValueError("row 3 is 666\nwhich is   no number") from error
        yield from committed(step, cleaned=[x // 10 for x in landed])

    @dg.multi_asset(
        specs=[dg.AssetSpec(name, deps=["cleaned"], code_version=halves_version) for name in ("left", "right")],
        partitions_def=CRAWL,
    )
    def halves(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> Iterator[dg.MaterializeResult]:
        step = Step(context, home)
        begin(step)
        rows = numbers(home, "cleaned", step.partition)
        yield from committed(step, right=[x for x in rows if x % 2], left=[x for x in rows if x % 2 == 0])

    @dg.asset(deps=[dg.AssetDep("cleaned", partition_mapping=EVERY_CRAWL)], code_version="1")
    def total(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> Iterator[dg.MaterializeResult]:
        step = Step(context, home)
        begin(step)
        yield from committed(step, total=[sum(numbers(home, "cleaned", None))])

    @dg.asset(deps=["left", "total"], partitions_def=CRAWL, code_version="1")
    def report(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> Iterator[dg.MaterializeResult]:
        step = Step(context, home)
        begin(step)
        yield from committed(step, report=[*numbers(home, "left", step.partition), *numbers(home, "total", None)])

    @dg.asset(deps=[dg.AssetDep("report", partition_mapping=EVERY_CRAWL)], code_version="1", pool="toy")
    def summary(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> Iterator[dg.MaterializeResult]:
        step = Step(context, home)
        begin(step)
        yield from committed(step, summary=[len(numbers(home, "report", None))])

    assets = [cleaned, halves, total, report, summary]
    defs = dg.Definitions(
        assets=[dg.AssetSpec("landed", partitions_def=CRAWL), *assets],
        asset_checks=[blocking_check("cleaned", partitioned=True, find_faults=no_number_is_negative)],
        resources={"home": home},
        executor=dg.in_process_executor,
    )
    specs = {name_of(spec.key): spec for asset in assets for spec in asset.specs}
    return Pipeline(
        defs=defs,
        specs=specs,
        resources={},
        siblings={name_of(key): tuple(name_of(one) for one in asset.keys) for asset in assets for key in asset.keys},
    )


def land(home: Home, **partitions: list[int]) -> None:
    """Write landed numbers; the prefix `c` of a keyword is part of the partition's name."""
    for partition, values in partitions.items():
        provenance = Provenance(code_version="1")
        with home.tables.write("landed", NUMBERS, partition=partition, provenance=provenance) as table:
            table.append({"x": value} for value in values)


def run(home: Home, instance: DagsterInstance, **versions: str) -> JobReport:
    landed = home.tables.partitions("landed")
    instance.add_dynamic_partitions(str(CRAWL.name), landed)
    return run_main_job(toy_pipeline(home, **versions), instance, home)


EVERYTHING = Counter(
    ["cleaned c1", "cleaned c2", "halves c1", "halves c2", "total", "report c1", "report c2", "summary"]
)


def known_to_dagster(instance: DagsterInstance, home: Home) -> dict[str, bool]:
    """For each committed table, whether Dagster's latest record has its very version."""
    known = {}
    for name in toy_pipeline(home).specs:
        for partition in home.tables.all_partitions(name):
            record = instance.get_latest_data_version_record(key_of(name), partition_key=partition)
            event = record.asset_materialization if record else None
            commit = home.commit(name, partition)
            assert commit is not None
            known[f"{name} {partition or ''}"] = (
                event is not None and (event.tags or {}).get(DATA_VERSION_TAG) == commit.data_version
            )
    return known


def test_levels_are_cut_where_all_partitions_of_the_level_before_are_needed(home: Home) -> None:
    assert levels(toy_pipeline(home).specs.values()) == [
        Level(("cleaned", "left", "right"), True),
        Level(("total",), False),
        Level(("report",), True),
        Level(("summary",), False),
    ]


def test_the_device_is_given_back_after_each_run_of_dagster(home: Home, instance: DagsterInstance) -> None:
    land(home, c1=[10, 21])
    instance.add_dynamic_partitions(str(CRAWL.name), ["c1"])
    given_back: list[int] = []
    pipeline = replace(toy_pipeline(home), give_device_back=lambda: given_back.append(len(instance.get_runs())))
    run_main_job(pipeline, instance, home)
    assert given_back == list(range(1, len(instance.get_runs()) + 1))
    assert len(given_back) > 1


def test_everything_is_made_once_and_then_nothing_is(home: Home, instance: DagsterInstance) -> None:
    land(home, c1=[10, 21], c2=[35])
    report = run(home, instance)
    assert Counter(made(home)) == EVERYTHING
    assert not report.failures
    assert (report.by_asset["right"].made, report.by_asset["right"].num_rows) == (2, 1 + 1)  # 1 of c1, 3 of c2
    assert numbers(home, "total", None) == [1 + 2 + 3]
    again = run(home, instance)
    assert made(home) == []
    assert again.num_made == 0
    assert {name: asset.reused for name, asset in again.by_asset.items()} == {
        "cleaned": 2, "left": 2, "right": 2, "total": 1, "report": 2, "summary": 1,
    }  # fmt: skip


def test_a_changed_input_with_equal_output_stops_there(home: Home, instance: DagsterInstance) -> None:
    land(home, c1=[10, 21], c2=[35])
    run(home, instance)
    made(home)
    land(home, c2=[39])  # 39 // 10 is 3, as before
    run(home, instance)
    assert made(home) == ["cleaned c2"]


def test_changed_content_goes_on_as_far_as_it_matters(home: Home, instance: DagsterInstance) -> None:
    land(home, c1=[10, 21], c2=[35])
    run(home, instance)
    made(home)
    land(home, c2=[57])  # the total changes, so the reports of both do; their rows stay as many
    run(home, instance)
    assert Counter(made(home)) == Counter(["cleaned c2", "halves c2", "total", "report c1", "report c2", "summary"])
    assert numbers(home, "report", "c1") == [2, 1 + 2 + 5]


def test_a_new_partition_leaves_the_others_alone(home: Home, instance: DagsterInstance) -> None:
    land(home, c1=[10, 21], c2=[35])
    run(home, instance)
    made(home)
    land(home, c3=[0])  # adds nothing to the total
    run(home, instance)
    assert Counter(made(home)) == Counter(["cleaned c3", "halves c3", "total", "report c3", "summary"])


def test_another_code_version_redoes_what_names_it_and_stops_at_equal_content(
    home: Home, instance: DagsterInstance
) -> None:
    land(home, c1=[10, 21], c2=[35])
    run(home, instance)
    made(home)
    report = run(home, instance, halves_version="2")
    assert Counter(made(home)) == Counter(["halves c1", "halves c2"])
    assert report.by_asset["left"].made == report.by_asset["right"].made == 2


def test_siblings_are_made_together_when_one_of_them_is_missing(home: Home, instance: DagsterInstance) -> None:
    land(home, c1=[10, 21])
    run(home, instance)
    made(home)
    (home.root / "tables" / "right" / "crawl=c1" / "part-0.parquet").unlink()
    report = run(home, instance)
    assert made(home) == ["halves c1"]
    assert report.by_asset["left"].made == report.by_asset["right"].made == 1
    assert numbers(home, "right", "c1") == [1]


def test_a_failing_partition_is_reported_in_one_line_and_the_others_go_on(
    home: Home, instance: DagsterInstance
) -> None:
    land(home, c1=[10, 666], c2=[35], c3=[80, 91])
    report = run(home, instance)
    assert report.failures == ["cleaned of partition c1 failed: ValueError: row 3 is 666 which is no number"]
    assert Counter(made(home)) == Counter(
        [
            "cleaned c1",
            "cleaned c2",
            "cleaned c3",
            "halves c2",
            "halves c3",
            "total",
            "report c2",
            "report c3",
            "summary",
        ]
    )
    assert numbers(home, "total", None) == [3 + 8 + 9]
    counts = {name: (asset.made, asset.failed, asset.blocked) for name, asset in report.by_asset.items()}
    assert counts == {
        "cleaned": (2, 1, 0), "left": (2, 0, 1), "right": (2, 0, 1), "total": (1, 0, 0), "report": (2, 0, 1), "summary": (1, 0, 0),
    }  # fmt: skip
    land(home, c1=[10])
    assert not run(home, instance).failures
    assert numbers(home, "total", None) == [1 + 3 + 8 + 9]


def test_nothing_is_made_from_an_old_table_whose_successor_failed(home: Home, instance: DagsterInstance) -> None:
    land(home, c1=[10, 21], c2=[35])
    run(home, instance)
    made(home)
    land(home, c2=[666])
    report = run(home, instance, halves_version="2")
    assert Counter(made(home)) == Counter(["cleaned c2", "halves c1"])
    assert report.by_asset["left"].blocked == 1
    assert numbers(home, "left", "c2") == []  # 3 is odd: what was there before is still there


def test_a_failed_check_quarantines_and_the_next_run_redoes_only_that(home: Home, instance: DagsterInstance) -> None:
    land(home, c1=[10, -40, -70], c2=[35])
    report = run(home, instance)
    assert report.failures == [
        "cleaned of partition c1 is quarantined, its check no_number_is_negative failed: 2 faults, e.g. -4 is negative"
    ]
    assert numbers(home, "total", None) == [3]
    assert (report.by_asset["left"].failed, report.by_asset["left"].blocked) == (0, 1)
    made(home)

    report = run(home, instance)
    assert made(home) == ["cleaned c1"]
    assert len(report.failures) == 1

    land(home, c1=[10, 40])
    assert not run(home, instance).failures
    assert Counter(made(home)) == Counter(["cleaned c1", "halves c1", "total", "report c1", "report c2", "summary"])
    assert numbers(home, "total", None) == [1 + 4 + 3]


def test_a_table_that_could_not_be_checked_is_not_used(home: Home, instance: DagsterInstance) -> None:
    land(home, c1=[70], c2=[35])
    report = run(home, instance)
    assert report.failures == ["cleaned_no_number_is_negative of partition c1 failed: KeyError: 'seven'"]
    assert numbers(home, "total", None) == [3]
    assert run(home, instance).by_asset["cleaned"].made == 1


def test_what_reads_a_quarantined_table_is_blocked_not_made_from_it(home: Home, instance: DagsterInstance) -> None:
    land(home, c1=[10, 21], c2=[35])
    run(home, instance)
    made(home)
    land(home, c1=[-10])
    report = run(home, instance)  # halves of c1 were current: they wait for the new cleaned c1, which is no good
    assert Counter(made(home)) == Counter(["cleaned c1", "total", "report c1", "report c2", "summary"])
    assert report.by_asset["left"].blocked == report.by_asset["right"].blocked == 1


def test_a_partition_whose_input_is_gone_is_reported(home: Home, instance: DagsterInstance) -> None:
    land(home, c1=[10])
    instance.add_dynamic_partitions(str(CRAWL.name), ["vanished"])
    report = run(home, instance)
    assert numbers(home, "total", None) == [1]
    assert report.failures[0] == "cleaned was left out 1 times: one of its inputs is missing (landed)"


def test_a_partition_read_whole_counts_without_its_quarantined_partitions(
    home: Home, instance: DagsterInstance
) -> None:
    land(home, c1=[10, 21], c2=[35])
    run(home, instance)
    pipeline = toy_pipeline(home)
    before = expected_provenance(pipeline.specs["total"], None, home).inputs["cleaned"]
    home.tables.quarantine("cleaned", "c1", "for the test")
    without = expected_provenance(pipeline.specs["total"], None, home).inputs["cleaned"]
    assert without not in (before, "")
    assert expected_provenance(pipeline.specs["left"], "c1", home).inputs == {"cleaned": ""}
    home.tables.quarantine("cleaned", "c2", "for the test")
    assert expected_provenance(pipeline.specs["total"], None, home).inputs["cleaned"] == ""


def chain_pipeline(home: Home, *, last_version: str) -> Pipeline:
    """landed* -> first* -> second* -> third*, each a copy of the one before."""

    def link(name: str, before: str, version: str) -> dg.AssetsDefinition:
        @dg.asset(name=name, deps=[before], partitions_def=CRAWL, code_version=version)
        def copied(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> Iterator[dg.MaterializeResult]:
            step = Step(context, home)
            begin(step)
            yield from committed(step, **{name: numbers(home, before, step.partition)})

        return copied

    assets = [link("first", "landed", "1"), link("second", "first", "1"), link("third", "second", last_version)]
    defs = dg.Definitions(assets=assets, resources={"home": home}, executor=dg.in_process_executor)
    specs = {name_of(spec.key): spec for asset in assets for spec in asset.specs}
    return Pipeline(defs=defs, specs=specs, resources={}, siblings={name: (name,) for name in specs})


def test_what_is_stale_waits_for_an_input_that_may_still_change(home: Home, instance: DagsterInstance) -> None:
    """`third` is stale by its code at once, but `second`, which it reads, is only known to be after `first` is made."""
    instance.add_dynamic_partitions(str(CRAWL.name), ["c1"])
    land(home, c1=[1])
    run_main_job(chain_pipeline(home, last_version="1"), instance, home)
    made(home)
    land(home, c1=[2])
    run_main_job(chain_pipeline(home, last_version="2"), instance, home)
    assert made(home) == ["first c1", "second c1", "third c1"]
    assert numbers(home, "third", "c1") == [2]


def test_dagster_is_told_of_versions_that_it_does_not_know(
    home: Home, instance: DagsterInstance, tmp_path: Path
) -> None:
    land(home, c1=[10, 21], c2=[35])
    run(home, instance)
    with DagsterInstance.ephemeral(tempdir=str(tmp_path / "other")) as other:
        assert not any(known_to_dagster(other, home).values())
        made(home)
        run(home, other)
        assert made(home) == []
        assert all(known_to_dagster(other, home).values())


def test_a_table_whose_run_was_killed_before_its_check_is_made_again(home: Home) -> None:
    land(home, c1=[10, -40], c2=[35])
    killed = start(home, stop_before_checks=True)
    assert killed.wait(60) == -signal.SIGKILL
    assert home.tables.commit("cleaned", "c1") is not None
    assert home.tables.quarantine_reason("cleaned", "c1") is None  # nobody knows yet that it is bad
    with open_instance(home) as instance:
        report = run(home, instance)
        assert_no_run_is_open(instance)
    assert "no_number_is_negative failed" in report.failures[0]
    assert numbers(home, "total", None) == [3]


def test_a_kill_before_anything_is_written_leaves_the_old_table_readable(home: Home) -> None:
    land(home, c1=[10])
    with open_instance(home) as instance:
        run(home, instance)
    made(home)
    land(home, c1=[666])
    process = start(home, SLEEP_SECONDS=60)
    wait_for_execution(home)
    process.kill()
    process.wait()
    with open_instance(home) as instance:
        assert "666" in run(home, instance).failures[0]
    assert numbers(home, "cleaned", "c1") == [1]


def num_executions(home: Home) -> int:
    place = home.root / "executions.txt"
    return place.read_text().count("\n") if place.exists() else 0


def wait_for_execution(home: Home, process: subprocess.Popen[bytes] | None = None, *, after: int = 0) -> None:
    """Until more pieces of work than `after` have begun or ended, the process has ended, or a minute is over."""
    until = time.monotonic() + 60
    while num_executions(home) <= after and time.monotonic() < until and (process is None or process.poll() is None):
        time.sleep(0.02)


@pytest.mark.long
def test_a_job_killed_at_any_moment_goes_on_where_it_stopped(home: Home, tmp_path: Path) -> None:
    landed: dict[str, Any] = {"c1": [10, 21], "c2": [35], "c3": [80, 91, 44]}
    land(home, **landed)
    draw = random.Random(7)
    kills = 0
    for attempt in range(20):
        before = num_executions(home)
        process = start(home, SLEEP_SECONDS=0.12)
        wait_for_execution(home, process, after=before)  # the first thing takes as long as the machine is slow
        try:
            assert process.wait(timeout=draw.uniform(0.0, 1.5) + 0.3 * attempt) == 0, process.stderr.read().decode()
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    else:
        pytest.fail("the job never came to its end")
    assert kills >= 2, "the machine was too fast for the kills to hit; raise the sleep"

    lines = (home.root / "executions.txt").read_text().splitlines()
    for piece in {line.split(" ", 1)[1] for line in lines}:
        words = [line.split(" ", 1)[0] for line in lines if line.split(" ", 1)[1] == piece]
        # after the end of a piece of work nothing begins again, unless the kill came before its check
        if not piece.startswith("cleaned"):
            assert words.index("end") == len(words) - 1, (piece, words)
        assert words.count("begin") <= 1 + kills
    with open_instance(home) as instance:
        assert made(home)
        assert not run(home, instance).failures
        assert made(home) == []
        assert all(known_to_dagster(instance, home).values())
        assert_no_run_is_open(instance)

    calm = Home.at(tmp_path / "calm")
    land(calm, **landed)
    with open_instance(calm) as instance:
        run(calm, instance)
    for name in toy_pipeline(home).specs:
        for partition in calm.tables.all_partitions(name):
            one, other = calm.commit(name, partition), home.commit(name, partition)
            assert one is not None
            assert other is not None
            assert one.data_version == other.data_version, (name, partition)


def test_a_second_job_waits_for_the_first_and_finds_everything_made(home: Home) -> None:
    land(home, c1=[10, 21], c2=[35])
    both = [start(home, SLEEP_SECONDS=0.1), start(home, SLEEP_SECONDS=0.1)]
    said = [process.communicate(timeout=60)[1].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert Counter(made(home)) == EVERYTHING
    assert any("waiting" in text for text in said)


def test_an_interrupt_ends_the_job_at_once(home: Home) -> None:
    land(home, c1=[10, 21], c2=[35], c3=[80])
    process = start(home, SLEEP_SECONDS=1.0)
    wait_for_execution(home)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) != 0
    assert made(home) == ["cleaned c1"]


def assert_no_run_is_open(instance: DagsterInstance) -> None:
    statuses = {record.status for record in instance.get_runs()}
    assert statuses <= {DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE}
    assert not instance.event_log_storage.get_concurrency_info("toy").claimed_slots


def start(home: Home, *, stop_before_checks: bool = False, SLEEP_SECONDS: float = 0) -> subprocess.Popen[bytes]:
    """The main job of this home in a process of its own."""
    env = {**os.environ, SLEEP: str(SLEEP_SECONDS), "TOY_STOP": json.dumps(stop_before_checks)}
    return subprocess.Popen([sys.executable, __file__, str(home.root)], env=env, stderr=subprocess.PIPE)


def main(root: Path) -> int:
    import logging

    logging.getLogger("nyx").addHandler(logging.StreamHandler())
    logging.getLogger("nyx").setLevel(logging.INFO)
    home = Home.at(root)
    if json.loads(os.environ["TOY_STOP"]):
        # the process dies between the commit of a table and its check: the table's data version is asked for first
        results = Step.results

        def die(step: Step, *names: str) -> Iterator[dg.MaterializeResult]:
            yield from results(step, *names)
            os.kill(os.getpid(), signal.SIGKILL)

        Step.results = die  # type: ignore[method-assign]
    with open_instance(home) as instance:
        return 1 if run(home, instance).failures else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
