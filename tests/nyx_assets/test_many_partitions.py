"""A backfill of cheap assets is one run: every partition has its own events, checks and data version, and fails alone."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterInstance

from nyx_assets.definitions import build_pipeline
from nyx_assets.failures import attempts_of
from nyx_assets.main_job import Pipeline
from nyx_assets.materialization import DATA_VERSION_TAG, key_of
from nyx_assets.registering import register_deliveries
from resources.home import Home
from resources.settings import Settings
from tests.deliveries import break_rows, count_one_more_page, write_pages

NUM_CRAWLS = 32
BROKEN, UNSOUND = "c07", "c09"
CRAWLS = [f"c{number:02d}" for number in range(NUM_CRAWLS)]


class World:
    def __init__(self, folder: Path, instance: DagsterInstance) -> None:
        self.instance, self.crawl, self.home = instance, folder / "crawl", Home.at(folder / "home")
        self.crawl.mkdir()
        for crawl in CRAWLS:
            write_pages(self.crawl / f"{crawl}.parquet", f"The page of {crawl} tells of the number {crawl[1:]}.")
        register_deliveries(self.home, instance, self.crawl)
        self.pipeline: Pipeline = build_pipeline(
            Settings.from_env({"NYX_HOME": str(self.home.root), "NYX_RECIPE": "smoke"}), self.home
        )

    def run(self, *names: str) -> dg.ExecuteInProcessResult:
        """One run of these assets over all partitions, as a backfill starts it."""
        return self.pipeline.defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            asset_selection=[key_of(name) for name in names],
            tags={"dagster/asset_partition_range_start": CRAWLS[0], "dagster/asset_partition_range_end": CRAWLS[-1]},
            raise_on_error=False,
        )

    def data_versions(self, name: str) -> dict[str, str]:
        """What Dagster holds for the present version of each partition."""
        versions = {}
        for crawl in CRAWLS:
            record = self.instance.get_latest_data_version_record(key_of(name), partition_key=crawl)
            if record is not None and record.asset_materialization is not None:
                versions[crawl] = (record.asset_materialization.tags or {})[DATA_VERSION_TAG]
        return versions

    def committed(self, name: str) -> dict[str, str]:
        return {
            crawl: commit.data_version
            for crawl in CRAWLS
            if (commit := self.home.tables.commit(name, crawl)) is not None
        }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with DagsterInstance.ephemeral() as instance:
        yield World(tmp_path_factory.mktemp("many"), instance)


def passed_by_partition(result: dg.ExecuteInProcessResult, check: str) -> dict[str | None, bool]:
    return {one.partition: one.passed for one in result.get_asset_check_evaluations() if one.check_name == check}


DOCUMENTS = ("crawl_documents", "rejected_documents", "link_rot")


def test_one_run_makes_every_partition_with_checks_and_data_versions_of_its_own(world: World) -> None:
    result = world.run(*DOCUMENTS, "chunked_corpus")
    assert result.success
    for name in (*DOCUMENTS, "chunked_corpus"):
        assert world.instance.get_materialized_partitions(key_of(name)) == set(CRAWLS)
        assert world.data_versions(name) == world.committed(name)
        assert len(world.committed(name)) == NUM_CRAWLS
    assert len(set(world.committed("chunked_corpus").values())) == NUM_CRAWLS
    for check in ("every_page_is_a_document_or_rejected", "no_chunk_is_over_its_limits"):
        passed = passed_by_partition(result, check)
        assert {crawl: passed[crawl] for crawl in CRAWLS} == dict.fromkeys(CRAWLS, True)
    rows = world.home.tables.read("chunked_corpus").to_pylist()
    assert {row["crawl"] for row in rows} == set(CRAWLS)


def test_a_partition_that_fails_in_a_run_of_many_is_named_and_the_others_are_made(world: World) -> None:
    before = world.committed("crawl_documents")
    break_rows(world.crawl / f"{BROKEN}.parquet")
    for crawl in CRAWLS[8:]:
        write_pages(world.crawl / f"{crawl}.parquet", f"Another page of {crawl}.")
    register_deliveries(world.home, world.instance, world.crawl)
    count_one_more_page(world.home, UNSOUND)
    result = world.run(*DOCUMENTS)
    assert not result.success
    after = world.committed("crawl_documents")
    assert {crawl for crawl in CRAWLS if after.get(crawl) != before[crawl]} == set(CRAWLS[8:])
    assert {
        crawl: version for crawl, version in world.data_versions("crawl_documents").items() if crawl in after
    } == after
    # Dagster runs no check after a step that fails; they are asked, and counted, all the same
    assert set(world.home.tables.partitions("crawl_documents")) == set(CRAWLS) - {UNSOUND}
    assert "2 pages landed, 1 became documents" in (
        world.home.tables.quarantine_reason("crawl_documents", UNSOUND) or ""
    )
    passed = passed_by_partition(result, "every_page_is_a_document_or_rejected")
    assert passed == {crawl: crawl != UNSOUND for crawl in CRAWLS if crawl != BROKEN}
    check = dg.AssetCheckKey(key_of("crawl_documents"), "every_page_is_a_document_or_rejected")
    kept = world.instance.event_log_storage.get_asset_check_execution_history(check, limit=2 * NUM_CRAWLS)
    status = {one.partition: one.status.value for one in kept if one.run_id == result.run_id}
    assert status == {crawl: "FAILED" if crawl == UNSOUND else "SUCCEEDED" for crawl in passed} | {BROKEN: "PLANNED"}
    infos = world.instance.event_log_storage.get_asset_check_partition_info([check])
    assert {one.partition_key for one in infos if not one.is_current} == {BROKEN}, "each is of what was made last"
    attempts = attempts_of(
        result.all_events,
        None,
        asset_of_node=world.pipeline.asset_of_node,
        code_version_of=world.pipeline.code_version_of,
    )
    counted = {(attempt.asset, attempt.crawl, attempt.error_kind == "check") for attempt in attempts}
    assert counted == {("crawl_documents", BROKEN, False), ("crawl_documents", UNSOUND, True)}


def test_a_check_that_fails_in_a_run_of_many_quarantines_its_partition_alone(world: World) -> None:
    for crawl in (BROKEN, UNSOUND):
        write_pages(world.crawl / f"{crawl}.parquet", "Whole again.")
    register_deliveries(world.home, world.instance, world.crawl)
    count_one_more_page(world.home, "c03")
    result = world.run(*DOCUMENTS)
    passed = passed_by_partition(result, "every_page_is_a_document_or_rejected")
    assert not result.success
    assert {crawl for crawl in CRAWLS if not passed[crawl]} == {"c03"}
    assert set(world.home.tables.partitions("crawl_documents")) == set(CRAWLS) - {"c03"}
    kinds = {
        (one.crawl, one.error_kind)
        for one in attempts_of(
            result.all_events,
            None,
            asset_of_node=world.pipeline.asset_of_node,
            code_version_of=world.pipeline.code_version_of,
        )
    }
    assert kinds == {("c03", "check")}
