"""`nyx run` from a crawl to a live index, in processes of its own: complete, recorded, repeatable, and safe to kill."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest
from dagster import AssetCheckKey, AssetKey

from nyx_assets.definitions import build_pipeline
from nyx_assets.main_job import Pipeline
from nyx_assets.materialization import DATA_VERSION_TAG, key_of, name_of
from nyx_assets.registering import open_instance
from resources.home import Home
from resources.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
NYX = Path(sys.executable).with_name("nyx")


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "NYX_HOME": str(home), "NYX_RECIPE": "smoke", "OMP_NUM_THREADS": "1"}


def pipeline_of(home: Path) -> Pipeline:
    return build_pipeline(Settings.from_env({"NYX_HOME": str(home), "NYX_RECIPE": "smoke"}), Home.at(home))


def places(home: Home, pipeline: Pipeline) -> list[tuple[str, str | None]]:
    """Every asset with every partition that it should have."""
    crawls = home.tables.partitions("landed_crawl")
    return [
        (name, crawl)
        for name, spec in pipeline.specs.items()
        for crawl in (crawls if spec.partitions_def is not None else [None])
    ]


def test_the_first_run_makes_every_asset_of_every_partition(small_home: Path) -> None:
    report = json.loads((small_home.parent / "report.json").read_text())
    home, pipeline = Home.at(small_home), pipeline_of(small_home)
    assert report["failures"] == []
    assert report["made"] == len(places(home, pipeline))
    assert all(home.commit(name, crawl) for name, crawl in places(home, pipeline))
    assert {row["retriever"] for row in report["scores"]} >= {
        "bm25",
        "bm25+captions",
        "embedder+captions",
        "untrained",
        "pretrained",
        "finetuned",
    }


def test_dagster_has_rows_columns_code_and_data_version_of_every_asset(small_home: Path) -> None:
    home, pipeline = Home.at(small_home), pipeline_of(small_home)
    with open_instance(home) as instance:
        for name, crawl in places(home, pipeline):
            record = instance.get_latest_data_version_record(key_of(name), partition_key=crawl)
            event, commit = record.asset_materialization if record else None, home.commit(name, crawl)
            assert event is not None, (name, crawl)
            assert commit is not None
            assert event.metadata["dagster/row_count"].value == commit.num_rows, name
            assert (event.tags or {})[DATA_VERSION_TAG] == commit.data_version, name
            assert (event.tags or {})["dagster/code_version"] == pipeline.specs[name].code_version, name
            if home.tables.commit(name, crawl) is not None:
                assert event.metadata["dagster/column_schema"].value.columns, name


def test_every_blocking_check_passed_for_every_partition(small_home: Path) -> None:
    home, pipeline = Home.at(small_home), pipeline_of(small_home)
    graph = pipeline.defs.resolve_asset_graph()
    with open_instance(home) as instance:
        passed = {
            (
                entry.dagster_event.asset_check_evaluation_data.asset_check_key,
                entry.dagster_event.asset_check_evaluation_data.partition,
            )
            for run in instance.get_runs()
            for entry in instance.all_logs(run.run_id)
            if entry.dagster_event
            and entry.dagster_event.event_type_value == "ASSET_CHECK_EVALUATION"
            and entry.dagster_event.asset_check_evaluation_data.passed
        }
    crawls = home.tables.partitions("landed_crawl")
    wanted: set[tuple[AssetCheckKey, str | None]] = {
        (key, crawl)
        for key in graph.asset_check_keys
        for crawl in (crawls if pipeline.specs[name_of(AssetKey(key.asset_key.path))].partitions_def else [None])
    }
    assert passed == wanted


def test_the_tables_agree_with_each_other_and_with_the_crawl(small_home: Path, shared_data: Path) -> None:
    script = shared_data.parent / "checks" / "corpus_invariants.py"
    command = [sys.executable, script, small_home.parent / "crawl", small_home]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "BROKEN" not in done.stdout


def test_the_queries_of_the_readme_are_answered_by_the_catalogue(small_home: Path) -> None:
    block = re.search(r"```sql\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    queries = [query for query in block[1].split(";") if query.strip()]
    assert len(queries) == 3
    with duckdb.connect(str(small_home / "catalog.duckdb"), read_only=True) as catalog:
        url = catalog.execute(
            "SELECT url FROM filtered_qa JOIN crawl_documents USING (doc_id, crawl) LIMIT 1"
        ).fetchall()[0][0]
        pairs = catalog.execute(queries[0].replace("%harbour%", f"%{url}%")).fetchall()
        assert pairs
        assert all("stand-in" in teacher or "offline" in teacher for _, _, teacher, _ in pairs)
        assert catalog.execute(queries[1]).fetchall()
        assert {row[0] for row in catalog.execute(queries[2]).fetchall()} >= {"bm25", "finetuned"}
        # each pair's call is in the ledger
        lost = "SELECT count(*) FROM raw_qa ANTI JOIN vlm_calls USING (request_digest)"
        assert catalog.execute(lost).fetchall() == [(0,)]


@pytest.fixture
def copied_home(small_home: Path, tmp_path: Path) -> Path:
    shutil.copytree(small_home, tmp_path / "home")
    return tmp_path / "home"


def run(home: Path, *arguments: object) -> dict:
    done = subprocess.run(
        [NYX, "run", "--json", *map(str, arguments)], env=environment(home), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "leaked" not in done.stderr, "the report is the last thing that is said"
    return json.loads(done.stdout)


def test_a_second_run_makes_nothing(copied_home: Path) -> None:
    moved = run(copied_home)  # the views of the catalogue name the folder of their home, which is another one now
    assert {name for name, asset in moved["assets"].items() if asset["made"]} <= {"catalog"}
    report = run(copied_home)
    assert report["made"] == 0
    assert report["failures"] == []
    assert all(asset["reused"] and not asset["blocked"] for asset in report["assets"].values())


@pytest.mark.long
def test_a_checkpoint_that_was_damaged_is_made_again(copied_home: Path) -> None:
    home = Home.at(copied_home)
    before = home.artifacts.require("pretrained_checkpoint")
    (before.folder / "manifest.json").unlink()
    report = run(copied_home)
    assert {name for name, asset in report["assets"].items() if asset["made"]} - {"catalog"} == {
        "pretrained_checkpoint"
    }
    assert home.artifacts.require("pretrained_checkpoint").commit.data_version == before.commit.data_version


SAYS_WHEN = ("final_index", "index_settings", "quality_gate", "gate_comparisons")
"""Tables that hold a time, or what was live before: two homes with one content may differ in them."""


@pytest.mark.long
def test_a_run_killed_again_and_again_ends_with_the_same_tables(small_home: Path, tmp_path: Path) -> None:
    draw = random.Random(5)
    home = Home.at(tmp_path / "home")
    command = [NYX, "run", "--json", "--crawl", small_home.parent / "crawl"]
    finished: dict[tuple[str, str | None], str] = {}
    for _ in range(3):
        process = subprocess.Popen(
            command, env=environment(home.root), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        assert process.stderr is not None
        for _, line in zip(range(draw.randrange(6, 22)), process.stderr, strict=False):
            assert b"failed" not in line, line
        time.sleep(draw.random())
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stderr.close()
        commits = {place: home.commit(*place) for place in places(home, pipeline_of(home.root))}
        now = {place: f"{commit.data_version} {commit.written_at}" for place, commit in commits.items() if commit}
        # what was finished was not made again, but for the one step whose checks the kill before this one had cut off
        again = {name for (name, crawl) in finished if now[name, crawl] != finished[name, crawl]}
        assert len(again) <= 5, again
        finished = now
    report = run(home.root, "--crawl", small_home.parent / "crawl")
    assert report["failures"] == []
    calm = Home.at(small_home)
    for place in places(calm, pipeline_of(small_home)):
        killed, whole = home.commit(*place), calm.commit(*place)
        assert killed is not None
        assert whole is not None
        if place[0] not in SAYS_WHEN:
            assert killed.data_version == whole.data_version, place
    assert run(home.root)["made"] == 0


@pytest.mark.parametrize("table", ["raw_qa", "filtered_qa", "feedback_preferences", "retrieval_scores", "rag_scores"])
def test_tables_that_rest_on_the_stand_in_say_so(small_home: Path, table: str) -> None:
    assert set(Home.at(small_home).tables.read(table)["is_stand_in"].to_pylist()) == {True}
