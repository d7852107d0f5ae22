"""Runs and golds as files for other people's tools."""

from pathlib import Path

import pytest

from nyx_assets.evaluation.suites import Suite, SuiteQuery
from nyx_assets.evaluation.trec import published_runs, write_qrels, write_trec_run
from resources.home import Home
from training_kernels.documents import Document
from training_kernels.errors import DataError


def test_a_trec_run_has_a_line_for_each_hit(tmp_path: Path) -> None:
    write_trec_run(tmp_path / "run", {"q1": [("b", 2.5), ("a", 0.1)], "q2": [], "q3": [("c", -1.0)]}, run_name="bm25")
    assert (tmp_path / "run").read_text() == "q1 Q0 b 1 2.5 bm25\nq1 Q0 a 2 0.1 bm25\nq3 Q0 c 1 -1.0 bm25\n"
    with pytest.raises(DataError, match="cannot hold"):
        write_trec_run(tmp_path / "run", {"q 1": [("b", 2.5)]}, run_name="bm25")


def test_golds_have_a_line_each(tmp_path: Path) -> None:
    write_qrels(tmp_path / "qrels", {"q1": {"b": 1, "c": 3}, "q2": {"a": 1}})
    assert (tmp_path / "qrels").read_text() == "q1 0 b 1\nq1 0 c 3\nq2 0 a 1\n"


def test_files_of_an_evaluation_replace_those_of_the_last_one_together(tmp_path: Path) -> None:
    home, suite = Home.at(tmp_path), Suite("s", {}, (SuiteQuery("q", Document.of("x"), {"a": 1}),))
    with published_runs(home) as runs:
        runs.qrels(suite, "dev")
        runs.run(suite, "dev", "bm25", [[("a", 1.0)]])
    folder = tmp_path / "artifacts" / "trec"
    assert sorted(file.name for file in folder.iterdir()) == ["s.dev.bm25.run", "s.dev.qrels"]
    with pytest.raises(DataError, match="cannot hold"), published_runs(home) as runs:
        runs.run(suite, "dev", "bm25", [[("no name", 1.0)]])
    assert sorted(file.name for file in folder.iterdir()) == ["s.dev.bm25.run", "s.dev.qrels"]
    with published_runs(home) as runs:
        runs.qrels(suite, "test")
        runs.qrels(Suite("none", {}, ()), "test")
    assert [file.name for file in folder.iterdir()] == ["s.test.qrels"]
    assert [file.name for file in folder.parent.iterdir()] == ["trec"]
