"""The stage as Dagster runs it, with the loopback server between it and the stand-in."""

import dataclasses
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from nyx_assets.definitions import build_pipeline
from nyx_assets.main_job import JobReport, run_main_job
from nyx_assets.materialization import name_of
from nyx_assets.nyxqa.funnel import funnel_text
from nyx_assets.registering import open_instance, register_deliveries
from resources.home import Home
from resources.settings import Settings
from resources.vlm import STAND_IN_MODEL
from resources.vlm_server import OfflineService, serve_offline_vlm
from sample_crawl import generate

ROLES = ("TEACHER", "GENERATOR", "JUDGE")


@pytest.fixture(scope="module")
def crawl(tmp_path_factory) -> Path:
    """One delivery of a bundled sample crawl, with its pictures."""
    folder = tmp_path_factory.mktemp("crawl")
    generate(folder, num_pages=48)
    for file in sorted(folder.glob("*.parquet"))[1:]:
        file.unlink()
    return folder


def make_nyxqa(home: Home, crawl: Path, base_url: str, model: str = STAND_IN_MODEL, recipe: str = "tiny") -> JobReport:
    """Bring everything up to the stage's tables up to date."""
    env = {"NYX_HOME": str(home.root), "NYX_RECIPE": recipe, "NYX_BACKBONE": "tiny-qwen2.5-vl"}
    for role in ROLES:
        env |= {f"NYX_{role}_BASE_URL": base_url, f"NYX_{role}_MODEL": model, f"NYX_{role}_MAX_RETRIES": "3"}
    with open_instance(home) as instance:
        register_deliveries(home, instance, crawl)
        pipeline = build_pipeline(Settings.from_env(env), home)
        wanted: set[str] = set()
        waiting = ["qa_funnel"]
        while waiting:
            name = waiting.pop()
            if name in pipeline.specs and name not in wanted:
                wanted |= set(pipeline.siblings[name])
                waiting += [
                    name_of(dependency.asset_key)
                    for sibling in pipeline.siblings[name]
                    for dependency in pipeline.specs[sibling].deps
                ]
        only = {name: spec for name, spec in pipeline.specs.items() if name in wanted}
        return run_main_job(dataclasses.replace(pipeline, specs=only), instance, home)


def calls_in(home: Home, asset: str) -> set[str]:
    """Digests of the requests of an asset that the ledger has."""
    from json import loads

    lines = [
        loads(line)
        for file in (home.root / "vlm" / "ledger").rglob("*.jsonl")
        for line in file.read_text().splitlines()
    ]
    return {line["request_digest"] for line in lines if line["asset"] == asset}


@pytest.mark.long
def test_pages_that_are_added_are_asked_about_and_nothing_is_asked_twice(tmp_path, crawl):
    home = Home.at(tmp_path / "home")
    (file,) = crawl.glob("*.parquet")
    whole = pq.read_table(file).slice(0, 7)
    assert whole.num_rows == 7
    faults = {"500": 0.02, "cut": 0.02, "not_json": 0.02}
    with serve_offline_vlm(OfflineService(fault_shares=faults, seed=4)) as service:
        pq.write_table(whole.slice(0, 3), file)
        assert make_nyxqa(home, crawl, service.base_url).failures == []
        asked_before = calls_in(home, "raw_qa")
        chunks_before = set(home.tables.read("chunked_corpus")["chunk_id"].to_pylist())
        pq.write_table(whole, file)
        assert make_nyxqa(home, crawl, service.base_url).failures == []
        assert service.faults_by_name.total() > 0
        assert set(service.answers_by_digest.values()) == {1}
    new_calls = [
        variant
        for row in home.tables.read("sampled_chunks").to_pylist()
        if row["chunk_id"] not in chunks_before
        for variant in row["variants"]
    ]
    assert new_calls
    assert len(calls_in(home, "raw_qa") - asked_before) == len(new_calls)
    funnel = home.tables.read("qa_funnel").to_pylist()
    assert funnel[-1]["num_out"] == home.tables.read("filtered_qa").num_rows > 0
    assert "options_not_solved" in funnel_text(home)


@pytest.mark.long
def test_a_round_trip_through_the_corpus_tries_older_pairs_again_and_asks_nothing_again(tmp_path, crawl):
    home, deliveries = Home.at(tmp_path / "home"), tmp_path / "deliveries"
    deliveries.mkdir()
    (deliveries / "images").symlink_to(crawl / "images")
    (file,) = crawl.glob("*.parquet")
    whole = pq.read_table(file)

    def ranks_looked_at() -> set[str]:
        return {
            row["partition"]
            for row in home.tables.query("SELECT DISTINCT crawl AS partition FROM qa_funnel").to_pylist()
        }

    with serve_offline_vlm(OfflineService()) as service:
        pq.write_table(whole.slice(0, 2), deliveries / "a.parquet")
        assert make_nyxqa(home, deliveries, service.base_url, recipe="nyx").failures == []
        made = home.commit("filtered_qa", "a")
        again = make_nyxqa(home, deliveries, service.base_url, recipe="nyx")
        assert (again.failures, again.num_made) == ([], 0)
        asked_about_a = calls_in(home, "filtered_qa")
        pq.write_table(whole.slice(2, 2), deliveries / "b.parquet")
        report = make_nyxqa(home, deliveries, service.base_url, recipe="nyx")
        assert report.failures == []
        assert report.by_asset["filtered_qa"].made == 2
        assert set(service.answers_by_digest.values()) == {1}
    assert ranks_looked_at() == {"a", "b"}
    assert (
        home.commit("filtered_qa", "a").provenance.inputs["chunked_corpus"] != made.provenance.inputs["chunked_corpus"]
    )
    assert asked_about_a < calls_in(home, "filtered_qa")


def test_a_server_that_refuses_every_call_fails_with_its_words_and_leaves_no_table(tmp_path, crawl):
    home = Home.at(tmp_path / "home")
    with serve_offline_vlm(OfflineService()) as service:
        report = make_nyxqa(home, crawl, service.base_url, model="no-such-model")
    assert any("by the teacher: not one of" in failure and "no-such-model" in failure for failure in report.failures)
    assert home.tables.all_partitions("raw_qa") == []
    assert home.tables.all_partitions("filtered_qa") == []
