"""What a person reads at the end of a run says what happened, and nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance

from nyx_assets.definitions import build_pipeline
from nyx_assets.main_job import AssetReport, JobReport, Pipeline
from nyx_assets.materialization import expected_provenance
from nyx_assets.partitions import CRAWL
from nyx_assets.records import FINAL_INDEX, RAG_SCORES, RAW_QA, RETRIEVAL_SCORES
from nyx_assets.reporting import job_report_json, job_report_text, scores_of, status_rows, status_text
from resources.home import Home
from resources.settings import Settings
from resources.tables import Provenance

SERVERS = {
    name: value
    for role in ("TEACHER", "GENERATOR", "JUDGE")
    for name, value in ((f"NYX_{role}_BASE_URL", "http://127.0.0.1:9/v1"), (f"NYX_{role}_MODEL", "m"))
}


@pytest.fixture
def pipeline(home: Home) -> Pipeline:
    return build_pipeline(Settings.from_env({}), home)


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(str(CRAWL.name), ["p", "q"])
        yield instance


def report(*, made: int = 0, failures: tuple[str, ...] = ()) -> JobReport:
    asset = AssetReport(made=made, reused=2, blocked=1, num_rows=12_345, seconds=3.25)
    return JobReport({"raw_qa": asset}, list(failures), 7.5)


def write(
    home: Home,
    name: str,
    schema: Any,
    *rows: dict[str, Any],
    partition: str | None = None,
    made_of: Provenance | None = None,
) -> None:
    empty = dict.fromkeys(schema.names)
    provenance = made_of or Provenance(code_version="1")
    with home.tables.write(name, schema, partition=partition, provenance=provenance) as table:
        table.append({**empty, **row} for row in rows)


def score(retriever: str, dim: int, metric: str, value: float, **where: str) -> dict[str, Any]:
    return {
        "retriever": retriever,
        "dim": dim,
        "metric": metric,
        "value": value,
        "suite": "nyxqa",
        "split": "test",
        "modality": "all",
        **where,
    }


@pytest.fixture
def scored(home: Home) -> Home:
    write(
        home, "retrieval_scores", RETRIEVAL_SCORES,
        score("finetuned", 128, "ndcg@10", 0.75), score("finetuned", 16, "ndcg@10", 0.25), score("bm25", 0, "ndcg@10", 0.5),
        score("bm25", 0, "ndcg@10", 0.9, split="dev"), score("bm25", 0, "ndcg@10", 0.8, modality="image"),
    )  # fmt: skip
    write(home, "rag_scores", RAG_SCORES, score_of_answers("none", 0.125), score_of_answers("bm25", 0.625))
    return home


def score_of_answers(retriever: str, value: float) -> dict[str, Any]:
    return {"retriever": retriever, "metric": "token_f1", "value": value, "split": "test"}


def test_scores_are_those_of_the_test_split_over_all_queries_at_full_width(home: Home, scored: Home) -> None:
    assert {row.pop("retriever"): row for row in scores_of(scored)} == {
        "finetuned": {"ndcg@10": 0.75},
        "bm25": {"ndcg@10": 0.5, "token_f1": 0.625},
        "none": {"token_f1": 0.125},
    }


def test_before_the_first_evaluation_there_are_no_scores(home: Home) -> None:
    assert scores_of(home) == []


def test_a_report_shows_each_asset_and_its_scores(scored: Home, pipeline: Pipeline) -> None:
    text = job_report_text(report(made=3), scored, pipeline)
    (line,) = [line for line in text.splitlines() if line.startswith("raw_qa")]
    assert line.split() == ["raw_qa", "3", "2", "0", "1", "12,345", "3.2"]
    assert "3 tables and folders were made in 8 s." in text
    (line,) = [line for line in text.splitlines() if line.startswith("bm25")]
    assert line.split() == ["bm25", "0.500", "0.625"]
    assert "failures" not in text


def test_a_report_says_that_nothing_was_recomputed_only_if_all_is_current(home: Home, pipeline: Pipeline) -> None:
    assert "Nothing was recomputed: everything is current" in job_report_text(report(), home, pipeline)
    failed = job_report_text(report(failures=("raw_qa of partition p failed: out of money",)), home, pipeline)
    assert "everything is current" not in failed
    assert "0 tables and folders were made" in failed
    assert "1 failures" in failed
    assert "  - raw_qa of partition p failed: out of money" in failed.splitlines()


def test_a_stand_in_is_named_wherever_it_played(home: Home, pipeline: Pipeline) -> None:
    assert "teacher, generator, judge played by the offline stand-in" in job_report_text(report(), home, pipeline)
    one_real = {name: value for name, value in SERVERS.items() if "JUDGE" in name}
    text = job_report_text(report(), home, build_pipeline(Settings.from_env(one_real), home))
    assert "No VLM was asked: teacher, generator played" in text
    all_real = build_pipeline(Settings.from_env(SERVERS), home)
    assert "stand-in" not in job_report_text(report(), home, all_real)


def test_the_report_as_data_has_the_same_numbers(scored: Home) -> None:
    data = job_report_json(report(made=3, failures=("x",)), scored)
    assert data["assets"]["raw_qa"] == {
        "made": 3, "reused": 2, "failed": 0, "blocked": 1, "rows": 12_345, "seconds": 3.2,
    }  # fmt: skip
    assert (data["made"], data["failures"], data["seconds"], data["home"]) == (3, ["x"], 7.5, str(scored.root))
    assert len(data["scores"]) == 3


def test_status_counts_partitions_by_how_they_stand(home: Home, pipeline: Pipeline, instance: DagsterInstance) -> None:
    instance.add_dynamic_partitions(str(CRAWL.name), ["r", "s"])
    current = expected_provenance(pipeline.specs["raw_qa"], "p", home)
    write(home, "raw_qa", RAW_QA, {"qa_id": "1"}, {"qa_id": "2"}, partition="p", made_of=current)
    write(home, "raw_qa", RAW_QA, {"qa_id": "3"}, partition="q")
    write(home, "raw_qa", RAW_QA, {"qa_id": "4"}, partition="r", made_of=current)
    home.tables.quarantine("raw_qa", "r", "why")
    rows = {row.pop("asset"): row for row in status_rows(pipeline, instance, home)}
    assert rows["raw_qa"] == {"current": 1, "stale": 1, "missing": 1, "quarantined": 1, "rows": 4, "backfilled": 0}
    assert rows["final_index"] == {"current": 0, "stale": 0, "missing": 1, "quarantined": 0, "rows": 0, "backfilled": 0}
    assert list(rows) == list(pipeline.specs)


def test_status_says_what_is_live(home: Home, pipeline: Pipeline, instance: DagsterInstance) -> None:
    home.claim(Path("/some/crawl"))
    rows = status_rows(pipeline, instance, home)
    assert status_text(rows, home).endswith("no index is live yet")
    assert "crawl /some/crawl" in status_text(rows, home)
    versions = [
        {"version": "v1", "is_live": False, "num_chunks": 3, "dim": 8},
        {"version": "v2", "is_live": True, "num_chunks": 4321, "dim": 8},
    ]
    write(home, "final_index", FINAL_INDEX, *(dict.fromkeys(FINAL_INDEX.names) | version for version in versions))
    assert status_text(rows, home).endswith("live index: version v2, 4,321 chunks, dim 8")
