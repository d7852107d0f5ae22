"""Feedback over a server that counts its calls: a kill in the middle repeats none, and the rows are the same."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nyx_assets.feedback.trying import queries_of, tried
from nyx_assets.recipes import FEEDBACK_RECIPES, FeedbackRecipe
from resources.home import Home
from resources.settings import Settings
from resources.vlm import STAND_IN_MODEL
from resources.vlm_roles import VLMRole
from resources.vlm_server import OfflineService, serve_offline_vlm
from training_kernels.documents import Document

ROOT = Path(__file__).resolve().parents[3]
NUM_QUERIES, NUM_WINDOWS = 40, 6
RECIPE = replace(FEEDBACK_RECIPES["guarded"], top_k=NUM_WINDOWS, max_negatives=2)


def answer_from(home: Path, base_url: str, recipe: FeedbackRecipe = RECIPE) -> list[dict[str, Any]]:
    """The rows of all queries: query n finds its chunk in window n % NUM_WINDOWS + 1, and other towers in the others."""
    settings = Settings.from_env(
        {
            "NYX_HOME": str(home),
            "NYX_GENERATOR_BASE_URL": base_url,
            "NYX_GENERATOR_MODEL": STAND_IN_MODEL,
            "NYX_GENERATOR_MAX_IN_FLIGHT": "8",
        }
    )
    chunks, pairs, rankings = {}, [], []
    for number in range(NUM_QUERIES):
        text = f"The tower {number} was raised in {1000 + number} by the town of Lund."
        chunks[f"c{number}"] = Document.of(text)
        question = Document.of(
            f"What belongs in the gap: “The tower {number} was raised in ____ by the town of Lund.”?"
        )
        pairs.append({"qa_id": f"q{number:02}", "chunk_id": f"c{number:02}", "question": question.to_rows(), "options": [], "answer": str(1000 + number)})  # fmt: skip
        others = [f"c{(number + step) % NUM_QUERIES}" for step in range(1, NUM_WINDOWS)]
        others.insert(number % NUM_WINDOWS, f"c{number}")
        rankings.append([(chunk, 1.0 - place / 100) for place, chunk in enumerate(others)])
    role = VLMRole.of("generator", settings, Home.at(settings.home))
    vlm = role.for_step("feedback_preferences", "p")
    rows = [row for rows in tried(queries_of(pairs, rankings, recipe), vlm, chunks, recipe, seed=0) for row in rows]
    role.close()
    return rows


COMMAND = """
import json, sys
from pathlib import Path
from tests.nyx_assets.feedback.test_killing import answer_from
Path(sys.argv[3]).write_text(json.dumps(answer_from(Path(sys.argv[1]), sys.argv[2])))
"""


@pytest.mark.long
def test_three_kills_repeat_no_call_and_change_no_row(tmp_path: Path) -> None:
    with serve_offline_vlm(OfflineService()) as service:
        calm = answer_from(tmp_path / "calm", service.base_url)
    service = OfflineService(delay_seconds=0.1, max_concurrent=8)
    home, out = tmp_path / "home", tmp_path / "rows.json"
    with serve_offline_vlm(service):
        command = [sys.executable, "-c", COMMAND, str(home), service.base_url, str(out)]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        for _ in range(3):
            before = sum(service.counts()["attempts"].values())
            process = subprocess.Popen(command, cwd=ROOT, env=env)
            while sum(service.counts()["attempts"].values()) < before + 20 and process.poll() is None:
                time.sleep(0.005)
            assert process.poll() is None, "it was over before the kill: make it longer"
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        assert not out.exists()
        subprocess.run(command, cwd=ROOT, env=env, check=True)
        counts = service.counts()
    rows = json.loads(out.read_text())
    assert rows == calm
    assert set(counts["answers"].values()) == {1}
    assert sum(counts["answers"].values()) == len(rows)
    assert sum(counts["abandoned"].values()) == 0
    assert {row["window_rank"] for row in rows if row["role"] == "positive"} == {*range(1, NUM_WINDOWS + 1)}


@pytest.mark.parametrize("early_stop", [True, False])
def test_the_server_is_asked_for_what_the_rows_say_and_nothing_else(tmp_path: Path, early_stop: bool) -> None:
    recipe = replace(RECIPE, early_stop=early_stop)
    with serve_offline_vlm(OfflineService()) as service:
        rows = answer_from(tmp_path / "home", service.base_url, recipe)
        counts = service.counts()
        again = answer_from(tmp_path / "home", service.base_url, recipe)
        assert service.counts() == counts
    assert again == rows
    assert sum(counts["answers"].values()) == len(rows)
    left = {row["qa_id"]: row["num_not_asked"] for row in rows}
    assert len(rows) + sum(left.values()) == NUM_QUERIES * (1 + NUM_WINDOWS)
    # without early stop all; with it the windows down to the positive, at least three, and the one without a document
    each = [1 + max(number % NUM_WINDOWS + 1, 3) for number in range(NUM_QUERIES)]
    assert len(rows) == (sum(each) if early_stop else NUM_QUERIES * (1 + NUM_WINDOWS))
