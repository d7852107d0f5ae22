"""Pages of blocked domains make no pairs, and neither does a picture that the judge finds unfit, where a judge is asked."""

from pathlib import Path

import pytest

from nyx_assets.nyxqa.unsafe import host_of
from nyx_assets.qa_recipes import QACheck
from nyx_assets.recipes import pipeline_recipe, recipe_of
from resources.settings import Settings
from training_kernels.documents import Document
from training_kernels.errors import ConfigError, VLMError

SOURCE = QACheck(name="unsafe_source", threshold=0)


@pytest.mark.parametrize(
    ("url", "is_blocked"),
    [
        ("https://bad.example/a", True),
        ("http://User:pw@WWW.BAD.example.:8080/a?b=https://good.example", True),
        ("https://any.thing.xxx", True),
        ("https://notbad.example/bad.example", False),
        ("https://bad.example.org", False),
        ("https://xxx.example", False),
        ("no address", False),
        ("https://[broken", False),
        (None, False),
    ],
)
def test_a_page_is_blocked_with_its_domain_and_what_is_below_it(town, url: str | None, is_blocked: bool) -> None:
    sorted_out = town.sort([town.draft()], SOURCE, url_by_doc={"d1": url})
    assert [row["rule"] for row in sorted_out.rejected] == ["unsafe_source"] * is_blocked
    if is_blocked:
        assert host_of(url) in sorted_out.rejected[0]["reason"]
        assert sorted_out.steps[-1].rejected_by_rule == {"unsafe_source": 1}


def test_the_judge_looks_at_pairs_with_pictures_only_and_its_refusal_is_no_approval(town) -> None:
    said = {
        "calm": {"score": 4, "reason": "arms"},
        "cruel": {"score": 5, "reason": "blood"},
        "shy": VLMError("HTTP 400"),
    }
    judge = town.ScriptedVLM(
        lambda request: next(said[name] for name in said if f"so {name}" in town.shown_to(request))
    )
    rows = [town.draft(f"Who built it so {name}?", qa_id=name) for name in said]
    rows += [town.draft(Document.of("Who burned", town.red, "so calm?"), qa_id="shown", chunk_id="c2")]
    rows += [town.draft("Which tower burned?", qa_id="no picture", chunk_id="c2")]
    sorted_out = town.sort(rows, QACheck(name="judged_unsafe", threshold=4), judge=judge)
    assert [row["qa_id"] for row in sorted_out.kept] == ["calm", "shown", "no picture"]
    assert [(row["rule"], row["reason"], row["measured"]) for row in sorted_out.rejected] == [
        ("judged_unsafe", "blood", 5),
        ("refused_call", "HTTP 400", None),
    ]
    assert len(judge.requests) == 4
    assert all(request.prompt_version.startswith("judge_safety.v1@") for request in judge.requests)


def test_a_file_of_domains_is_added_to_the_recipes(tmp_path: Path) -> None:
    file = tmp_path / "blocked.txt"
    file.write_text("# ours\nBad.Example  # seen in May\n\n.worse.example\n")
    ours = pipeline_recipe("nyx").qa.blocked_domains
    recipe = recipe_of(Settings.from_env({"NYX_RECIPE": "nyx", "NYX_BLOCKED_DOMAINS": str(file)}))
    assert recipe.qa.blocked_domains == (*ours, "bad.example", "worse.example")
    assert recipe_of(Settings.from_env({"NYX_RECIPE": "nyx"})).qa.blocked_domains == ours
    with pytest.raises(ConfigError, match=r"NYX_BLOCKED_DOMAINS must be a text file, got '/nowhere/at all'"):
        Settings.from_env({"NYX_BLOCKED_DOMAINS": "/nowhere/at all"})


def test_ours_blocks_by_domain_and_asks_no_judge_about_safety() -> None:
    names = {name: {check.name for check in pipeline_recipe(name).qa.checks} for name in ("nyx", "tiny", "nyx_paper")}
    assert {name: "unsafe_source" in checks for name, checks in names.items()} == {
        "nyx": True,
        "tiny": True,
        "nyx_paper": False,
    }
    assert not any("judged_unsafe" in checks for checks in names.values())
