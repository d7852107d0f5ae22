"""`nyx backfill`: what a person names is made again, and nothing else; with other settings it stands in for what was there."""

import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from dagster import DagsterInstance

from benchmarks.factory import make
from nyx_assets.__main__ import main
from nyx_assets.backfilling import (
    WhichPartitions,
    made_together,
    scope_of_backfill,
    scope_until,
    stale_after,
    stale_inputs,
)
from nyx_assets.definitions import build_pipeline
from nyx_assets.main_job import JobReport, run_main_job
from nyx_assets.main_job_commands import STOPPED_BY_CAP, exit_of
from nyx_assets.materialization import is_current, key_of
from nyx_assets.partitions import CRAWL
from nyx_assets.prompts import load_prompt
from nyx_assets.quarantine import FailedAttempt, note_failures
from nyx_assets.registering import open_instance, register_deliveries
from resources.home import Home
from resources.settings import Settings
from resources.tables import Provenance
from resources.vlm import STAND_IN_MODEL
from resources.vlm_server import OfflineService, serve_offline_vlm
from tests.deliveries import write_pages
from tests.nyx_assets.test_main_job import NUMBERS, land, made, toy_pipeline
from training_kernels.errors import ConfigError, DataError

CRAWLS = ("harbour", "inland", "islands")


# The toy graph of test_main_job.py.


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which everything of the toy graph is made."""
    home = Home.at(tmp_path_factory.mktemp("toy") / "home")
    land(home, c1=[10, 21], c2=[35], c3=[47])
    for crawl in ("c1", "c2", "c3"):  # what says which partitions there are
        with home.tables.write("landed_crawl", NUMBERS, partition=crawl, provenance=Provenance(code_version="1")):
            pass
    with DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(str(CRAWL.name), ["c1", "c2", "c3"])
        run_main_job(toy_pipeline(home), instance, home)
    made(home)
    return home.root


@pytest.fixture
def made_home(finished: Path, home: Home, instance: DagsterInstance) -> Home:
    shutil.copytree(finished, home.root)
    instance.add_dynamic_partitions(str(CRAWL.name), ["c1", "c2", "c3"])
    return home


def backfill(
    home: Home,
    instance: DagsterInstance,
    *assets: str,
    keys: tuple[str, ...] = (),
    with_downstream: bool = False,
    **versions: str,
) -> JobReport:
    pipeline = toy_pipeline(home, **versions)
    scope = scope_of_backfill(pipeline, home, assets, WhichPartitions(keys=keys), with_downstream=with_downstream)
    return run_main_job(pipeline, instance, home, scope)


def test_named_places_are_made_although_they_are_current_and_nothing_else_is(
    made_home: Home, instance: DagsterInstance
) -> None:
    report = backfill(made_home, instance, "cleaned", "report", keys=("c1", "c3"))
    assert sorted(made(made_home)) == ["cleaned c1", "cleaned c3", "report c1", "report c3"]
    assert report.by_asset.keys() == {"cleaned", "report"}
    assert (report.by_asset["cleaned"].made, report.by_asset["cleaned"].num_rows) == (2, 2 + 1)
    assert not report.failures
    run_main_job(toy_pipeline(made_home), instance, made_home)
    assert made(made_home) == []  # the same content: nothing depends on it anew


def test_siblings_are_made_together_and_an_asset_of_all_partitions_needs_none(
    made_home: Home, instance: DagsterInstance
) -> None:
    backfill(made_home, instance, "right", keys=("c2",))
    assert made(made_home) == ["halves c2"]
    assert made_together(toy_pipeline(made_home), ["right"]) == [("right", "left")]
    backfill(made_home, instance, "total")
    assert made(made_home) == ["total"]


def test_downstream_is_brought_up_to_date_where_it_depends_and_where_the_content_changed(
    made_home: Home, instance: DagsterInstance
) -> None:
    backfill(made_home, instance, "cleaned", keys=("c1",), with_downstream=True)
    assert made(made_home) == ["cleaned c1"]  # the same content
    made_home.tables.quarantine("left", "c2", "for the test: stale, and none of the backfill's business")
    land(made_home, c1=[10, 23])
    backfill(made_home, instance, "cleaned", keys=("c1",), with_downstream=True)
    assert made(made_home) == ["cleaned c1"]  # 23 // 10 is 21 // 10
    land(made_home, c1=[10, 31])
    backfill(made_home, instance, "cleaned", keys=("c1",), with_downstream=True)
    assert made(made_home) == ["cleaned c1", "halves c1", "total", "report c1", "report c3", "summary"]
    assert not is_current(toy_pipeline(made_home).specs["left"], "c2", made_home)


def test_what_was_backfilled_with_other_settings_stands_in_for_what_was_there_until_yet_other_ones(
    made_home: Home, instance: DagsterInstance
) -> None:
    backfill(made_home, instance, "cleaned", keys=("c1",), cleaned_version="other")
    assert made(made_home) == ["cleaned c1"]
    for version, stale in (("1", []), ("other", ["c2", "c3"]), ("third", ["c1", "c2", "c3"])):
        spec = toy_pipeline(made_home, cleaned_version=version).specs["cleaned"]
        assert [crawl for crawl in ("c1", "c2", "c3") if not is_current(spec, crawl, made_home)] == stale
    backfill(made_home, instance, "cleaned", keys=("c1",), cleaned_version="third")
    made(made_home)
    run_main_job(toy_pipeline(made_home), instance, made_home)
    assert made(made_home) == []
    land(made_home, c1=[10, 21, 30])  # its input changed: it is made with the settings that there are
    run_main_job(toy_pipeline(made_home), instance, made_home)
    commit = made_home.commit("cleaned", "c1")
    assert commit is not None
    assert (commit.provenance.code_version, commit.provenance.in_place_of) == ("1", frozenset())


def test_a_run_that_a_person_asked_dagster_for_stands_in_too_and_one_of_the_refresh_does_not(
    made_home: Home, instance: DagsterInstance
) -> None:
    job = toy_pipeline(made_home, cleaned_version="other").defs.resolve_implicit_global_asset_job_def()
    for crawl, tags in (("c1", {"dagster/backfill": "abc"}), ("c2", {}), ("c3", {"nyx/refresh": "yes"})):
        job.execute_in_process(instance=instance, partition_key=crawl, asset_selection=[key_of("cleaned")], tags=tags)
    spec = toy_pipeline(made_home).specs["cleaned"]
    assert [is_current(spec, crawl, made_home) for crawl in ("c1", "c2", "c3")] == [True, True, False]


def test_a_failure_in_a_backfill_is_told_by_partition_and_blocks_what_reads_it(
    made_home: Home, instance: DagsterInstance
) -> None:
    land(made_home, c1=[666])
    report = backfill(made_home, instance, "cleaned", "left", keys=("c1", "c2"))
    assert report.failures == ["cleaned of partition c1 failed: ValueError: row 3 is 666 which is no number"]
    assert (report.by_asset["cleaned"].made, report.by_asset["cleaned"].failed) == (1, 1)
    assert (report.by_asset["left"].made, report.by_asset["left"].blocked) == (1, 1)
    assert "halves c1" not in made(made_home)


REFUSED: list[tuple[list[str], dict[str, Any], str]] = [
    (["cleand"], {"is_all": True}, "asset 'cleand' is unknown; near it: cleaned; `nyx status` lists all 6"),
    (["cleaned"], {"keys": ("c2", "c1x")}, "crawl partition 'c1x' is unknown; near it: c1; there are c1, c2"),
    (["cleaned"], {"pattern": "d*"}, "no crawl partition is like 'd*'; there are c1, c2"),
    (["cleaned"], {}, "cleaned is made by crawl partition: say which by --partitions a,b, --partitions-like 'GLOB'"),
    (["left", "total", "summary"], {"is_all": True}, "total, summary are made of all crawl partitions together: leave"),
    (["landed_crawl"], {"is_all": True}, "landed_crawl is what was delivered, and not made: deliver it again"),
    (["cleaned"], {"is_all": True, "keys": ("c1",)}, "exclude each other: give one of them"),
    (
        ["cleaned"],
        {"keys": ("c3",)},
        "crawl partition c3 is quarantined (cleaned failed 1 times, last: it is broken): deliver",
    ),
]


def test_what_cannot_be_backfilled_is_refused_by_name_and_with_what_to_do(made_home: Home) -> None:
    attempt = FailedAttempt(asset="cleaned", crawl="c3", code_version="1", error_kind="x", error="it is broken")
    assert note_failures(made_home, [attempt], run_id="1", max_attempts=1) == [attempt]
    pipeline = toy_pipeline(made_home)
    for assets, which, said in REFUSED:
        with pytest.raises(ConfigError) as refused:
            scope_of_backfill(pipeline, made_home, assets, WhichPartitions(**which), with_downstream=False)
        assert said in str(refused.value)
    assert WhichPartitions(pattern="c[13]").among(made_home) == {"c1"}
    assert WhichPartitions(is_all=True).among(made_home) == {"c1", "c2"}


def test_a_scope_until_an_asset_has_all_that_it_is_made_from(made_home: Home, instance: DagsterInstance) -> None:
    pipeline = toy_pipeline(made_home, cleaned_version="2", halves_version="2")
    scope = scope_until(pipeline, ["total"])
    assert scope.reach.keys() == {"cleaned", "total"}
    report = run_main_job(pipeline, instance, made_home, scope)
    assert sorted(made(made_home)) == ["cleaned c1", "cleaned c2", "cleaned c3"]
    assert report.by_asset["total"].reused == 1


# The real graph.


def test_cheap_assets_of_many_partitions_are_made_in_one_run_each_and_one_that_fails_fails_alone(
    tmp_path: Path, instance: DagsterInstance
) -> None:
    crawls, crawl = [f"c{number:02d}" for number in range(12)], tmp_path / "crawl"
    crawl.mkdir()
    for key in crawls:
        write_pages(crawl / f"{key}.parquet", f"The page of {key} tells of the number {key[1:]}.")
    home = Home.at(tmp_path / "home")
    register_deliveries(home, instance, crawl)
    pipeline = build_pipeline(Settings.from_env({"NYX_HOME": str(home.root), "NYX_RECIPE": "smoke"}), home)
    run_main_job(pipeline, instance, home, scope_until(pipeline, ["chunked_corpus"]))
    before = {key: commit.written_at for key in crawls if (commit := home.commit("chunked_corpus", key))}
    assert before.keys() == set(crawls)
    whole = (crawl / "c05.parquet").read_bytes()
    (crawl / "c05.parquet").write_bytes(whole[:4] + bytes(100) + whole[104:])

    num_runs = instance.get_runs_count()
    scope = scope_of_backfill(
        pipeline,
        home,
        ["crawl_documents", "chunked_corpus"],
        WhichPartitions(keys=tuple(crawls[:8])),
        with_downstream=False,
    )
    report = run_main_job(pipeline, instance, home, scope)
    assert (
        instance.get_runs_count() - num_runs == 1 + 2
    )  # all documents; chunks of those before and after the broken one
    for name in ("crawl_documents", "link_rot"):
        assert (report.by_asset[name].made, report.by_asset[name].failed) == (7, 1)
    assert (report.by_asset["chunked_corpus"].made, report.by_asset["chunked_corpus"].blocked) == (7, 1)
    [failure, *_] = report.failures
    assert failure.startswith("crawl_documents failed: Failure: 1 of 8 partitions failed, e.g. c05: ")
    checked = instance.get_latest_data_version_record(key_of("chunked_corpus"), partition_key="c07")
    assert checked is not None
    assert checked.run_id == instance.get_runs(limit=1)[0].run_id


def own_prompts(folder: Path) -> Path:
    """As a user has them: a folder with one prompt in other words."""
    own = folder / "prompts" / "nyxqa" / "write_text_only_qa.v1.md"
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text(f"{load_prompt('nyx_assets.nyxqa', 'write_text_only_qa.v1').text}\n\nWrite plainly!\n")
    return folder / "prompts"


@contextmanager
def another_prompt(folder: Path) -> Iterator[None]:
    """The environment names them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NYX_PROMPTS", str(own_prompts(folder)))
        yield


class World:
    """A home of three crawls that is made as far as the pairs, and the server that played the roles."""

    def __init__(self, folder: Path, service: OfflineService) -> None:
        self.home, self.crawl, self.service = Home.at(folder / "home"), folder / "crawl", service
        self.crawl.mkdir()
        for key in CRAWLS:
            write_pages(
                self.crawl / f"{key}.parquet",
                *(
                    f"The lighthouse number {number} stands on the cape of {key} and was built in {1800 + number} by "
                    f"Marta Olsen of {key.title()}."
                    for number in range(1, 4)
                ),
            )
        assert make(self.crawl, until="filtered_qa") == 0

    @property
    def paid(self) -> int:
        return sum(self.service.counts()["answers"].values())

    def nyx(self, *arguments: str) -> Result:
        console = logging.getLogger("nyx")
        before = console.handlers, console.propagate, console.level
        try:
            return CliRunner().invoke(main, [*arguments])
        finally:  # a command shows its progress on a stream that is closed by now
            console.handlers, console.propagate = before[:2]
            console.setLevel(before[2])

    def versions(self, asset: str) -> dict[str, tuple[str, str]]:
        """By crawl: the content, and the run that made it."""
        found = {}
        with open_instance(self.home) as instance:
            for crawl in CRAWLS:
                commit = self.home.commit(asset, crawl)
                record = instance.get_latest_data_version_record(key_of(asset), partition_key=crawl)
                assert commit is not None
                assert record is not None
                found[crawl] = (commit.data_version, record.run_id)
        return found

    def stale(self, *assets: str) -> dict[str, int]:
        rows = {row["asset"]: row for row in json.loads(self.nyx("status", "--json").stdout)}
        return {asset: rows[asset]["stale"] for asset in assets}

    def asked(self) -> Counter[tuple[str, str]]:
        """Calls in the ledger by asset and crawl."""
        files = (self.home.root / "vlm" / "ledger").glob("*.jsonl")
        rows = (json.loads(line) for file in files for line in file.read_text().splitlines())
        return Counter((row["asset"], row["partition"]) for row in rows)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("backfill")
    with serve_offline_vlm(OfflineService()) as service, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NYX_HOME", str(folder / "home"))
        patch.setenv("NYX_RECIPE", "smoke")
        for role in ("TEACHER", "GENERATOR", "JUDGE"):
            patch.setenv(f"NYX_{role}_BASE_URL", service.base_url)
            patch.setenv(f"NYX_{role}_MODEL", STAND_IN_MODEL)
        yield World(folder, service)


def test_questions_of_two_crawls_are_written_again_with_another_prompt_and_only_what_depends_on_them_is_stale(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    raw, pairs, paid = world.versions("raw_qa"), world.versions("filtered_qa"), world.paid
    calls = 3  # a crawl: one chunk a page, asked about in one way
    command = ("backfill", "raw_qa", "--partitions", "harbour, inland")
    with another_prompt(tmp_path):
        plan = world.nyx(*command, "--dry-run", "--json")
        assert plan.exit_code == 0, plan.output
        [line] = json.loads(plan.stdout)["lines"]
        assert (line["asset"], line["calls"]["likely"], line["basis"]) == ("raw_qa", 2 * calls, "counted")
        work = json.loads(plan.stdout)["work"]
        assert {(one["asset"], one["partition"]) for one in work} == {("raw_qa", "harbour"), ("raw_qa", "inland")}
        assert work[0]["reasons"][0] == "asked for"
        assert (world.versions("raw_qa"), world.paid) == (raw, paid)  # nothing is made, nothing is asked

        monkeypatch.setenv("NYX_MAX_CALLS", str(paid + calls))
        stopped = world.nyx(*command)
        assert stopped.exit_code == STOPPED_BY_CAP
        assert world.paid == paid + calls
        assert f"NYX_MAX_CALLS={paid + calls}" in stopped.stderr
        assert "raw_qa, teacher offline-extractive: 3 calls, 3 answered already" in stopped.stderr
        monkeypatch.delenv("NYX_MAX_CALLS")

        done = world.nyx(*command)
        assert done.exit_code == 0, done.output
        assert world.paid == paid + 2 * calls
        assert "reads sampled_chunks of 2 partitions: harbour, inland as it stands; it is not current" in done.stdout
        assert "filtered_qa of 2 partitions: harbour, inland\n" in done.stdout
        assert world.stale("raw_qa")["raw_qa"] == 1  # the crawl that was not named, under the other prompt
    again = world.versions("raw_qa")
    assert again["islands"] == raw["islands"]
    for crawl in ("harbour", "inland"):
        assert again[crawl][1] != raw[crawl][1]

    # with the prompt of before: what was backfilled stays, and only what depends on it is made
    assert world.stale("raw_qa", "sampled_chunks", "filtered_qa") == {
        "raw_qa": 0, "sampled_chunks": 0, "filtered_qa": 2,
    }  # fmt: skip
    assert "raw_qa: 2 partitions stay as a backfill made them, with other settings" in world.nyx("status").stdout
    asked = world.asked()
    assert make(world.crawl, until="filtered_qa") == 0
    assert world.versions("raw_qa") == again
    after = world.versions("filtered_qa")
    assert after["islands"] == pairs["islands"]
    assert {crawl for crawl in CRAWLS if after[crawl][1] != pairs[crawl][1]} == {"harbour", "inland"}
    new = world.asked() - asked
    assert {asset for asset, _ in new} == {"filtered_qa"}
    assert {crawl for _, crawl in new} == {"harbour", "inland"}
    paid = world.paid
    assert world.nyx("backfill", "raw_qa", "--partitions-like", "h*").exit_code == 0
    assert world.paid == paid  # back to the prompt of before, whose replies are kept
    assert world.versions("raw_qa")["harbour"][0] == raw["harbour"][0]


def test_what_landed_is_priced_when_its_files_are_not_in_the_crawl_any_more(world: World, tmp_path: Path) -> None:
    command = ("backfill", "raw_qa", "--all-partitions", "--dry-run", "--json")
    aside = tmp_path / "rotated"
    aside.mkdir()

    def planned(*command: str) -> tuple[Any, ...]:
        with another_prompt(tmp_path):
            plan = world.nyx(*command)
        assert plan.exit_code == 0, plan.output
        found = json.loads(plan.stdout)
        calls = {one["asset"]: one["calls"]["likely"] + one["kept"] for one in found["lines"]}
        return calls["raw_qa"], found["refused"], len(found["work"])

    asked, refused, num_places = planned(*command)
    assert (asked, refused) == (3 * len(CRAWLS), [])
    again = ("backfill", "chunked_corpus", "raw_qa", *command[2:])
    try:
        for name in ("harbour", "inland"):
            (world.crawl / f"{name}.parquet").rename(aside / f"{name}.parquet")
        assert planned(*command) == (asked, [], num_places)  # a part of the crawl was rotated away
        assert planned("plan", "--json")[:2] == (asked, [])
        asked_again, [left_out], _ = planned(*again)
        assert asked_again < asked
        assert left_out.startswith("harbour, inland: to be cut into chunks, and not to be read in the crawl now")
        world.crawl.rename(aside / "crawl")
        assert planned(*command) == (asked, [], num_places)  # nothing is mounted there
    finally:
        if not world.crawl.exists():
            (aside / "crawl").rename(world.crawl)
        for path in aside.glob("*.parquet"):
            path.rename(world.crawl / path.name)


def test_a_run_that_a_cap_stopped_says_so_with_its_status_also_where_no_plan_can_be_made(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def no_plan() -> str:
        raise DataError("crawl folder c is not there")

    with pytest.raises(SystemExit) as ended:
        exit_of(JobReport(stopped_by_cap="NYX_MAX_CALLS=2 is reached"), no_plan)
    assert ended.value.code == STOPPED_BY_CAP
    said = capsys.readouterr().err
    assert said.index("Stopped: NYX_MAX_CALLS=2 is reached") < said.index("not known: crawl folder c is not there")


def test_with_downstream_the_pairs_of_the_named_crawl_follow_and_nothing_else(world: World) -> None:
    raw, pairs = world.versions("raw_qa"), world.versions("filtered_qa")
    pipeline = build_pipeline(Settings.from_env({"NYX_HOME": str(world.home.root), "NYX_RECIPE": "smoke"}), world.home)
    scope = scope_of_backfill(
        pipeline, world.home, ["raw_qa"], WhichPartitions(keys=("islands",)), with_downstream=True
    )
    assert scope.reach["filtered_qa"] == {"islands"}
    assert scope.reach["training_manifest"] == {None}
    assert scope.reach["feedback_preferences"] == set(CRAWLS)  # through the checkpoint
    assert "chunked_corpus" not in scope.reach
    assert "promoted/chunk_embeddings" in scope.reach
    assert stale_inputs(pipeline, world.home, scope) == {}
    assert {"negatives", "pretrained_checkpoint"} <= stale_after(pipeline, world.home, scope)["will"].keys()
    assert (world.versions("raw_qa"), world.versions("filtered_qa")) == (raw, pairs)
