"""The main job on an S3 store: the same tables as in a folder, a second host that has nothing left to make, and its search."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from nyx_assets.definitions import build_pipeline
from nyx_assets.evaluation.checks import guarded_suites, share_suites, suites_fingerprint
from nyx_assets.evaluation.suites import write_suite
from nyx_assets.main_job import run_main_job
from nyx_assets.registering import open_instance, register_deliveries
from resources.home import Home
from resources.settings import Settings
from resources.stores import SharedHome, files_below, open_store

LOADING = "import nyx_assets.definitions"
"""As Dagster loads the code location in its web server, daemon and runs."""


def corpus_made(settings: Settings, crawl: Path) -> dict[str, int]:
    """How many partitions of each asset of the corpus stage this host made."""
    home = Home.at(settings.home)
    home.claim(crawl)
    with open_instance(home) as instance:
        assert register_deliveries(home, instance, crawl) == ()
        pipeline = build_pipeline(settings, home)
        corpus = {name: spec for name, spec in pipeline.specs.items() if spec.group_name == "corpus"}
        report = run_main_job(replace(pipeline, specs=corpus), instance, home)
    assert report.failures == []
    return {name: asset.made for name, asset in report.by_asset.items()}


def test_the_corpus_stage_makes_the_very_tables_on_s3_that_it_makes_in_a_folder(
    small_home: Path, bucket: str, tmp_path: Path
) -> None:
    env = {"NYX_HOME": bucket, "NYX_RECIPE": "smoke"}
    one, other = (Settings.from_env(env | {"NYX_LOCAL": str(tmp_path / name)}) for name in ("one", "other"))
    crawl = small_home.parent / "crawl"
    made = corpus_made(one, crawl)
    here, there = Home.at(small_home), Home.at(one.home)
    for name in made:
        partitions = here.tables.all_partitions(name)
        assert there.tables.all_partitions(name) == partitions
        versions = [
            [commit.data_version for partition in partitions if (commit := home.tables.commit(name, partition))]
            for home in (here, there)
        ]
        assert versions[0] == versions[1], name
    pictures = {path.rpartition("/")[2].partition(".")[0] for path in there.images.fs.find(f"{bucket}/images")}
    assert pictures == set(here.tables.read("picture_signatures")["image"].to_pylist())
    assert {path.name for path in (tmp_path / "one").iterdir()}.isdisjoint({"tables", "images", "crawl.json"})
    assert set(corpus_made(other, crawl).values()) == {0}
    assert Home.at(other.home).crawl == crawl


def test_what_only_looks_at_a_home_on_s3_writes_nothing_there_or_here(
    small_home: Path, bucket: str, tmp_path: Path
) -> None:
    fs, base = open_store(bucket)
    fs.pipe_file(f"{base}/suites/mine/queries.jsonl", b"{}\n")
    there = files_below(fs, base)
    env = {"NYX_HOME": bucket, "NYX_LOCAL": str(tmp_path / "local"), "NYX_RECIPE": "smoke"}
    for arguments in (["-m", "nyx_assets", "plan", "--crawl", str(small_home.parent / "crawl")], ["-c", LOADING]):
        done = subprocess.run([sys.executable, *arguments], env=os.environ | env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert not (tmp_path / "local").exists()
    assert files_below(fs, base) == there


def test_a_suite_counts_the_same_on_all_hosts_and_is_sent_and_brought_by_a_run(bucket: str, tmp_path: Path) -> None:
    one, other = (
        Home.at(SharedHome(store=bucket, local=tmp_path / name, has_index_server=False)) for name in ("one", "other")
    )
    none = suites_fingerprint(one)
    assert none == suites_fingerprint(Home.at(tmp_path / "alone"))
    item = [{"id": "a", "segments": [{"type": "text", "text": "A harbour."}]}]
    write_suite(one.root / "suites" / "mine", corpus=item, queries=item, golds=[("a", "a", 1)])
    assert suites_fingerprint(one) != none == suites_fingerprint(other)
    assert [suite.name for suite in guarded_suites(one)] == ["mine"]
    sent = suites_fingerprint(one)
    assert none != sent == suites_fingerprint(other)
    assert not other.root.exists()
    assert [suite.name for suite in guarded_suites(other)] == ["mine"]
    assert suites_fingerprint(one) == sent == suites_fingerprint(other)
    with (other.root / "suites" / "mine" / "queries.jsonl").open("a") as file:
        file.write("\n")
    assert suites_fingerprint(other) != sent == suites_fingerprint(one)
    share_suites(other)
    assert sent != suites_fingerprint(one) == suites_fingerprint(other)
