"""A role is played by its server behind cache and ledger, or by the stand-in, and says which."""

import json
from pathlib import Path

import pytest

from resources.home import Home
from resources.settings import Settings
from resources.vlm import Message, Reply, Request, Sampling, complete_all
from resources.vlm_roles import VLMRole
from resources.vlm_server import OfflineService, serve_offline_vlm
from training_kernels.documents import Document

MODEL = "offline-extractive"
"""What the loopback server serves."""
QUESTION = Request(
    messages=(
        Message("system", Document.of("Task: answer from documents\n\nShort.")),
        Message(
            "user", Document.of("Document 1:", "The tower was built by Ada Lund in 1911.", "Question:", "Who built it?")
        ),
    ),
    sampling=Sampling(temperature=0.0, max_output_tokens=20, seed=3, json_schema=None),
    prompt_version="t",
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.at(tmp_path / "home")


def asked(role: VLMRole, asset: str, partition: str | None) -> Reply:
    (reply,) = complete_all(role.for_step(asset, partition), [QUESTION])
    assert isinstance(reply, Reply)
    return reply


def ledger(home: Home) -> list[dict]:
    files = sorted((home.root / "vlm" / "ledger").rglob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_without_a_server_the_stand_in_plays_and_says_so(home: Home) -> None:
    role = VLMRole.of("teacher", Settings.from_env({}), home)
    assert role.is_stand_in
    assert "stand-in" in role.described
    asked(role, "raw_qa", "c1")
    (row,) = ledger(home)
    assert (row["asset"], row["partition"], row["cost_usd"], row["is_stand_in"]) == ("raw_qa", "c1", 0.0, True)


def test_a_reply_is_paid_for_once_whichever_asset_or_process_asks(home: Home) -> None:
    with serve_offline_vlm(OfflineService()) as service:
        env = {
            "NYX_GENERATOR_BASE_URL": service.base_url,
            "NYX_GENERATOR_MODEL": MODEL,
            "NYX_GENERATOR_USD_PER_MILLION_INPUT": "1000",
            "NYX_GENERATOR_USD_PER_MILLION_OUTPUT": "0",
        }
        first = asked(VLMRole.of("generator", Settings.from_env(env), home), "feedback_preferences", "c1")
        second = asked(VLMRole.of("generator", Settings.from_env(env), home), "rag_scores", None)
        other = VLMRole.of("judge", Settings.from_env(env), home)
    assert other.is_stand_in
    assert not first.is_cached
    assert second.is_cached
    rows = sorted(ledger(home), key=lambda row: row["is_cached"])
    assert [(row["asset"], row["partition"], row["model"]) for row in rows] == [
        ("feedback_preferences", "c1", MODEL),
        ("rag_scores", None, MODEL),
    ]
    assert rows[0]["cost_usd"] == pytest.approx(first.input_tokens * 1000 / 1_000_000)
    assert rows[0]["cost_usd"] > 0
    assert rows[1]["cost_usd"] == 0.0


def test_a_role_is_named_by_its_model(home: Home) -> None:
    env = {"NYX_JUDGE_BASE_URL": "http://127.0.0.1:9/v1", "NYX_JUDGE_MODEL": "judge-7b"}
    role = VLMRole.of("judge", Settings.from_env(env), home)
    assert (role.model, role.described, role.is_stand_in) == ("judge-7b", "judge-7b", False)
