"""Runs that nobody's main job started, as from the UI: one whose process was killed is found, ended and made up for.

Run as a program (`python -m tests.nyx_assets.test_recovery HOME`), it is such a run in a process of its own.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterInstance, DagsterRunStatus, RunRecord
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from dagster._core.execution.retries import auto_reexecution_should_retry_run

import resources.table_writer
from nyx_assets import recovery
from nyx_assets.materialization import Step, key_of
from nyx_assets.partitions import CRAWL
from nyx_assets.recovery import LOOKED_AFTER_KEY, MAIN_JOB_TAGS, bury_dead_runs, dead_runs, look_after_ended_runs
from nyx_assets.registering import open_instance
from nyx_assets.run_processes import RunProcess, mark_of, may_live, processes_of
from resources.home import Home
from resources.tables import Provenance
from sensors.killed_runs import killed_runs_sensor
from tests.nyx_assets.test_main_job import NUMBERS, SLEEP, assert_no_run_is_open, land, made, numbers, run, toy_pipeline

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home.at(tmp_path / "home")
    land(made, c1=[10, -40], c2=[35])
    with open_instance(made) as instance:
        instance.add_dynamic_partitions(str(CRAWL.name), ["c1", "c2"])
    return made


@contextmanager
def started(home: Home, *, dies_before_checks: bool = False, clock: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """A process that makes `cleaned` of c1, and sleeps in it unless it dies after it; its tables say another time."""
    env = os.environ | {"PYTHONPATH": str(ROOT), SLEEP: "0" if dies_before_checks else "600"}
    env["TOY_DIES"] = "yes" if dies_before_checks else ""
    env["TOY_CLOCK"] = clock
    process = subprocess.Popen([sys.executable, "-m", "tests.nyx_assets.test_recovery", str(home.root)], env=env)
    try:
        witness = home.root / "executions.txt"
        until = time.monotonic() + 60
        while not witness.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()


def the_run(instance: DagsterInstance) -> RunRecord:
    [record] = instance.get_run_records()
    return record


def ended(instance: DagsterInstance, home: Home) -> str:
    """What the sensor says at its next tick, in the UI's words."""
    graph = toy_pipeline(home).defs
    repository = dg.Definitions(
        assets=list(graph.assets or ()), asset_checks=list(graph.asset_checks or ()), resources={"home": home}
    ).get_repository_def()
    context = dg.build_sensor_context(instance=instance, repository_def=repository)
    said = killed_runs_sensor(home)(context)
    assert isinstance(said, dg.SkipReason)
    return str(said.skip_message)


def test_a_living_run_is_left_alone_and_a_killed_one_is_ended_and_its_pool_freed(home: Home) -> None:
    with open_instance(home) as instance:
        with started(home) as process:
            assert the_run(instance).dagster_run.status == DagsterRunStatus.STARTED
            [executing] = processes_of(instance, the_run(instance).dagster_run.run_id)
            assert executing.mark is not None
            assert executing.mark == mark_of(process.pid)
            assert ended(instance, home) == "no run has lost its process"
            assert instance.event_log_storage.get_concurrency_info("toy").claimed_slots
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            assert [record.dagster_run.run_id for record in dead_runs(instance)] == [
                the_run(instance).dagster_run.run_id
            ]
            assert ended(instance, home).startswith("ended 1 whose process was gone: ")
        record = the_run(instance)
        assert record.dagster_run.status == DagsterRunStatus.FAILURE
        assert instance.run_retries_enabled  # so that the daemon starts it again
        assert auto_reexecution_should_retry_run(instance, record.dagster_run, None)
        failures = instance.all_logs(record.dagster_run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
        assert "its process is gone without a last word" in str(failures[0].dagster_event)
        assert_no_run_is_open(instance)
        assert ended(instance, home) == "no run has lost its process"


@pytest.mark.parametrize("clock", ["", "2020-01-01T00:00:00+00:00"])
def test_a_table_that_a_killed_run_of_the_ui_wrote_but_did_not_check_is_made_again_by_the_next_main_job(
    home: Home, clock: str
) -> None:
    """Also where the clock was set back by years before it was written."""
    with open_instance(home) as instance:
        land(home, c1=[50])
        materialize(home, instance)  # a good table, known and checked
        land(home, c1=[10, -40])
        with started(home, dies_before_checks=True, clock=clock) as process:
            assert process.wait(60) == -signal.SIGKILL
        assert home.tables.commit("cleaned", "c1") is not None
        assert home.tables.quarantine_reason("cleaned", "c1") is None  # nobody knows yet that it is bad
        made(home)
        report = run(home, instance)
        assert_no_run_is_open(instance)
        of_main_job = [one for one in instance.get_runs() if "nyx/main_job" in one.tags]
        assert of_main_job
        assert not any(auto_reexecution_should_retry_run(instance, one, None) for one in of_main_job)
    assert "cleaned c1" in made(home)
    assert "no_number_is_negative failed" in report.failures[0]
    assert numbers(home, "total", None) == [3]


def test_a_table_that_a_later_run_has_made_since_is_not_touched(home: Home) -> None:
    with open_instance(home) as instance:
        with started(home, dies_before_checks=True) as process:
            process.wait(60)
        # as a person does it in the UI, since a pool's slot that the dead hold is waited for without end
        instance.event_log_storage.free_concurrency_slots_for_run(the_run(instance).dagster_run.run_id)
        land(home, c1=[50])
        materialize(home, instance)
        assert len(bury_dead_runs(instance, home, toy_pipeline(home).defs.resolve_asset_graph(), log=print)) == 1
    assert home.tables.quarantine_reason("cleaned", "c1") is None
    assert numbers(home, "cleaned", "c1") == [5]


def in_place_of(run: dg.DagsterRun) -> dict[str, str]:
    """Tags that the daemon gives the run that it starts in the place of another."""
    return {"dagster/partition": "c1", "dagster/parent_run_id": run.run_id, "dagster/root_run_id": run.run_id}


@pytest.mark.parametrize("how", ["failed", "canceled"])
def test_the_pool_of_a_run_that_was_ended_from_outside_is_freed_once_its_process_is_gone(home: Home, how: str) -> None:
    """As by the code server that sees its worker die, or by a person."""
    with open_instance(home) as instance:
        with started(home) as process:
            run = the_run(instance).dagster_run
            instance.report_run_failed(run, "x") if how == "failed" else instance.report_run_canceled(run, "x")
            assert ended(instance, home) == "no run has lost its process"
            assert instance.event_log_storage.get_concurrency_info("toy").claimed_slots, "it is still at work"
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        assert ended(instance, home) == f"looked after what 1 had left: {run.run_id[:8]}"
        assert not instance.event_log_storage.get_concurrency_info("toy").claimed_slots
        assert ended(instance, home) == "no run has lost its process"


def test_a_table_that_was_not_checked_when_its_run_was_ended_from_outside_is_made_again(home: Home) -> None:
    graph = toy_pipeline(home).defs.resolve_asset_graph()
    with open_instance(home) as instance:
        with started(home, dies_before_checks=True) as process:
            process.wait(60)
        run = the_run(instance).dagster_run
        instance.report_run_failed(run, "its worker was terminated by signal 9")
        assert instance.get_run_by_id(run.run_id).tags["dagster/will_retry"] == "true"
        assert look_after_ended_runs(instance, home, graph, log=print) == [run.run_id]  # its slot
        assert home.tables.quarantine_reason("cleaned", "c1") is None, "the daemon is about to start it again"
        again = instance.create_run_for_job(
            toy_pipeline(home).defs.resolve_implicit_global_asset_job_def(),
            parent_run_id=run.run_id, root_run_id=run.run_id, tags=in_place_of(run), status=DagsterRunStatus.STARTED,
        )  # fmt: skip
        instance.add_run_tags(run.run_id, {"dagster/auto_retry_run_id": again.run_id})
        assert look_after_ended_runs(instance, home, graph, log=print) == []
        assert home.tables.quarantine_reason("cleaned", "c1") is None, "what was started in its place is at work"
        instance.report_run_failed(again, "terminated as well")
        other = instance.create_run_for_job(
            toy_pipeline(home).defs.resolve_implicit_global_asset_job_def(),
            asset_selection=frozenset([key_of("cleaned")]), status=DagsterRunStatus.STARTED,
        )  # fmt: skip
        assert look_after_ended_runs(instance, home, graph, log=print) == []
        assert home.tables.quarantine_reason("cleaned", "c1") is None, "another run may just have made it"
        instance.report_run_canceled(other, "it was for the test")
        assert look_after_ended_runs(instance, home, graph, log=print) == [run.run_id]
        assert "killed before its checks" in str(home.tables.quarantine_reason("cleaned", "c1"))
        land(home, c1=[50])
        materialize(home, instance)
        assert home.tables.quarantine_reason("cleaned", "c1") is None
        assert look_after_ended_runs(instance, home, graph, log=print) == [], "a later run has made and checked it"


def test_what_a_retry_has_checked_is_believed(home: Home) -> None:
    land(home, c1=[50])
    pipeline = toy_pipeline(home)
    with open_instance(home) as instance:
        with started(home, dies_before_checks=True) as process:
            process.wait(60)
        run = the_run(instance).dagster_run
        instance.report_run_failed(run, "its worker was terminated by signal 9")
        graph = pipeline.defs.resolve_asset_graph()
        assert look_after_ended_runs(instance, home, graph, log=print) == [run.run_id]  # its slot
        commit = home.commit("cleaned", "c1")
        checks = pipeline.defs.resolve_implicit_global_asset_job_def().get_subset(
            asset_selection=set(), asset_check_selection=set(graph.get_check_keys_for_assets({key_of("cleaned")}))
        )
        again = instance.create_run_for_job(
            checks, parent_run_id=run.run_id, root_run_id=run.run_id, tags=in_place_of(run)
        )
        checked = execute_run(InMemoryJob(checks), again, instance)
        assert checked.success
        instance.add_run_tags(run.run_id, {"dagster/auto_retry_run_id": again.run_id})
        assert look_after_ended_runs(instance, home, graph, log=print) == []
        assert home.tables.quarantine_reason("cleaned", "c1") is None
        assert home.commit("cleaned", "c1") == commit


def test_what_failed_a_check_keeps_its_reason(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a second check had nothing to look at any more, since the first one had quarantined the table."""
    monkeypatch.setattr(recovery, "may_live", lambda process: False)  # it is made in this process
    toy = toy_pipeline(home).defs

    @dg.asset_check(asset=key_of("cleaned"), name="second")
    def second() -> dg.AssetCheckResult:
        raise AssertionError

    graph = dg.Definitions(
        assets=list(toy.assets or ()), asset_checks=[*(toy.asset_checks or ()), second], resources={"home": home}
    ).resolve_asset_graph()
    with open_instance(home) as instance:
        materialize(home, instance)
        assert the_run(instance).dagster_run.tags["dagster/failure_reason"] == "STEP_FAILURE"
        reason = home.tables.quarantine_reason("cleaned", "c1")
        assert "no_number_is_negative" in str(reason)
        assert look_after_ended_runs(instance, home, graph, log=print) == []
        assert home.tables.quarantine_reason("cleaned", "c1") == reason
        home.tables.release("cleaned", "c1")
        instance.daemon_cursor_storage.set_cursor_values(
            {LOOKED_AFTER_KEY: '{"until": "2026-01-01T00:00:00+00:00", "judged": []}'}
        )
        assert look_after_ended_runs(instance, home, graph, log=print) == [the_run(instance).dagster_run.run_id]
        assert "failed before its checks" in str(home.tables.quarantine_reason("cleaned", "c1"))  # the second never ran


def test_a_table_that_another_host_made_is_not_touched_by_a_run_that_never_came_to_its_step(home: Home) -> None:
    """Dagster's records here know nothing of the table, and the run had planned to make it."""
    pipeline = toy_pipeline(home)
    with home.tables.write("cleaned", NUMBERS, partition="c1", provenance=Provenance(code_version="1")) as table:
        table.append([{"x": 5}])
    with open_instance(home) as instance:
        run = instance.create_run_for_job(
            pipeline.defs.resolve_implicit_global_asset_job_def(),
            tags={"dagster/partition": "c1"}, asset_selection=frozenset([key_of("cleaned")]),
        )  # fmt: skip
        instance.report_run_failed(run, "its worker was terminated by signal 9")
        instance.add_run_tags(run.run_id, {"dagster/will_retry": "false"})
        assert look_after_ended_runs(instance, home, pipeline.defs.resolve_asset_graph(), log=print) == []
    assert home.tables.quarantine_reason("cleaned", "c1") is None
    assert numbers(home, "cleaned", "c1") == [5]


def test_a_killed_run_of_a_main_job_that_a_person_ends_before_the_next_one_is_looked_after_too(home: Home) -> None:
    graph = toy_pipeline(home).defs.resolve_asset_graph()
    with open_instance(home) as instance:
        with started(home, dies_before_checks=True) as process:
            process.wait(60)
        run = the_run(instance).dagster_run
        instance.add_run_tags(run.run_id, MAIN_JOB_TAGS)
        instance.report_run_canceled(run, "it hung")
        assert look_after_ended_runs(instance, home, graph, log=print) == [run.run_id]
        assert "killed before its checks" in str(home.tables.quarantine_reason("cleaned", "c1"))


def test_a_retry_whose_first_run_was_deleted_holds_nothing_up(home: Home) -> None:
    graph = toy_pipeline(home).defs.resolve_asset_graph()
    with open_instance(home) as instance:
        with started(home, dies_before_checks=True) as process:
            process.wait(60)
        run = the_run(instance).dagster_run
        again = instance.create_run_for_job(
            toy_pipeline(home).defs.resolve_implicit_global_asset_job_def(),
            parent_run_id=run.run_id, root_run_id=run.run_id, tags=in_place_of(run), status=DagsterRunStatus.STARTED,
        )  # fmt: skip
        instance.report_run_failed(again, "its worker was terminated by signal 9")
        instance.delete_run(run.run_id)
        assert look_after_ended_runs(instance, home, graph, log=print) == []


def test_the_end_of_a_run_that_was_stored_late_is_not_missed(home: Home) -> None:
    """Dagster dates it by its event, which may wait for a database while others look."""
    graph = toy_pipeline(home).defs.resolve_asset_graph()
    with open_instance(home) as instance:
        with started(home, dies_before_checks=True) as process:
            process.wait(60)
        assert look_after_ended_runs(instance, home, graph, log=print) == []
        run = the_run(instance).dagster_run
        late = dg.DagsterEvent(event_type_value="PIPELINE_CANCELED", job_name=run.job_name)
        entry = dg.EventLogEntry(
            error_info=None, level="error", user_message="", run_id=run.run_id, timestamp=time.time() - 20,
            job_name=run.job_name, dagster_event=late,
        )  # fmt: skip
        instance.handle_new_event(entry)
        assert look_after_ended_runs(instance, home, graph, log=print) == [run.run_id]
        assert "killed before its checks" in str(home.tables.quarantine_reason("cleaned", "c1"))


def test_a_process_number_that_came_again_is_another_process() -> None:
    mark = mark_of(os.getpid())
    assert mark is not None
    assert may_live(RunProcess(number=os.getpid(), since=0.0, mark=mark))
    assert not may_live(RunProcess(number=os.getpid(), since=time.time(), mark=replace(mark, start_ticks="1")))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert not may_live(RunProcess(number=ended.pid, since=time.time()))


@pytest.mark.parametrize("has_mark", [True, False])
def test_a_living_run_is_left_alone_when_the_clock_jumps_forward(tmp_path: Path, has_mark: bool) -> None:
    """With the wall clock, the moment of the boot moves as well, and with it the start of every process."""
    proc = proc_folder(tmp_path, booted=1_000_000)
    said = RunProcess(number=7, since=1_000_012.0, mark=mark_of(7, proc) if has_mark else None)
    assert may_live(said, proc)
    proc_folder(tmp_path, booted=1_086_400)
    assert may_live(said, proc)
    proc_folder(tmp_path, booted=1_086_400, start_ticks=900_000, command=b"sleep\x0060\0")
    assert not may_live(said, proc)  # the number came again


def test_a_run_of_another_host_is_not_judged_and_one_before_a_reboot_is_dead(tmp_path: Path) -> None:
    proc = proc_folder(tmp_path, booted=1_000_000)
    mark = mark_of(7, proc)
    assert mark is not None
    before_a_reboot = replace(mark, boot="another")
    assert not may_live(RunProcess(number=7, since=1_000_012.0, mark=before_a_reboot), proc)
    elsewhere = replace(before_a_reboot, host="another")
    assert may_live(RunProcess(number=99, since=1_000_012.0, mark=elsewhere), proc)


def proc_folder(
    folder: Path, *, booted: int, start_ticks: int = 1000, command: bytes = b"python\0-c\0from multiprocessing"
) -> Path:
    """What a kernel says of itself, of process 7 and of whoever asks."""
    (folder / "sys/kernel/random").mkdir(parents=True, exist_ok=True)
    (folder / "sys/kernel/random/boot_id").write_text("e2e02fbe\n")
    (folder / "stat").write_text(f"cpu 1 2 3\nbtime {booted}\n")
    if not (folder / "self").exists():
        (folder / "self/ns").mkdir(parents=True)
        (folder / "self/ns/pid").symlink_to("pid:[4026531836]")
    for number in (7, os.getpid()):
        (folder / str(number)).mkdir(exist_ok=True)
        (folder / str(number) / "stat").write_text(f"{number} (a (name)) S " + "0 " * 18 + f"{start_ticks} 0\n")
        (folder / str(number) / "cmdline").write_bytes(command)
    return folder


def materialize(home: Home, instance: DagsterInstance) -> None:
    """`cleaned` of c1 with its check, as the UI's Materialize button has it."""
    toy_pipeline(home).defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, partition_key="c1", asset_selection=[key_of("cleaned")], raise_on_error=False
    )


def main(root: Path) -> None:
    home = Home.at(root)
    if os.environ["TOY_CLOCK"]:
        resources.table_writer.utc_now = lambda: os.environ["TOY_CLOCK"]
    if os.environ["TOY_DIES"]:
        results = Step.results

        def die(step: Step, *names: str) -> Iterator[dg.MaterializeResult]:
            if os.environ["TOY_CLOCK"]:  # before Dagster knows of the table that is committed
                os.kill(os.getpid(), signal.SIGKILL)
            yield from results(step, *names)
            os.kill(os.getpid(), signal.SIGKILL)

        Step.results = die  # type: ignore[method-assign]
    with open_instance(home) as instance:
        materialize(home, instance)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
