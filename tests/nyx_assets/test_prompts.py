"""Prompts: a changed text is a changed version, and each begins with the task that the offline stand-in goes by."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from nyx_assets.prompts import load_prompt, prompt_versions, use_prompts
from resources.vlm_offline import RULES_BY_TASK
from training_kernels.errors import ConfigError

ALL = [
    ("nyx_assets.nyxqa", "write_text_only_qa.v1"),
    ("nyx_assets.nyxqa", "write_single_image_qa.v1"),
    ("nyx_assets.nyxqa", "write_multi_image_qa.v1"),
    ("nyx_assets.nyxqa", "refine_answer.v1"),
    ("nyx_assets.nyxqa", "write_options.v1"),
    ("nyx_assets.nyxqa", "judge_qa.v2"),
    ("nyx_assets.rag", "answer.v1"),
]


@pytest.mark.parametrize(("package", "name"), ALL)
def test_the_version_is_the_name_and_the_hash_of_what_is_said(package, name):
    prompt = load_prompt(package, name)
    assert prompt.version == f"{name}@{hashlib.sha256(prompt.text.encode()).hexdigest()[:12]}"
    assert len(prompt.text) > 200


def test_every_prompt_names_a_task_of_its_own_that_the_stand_in_knows():
    tasks = [load_prompt(package, name).text.split("\n")[0] for package, name in ALL]
    assert sorted(tasks) == sorted(RULES_BY_TASK)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    use_prompts(None)


def test_a_prompt_of_ones_own_takes_the_place_of_the_one_of_its_name(own: Path) -> None:
    packaged, other = load_prompt("nyx_assets.rag", "answer.v1"), load_prompt("nyx_assets.nyxqa", "judge_qa.v2")
    versions = prompt_versions("nyx_assets.rag")
    (own / "rag").mkdir()
    (own / "rag" / "answer.v1.md").write_text(f"{packaged.text}\nBe brief.\n")
    use_prompts(own)
    assert load_prompt("nyx_assets.rag", "answer.v1").text == f"{packaged.text}\nBe brief."
    assert load_prompt("nyx_assets.rag", "answer.v1").version != packaged.version
    assert load_prompt("nyx_assets.nyxqa", "judge_qa.v2") == other
    assert prompt_versions("nyx_assets.rag") != versions
    use_prompts(None)
    assert load_prompt("nyx_assets.rag", "answer.v1") == packaged


def test_a_prompt_that_would_have_no_effect_or_another_task_is_refused(own: Path) -> None:
    with pytest.raises(ConfigError, match="NYX_PROMPTS must be a folder"):
        use_prompts(own / "nowhere")
    (own / "rag").mkdir()
    (own / "rag" / "answers.v1.md").write_text("Answer.")
    with pytest.raises(
        ConfigError, match=r"rag/answers.v1.md, which takes no prompt's place; allowed: .*rag/answer.v1.md"
    ):
        use_prompts(own)
    (own / "rag" / "answers.v1.md").rename(own / "rag" / "answer.v1.md")
    use_prompts(own)
    with pytest.raises(ConfigError, match="must begin with the line"):
        load_prompt("nyx_assets.rag", "answer.v1")
