"""Two feedback rounds over a real small home and a server that counts its calls, killed between them.

Run as a program (`python test_feedback_rounds.py`), it is the main job in a process of its own, to be killed.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nyx_assets.definitions import build_pipeline
from nyx_assets.main_job import JobReport, Pipeline, run_main_job
from nyx_assets.materialization import name_of
from nyx_assets.planned_run import plan_of
from nyx_assets.planning import Plan
from nyx_assets.recipes import RECIPES, smoke
from nyx_assets.registering import open_instance
from resources.home import Home
from resources.settings import Settings
from resources.vlm import STAND_IN_MODEL
from resources.vlm_server import OfflineService, serve_offline_vlm

ROOT = Path(__file__).resolve().parents[2]
WHATEVER, TOO_MUCH = -1.0, 0.99
"""Gains that every round, and no round, comes up to."""


def recipe(min_gain: float, preferences: str = "joined") -> Any:
    two = replace(smoke().rounds, number=2, min_gain=min_gain, preferences=preferences)
    return replace(smoke(), rounds=two, qa=replace(smoke().qa, dev_share=0.4))


def pipeline_of(home: Path, base_url: str, min_gain: float) -> tuple[Pipeline, Settings, Home]:
    RECIPES["smoke"] = lambda: recipe(min_gain)
    settings = Settings.from_env(
        {
            "NYX_HOME": str(home),
            "NYX_RECIPE": "smoke",
            "NYX_GENERATOR_BASE_URL": base_url,
            "NYX_GENERATOR_MODEL": STAND_IN_MODEL,
        }
    )
    opened = Home.at(settings.home)
    return build_pipeline(settings, opened), settings, opened


def plan(home: Path, base_url: str, *, min_gain: float) -> Plan:
    pipeline, settings, opened = pipeline_of(home, base_url, min_gain)
    assert opened.crawl is not None
    return plan_of(pipeline, settings, opened, opened.crawl)


def until(pipeline: Pipeline, name: str) -> Pipeline:
    """The pipeline without what an asset does not need: evaluation, index and report take longer than all of this."""
    needed, left = set(), [name]
    while left:
        if (one := left.pop()) not in needed and one in pipeline.specs:
            needed |= set(pipeline.siblings[one])
            left += [name_of(dependency.asset_key) for dependency in pipeline.specs[one].deps]
    return replace(pipeline, specs={one: spec for one, spec in pipeline.specs.items() if one in needed})


def run(home: Path, base_url: str, *, min_gain: float) -> JobReport:
    whole, _, opened = pipeline_of(home, base_url, min_gain)
    pipeline = until(whole, "finetuned/chunk_embeddings")
    with open_instance(opened) as instance:
        report = run_main_job(pipeline, instance, opened)
    pipeline.resources["generator"].close()
    return report


@pytest.fixture(autouse=True)
def recipes_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECIPES, "smoke", smoke)


def training_runs(home: Home) -> dict[str, int]:
    """When each finetuning was finished, in nanoseconds."""
    folder = home.root / "checkpoints" / "finetuned_checkpoint"
    return {one.parent.name: one.stat().st_mtime_ns for one in folder.glob("*/manifest.json")}


def round_rows(home: Home) -> list[dict[str, Any]]:
    return home.tables.read("feedback_rounds").to_pylist()


@pytest.mark.long
def test_a_second_round_is_tried_trained_scored_and_stopped_and_a_kill_between_rounds_repeats_nothing(
    small_home: Path, tmp_path: Path
) -> None:
    place = tmp_path / "home"
    shutil.copytree(small_home, place)
    home = Home.at(place)
    service = OfflineService()
    with serve_offline_vlm(service):
        # what another round asks is a range from nothing, since the first may gain too little
        lines = {line.asset: line for line in plan(place, service.base_url, min_gain=WHATEVER).lines}
        planned = lines["round_2/feedback_preferences"]
        assert planned.calls.low == 0 < planned.calls.likely < planned.calls.high

        process = subprocess.Popen(
            [sys.executable, __file__, str(place), service.base_url],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        while home.tables.commit("round_1/score", None) is None and process.poll() is None:
            time.sleep(0.01)
        assert process.poll() is None, "it was over before the kill"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        trained = training_runs(home)
        assert home.tables.commit("feedback_rounds", None) is None

        report = run(place, service.base_url, min_gain=WHATEVER)
        assert not report.failures
        assert set(service.counts()["answers"].values()) == {1}
        assert report.by_asset["feedback_preferences"].made == report.by_asset["round_1/checkpoint"].made == 0
        assert trained.items() <= training_runs(home).items()

        first, second = round_rows(home)
        assert (first["round"], second["round"]) == (1, 2)
        assert first["goes_on"]
        assert not second["goes_on"]
        assert "the last round of the recipe" in second["reason"]
        assert second["gain"] == pytest.approx(second["dev_score"] - first["dev_score"])
        tries = home.tables.read("round_2/feedback_preferences").to_pylist()
        # each window of the second round was paid for once, in one round or the other
        assert second["calls"] + second["cached_calls"] == len(tries)
        assert second["cached_calls"] > 0
        best = max((first, second), key=lambda row: row["dev_score"])
        assert [row["is_chosen"] for row in (first, second)] == [row is best for row in (first, second)]
        finetuned = home.artifacts.require("finetuned_checkpoint")
        assert finetuned.commit.data_version == best["checkpoint"]
        assert finetuned.folder == home.artifacts.require(f"round_{best['round']}/checkpoint").folder
        # what was embedded to score the round is not embedded again
        embedded = {name: report.by_asset[f"{name}/chunk_embeddings"].made for name in ("round_2", "finetuned")}
        assert embedded == {"round_2": 2, "finetuned": 2}

        answers = service.counts()["answers"]
        trained = training_runs(home)
        report = run(place, service.base_url, min_gain=TOO_MUCH)
        assert not report.failures
        (only,) = round_rows(home)
        assert (only["round"], only["goes_on"], only["is_chosen"]) == (1, False, True)
        assert "below the 0.99" in only["reason"]
        assert home.tables.read("round_2/feedback_preferences").num_rows == 0
        assert home.tables.read("round_2/score").num_rows == 0
        assert home.artifacts.require("finetuned_checkpoint").commit.data_version == only["checkpoint"]
        assert service.counts()["answers"] == answers
        assert training_runs(home) == trained


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2], min_gain=WHATEVER)
