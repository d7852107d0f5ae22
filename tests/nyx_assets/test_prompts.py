"""Prompts: a changed text is a changed version, and each begins with the task that the offline stand-in goes by."""

import hashlib

import pytest

from nyx_assets.prompts import load_prompt
from resources.vlm_offline import RULES_BY_TASK

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
