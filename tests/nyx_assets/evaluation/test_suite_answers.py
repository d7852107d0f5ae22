"""Published questions answered by generators with what a retriever found, graded as their authors do."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from nyx_assets.__main__ import main
from nyx_assets.evaluation.suite_runs import evaluate_suite
from nyx_assets.recipes import tiny
from resources.home import Home
from resources.images import FolderImageStore
from resources.vlm import STAND_IN_MODEL, Reply, Request
from resources.vlm_offline import OfflineVLM
from resources.vlm_server import OfflineService, serve_offline_vlm
from training_kernels.errors import ConfigError

STORE = FolderImageStore("memory://suite-answers")
TOWERS = ("granite", "timber", "marble", "copper", "basalt", "limestone")


def gap(number: int) -> str:
    return f"What belongs in the gap: “The tower of Lund {number} was built of ____ by the town.”?"


@pytest.fixture
def suites(tmp_path: Path) -> Path:
    """HotpotQA with six questions, of which the last one's answer is a yes that no passage tells; ScienceQA with two."""
    rows = []
    for number, stone in enumerate(TOWERS):
        told = f"The tower of Lund {number} was built of {stone} by the town."
        rows.append(
            {
                "_id": f"q{number}", "question": gap(number), "answer": "yes" if number == 5 else f"The {stone}",
                "supporting_facts": [[f"Lund {number}", 0]], "context": [[f"Lund {number}", [told]], ["Tarn", ["A lake."]]],
            }
        )  # fmt: skip
    (tmp_path / "hotpotqa").mkdir()
    (tmp_path / "hotpotqa" / "hotpot_dev_distractor_v1.json").write_text(json.dumps(rows))
    problems = {
        str(number): {
            "question": "What belongs in the gap: “Magnets draw ____ towards them.”?" if number else "Which is it?",
            "choices": ["wood", "iron"], "answer": 1, "lecture": "Magnets draw iron towards them.", "split": "test",
            "hint": "", "image": "image.png",
        }
        for number in range(2)
    }  # fmt: skip
    for one in problems:
        (tmp_path / "scienceqa" / "test" / one).mkdir(parents=True)
        Image.new("RGB", (64, 48), "blue").save(tmp_path / "scienceqa" / "test" / one / "image.png")
    (tmp_path / "scienceqa" / "problems.json").write_text(json.dumps(problems))
    return tmp_path


class Mute:
    """A generator that never knows."""

    model, is_stand_in, max_in_flight = "mute", False, 1

    async def complete(self, request: Request) -> Reply:
        reply = OfflineVLM().answer(request)
        return replace(reply, text="unknown", model=self.model, is_stand_in=False)


def values(rows: list[dict[str, Any]]) -> dict[tuple[str, str, str], float]:
    return {(row["generator"], row["retriever"], row["metric"]): row["value"] for row in rows}


def test_every_generator_is_graded_with_nothing_with_the_golds_and_with_what_was_found(home, clock_embedders, suites):
    made = evaluate_suite(
        home, clock_embedders(), STORE, "hotpotqa", "bm25", tiny(), published=suites,
        generators=[OfflineVLM(), Mute()], max_answers=100,
    ).answers  # fmt: skip
    scores = values(made.scores)
    # an article more does not count; "yes" is told by no passage
    assert scores[STAND_IN_MODEL, "golden", "exact_match"] == scores[STAND_IN_MODEL, "bm25", "exact_match"] == 5 / 6
    assert scores[STAND_IN_MODEL, "none", "token_f1"] == 0.0
    assert {value for (generator, _, _), value in scores.items() if generator == "mute"} == {0.0}
    for row in made.scores:
        assert row["interval_low"] <= row["value"] <= row["interval_high"]
        assert (row["num_queries"], row["is_stand_in"]) == (6, row["generator"] == STAND_IN_MODEL)
    (gain,) = [
        row
        for row in made.differences
        if (row["generator"], row["metric"], row["retriever"], row["against"])
        == (STAND_IN_MODEL, "exact_match", "bm25", "none")
    ]
    assert gain["difference"] == 5 / 6
    blamed = {(row["generator"], row["outcome"]): row["num_answers"] for row in made.blame}
    assert (blamed[STAND_IN_MODEL, "right"], blamed[STAND_IN_MODEL, "misread"]) == (5, 1)
    assert blamed["mute", "misread"] == 6


def test_no_more_questions_are_asked_than_were_allowed_and_a_suite_without_answers_is_refused(
    home, clock_embedders, suites
):
    def asked(name: str) -> Any:
        return evaluate_suite(
            home, clock_embedders(), STORE, name, "bm25", tiny(), published=suites, generators=[Mute()], max_answers=2
        ).answers

    assert {row["num_queries"] for row in asked("hotpotqa").scores} == {2}
    passages = [{"id": "p0", "title": "", "text": "Lund has a tower."}]
    row = {"id": "q", "question": "Where is a tower?", "passages": passages, "gold_ids": ["p0"]}
    (suites / "mine.jsonl").write_text(json.dumps(row))
    with pytest.raises(ConfigError, match="suite mine brings no answers"):
        asked("qa_lines:mine")


def test_the_command_sends_a_scienceqa_picture_to_the_server_and_pays_for_no_answer_twice(
    suites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = OfflineService()
    with serve_offline_vlm(service):
        monkeypatch.setenv("NYX_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("NYX_SUITES", str(suites))
        for name, model in (("GENERATOR", STAND_IN_MODEL), ("SECOND", "nobody")):
            monkeypatch.setenv(f"NYX_{name}_BASE_URL", service.base_url)
            monkeypatch.setenv(f"NYX_{name}_MODEL", model)
        command = ["evaluate", "--suite", "scienceqa", "--retriever", "bm25", "--answers", "5", "--json"]
        printed = [CliRunner().invoke(main, command) for _ in range(2)]
        answers = service.counts()["answers"]
        monkeypatch.setenv("NYX_GENERATORS", "second")
        refused = CliRunner().invoke(main, command)
    assert (refused.exit_code, "nobody refused all of 6 calls" in refused.output) == (1, True)
    assert [one.exit_code for one in printed] == [0, 0], printed[0].output
    assert printed[0].stdout == printed[1].stdout
    assert set(answers.values()) == {1}
    scores = values(json.loads(printed[0].stdout)["scores"])
    # of two questions with one picture each, the lecture tells the answer of one
    accuracy = {shown: scores[STAND_IN_MODEL, shown, "option_accuracy"] for shown in ("none", "golden", "bm25")}
    assert accuracy == {"none": 0.0, "golden": 0.5, "bm25": 0.5}
    ledger = [
        json.loads(line)
        for file in (Home.at(tmp_path / "home").root / "vlm" / "ledger").glob("*.jsonl")
        for line in file.read_text().splitlines()
    ]
    ledger = [row for row in ledger if row["model"] == STAND_IN_MODEL]
    assert {(row["asset"], row["error"]) for row in ledger} == {("evaluate", None)}
    assert sum(not row["is_cached"] for row in ledger) == sum(answers.values())
