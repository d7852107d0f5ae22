"""What a plan foresees is what a run then does: over the toy graph of test_main_job.py, and over the real one."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from dagster import DagsterInstance

from benchmarks.factory import make
from nyx_assets.__main__ import main
from nyx_assets.main_job import run_main_job
from nyx_assets.partitions import CRAWL
from nyx_assets.past_runs import past_runs
from nyx_assets.planned_work import Foreseen, Landing
from nyx_assets.planning import PlannedWork
from nyx_assets.recipes import RECIPES
from nyx_assets.setting_notes import difference
from resources.home import Home
from tests.nyx_assets.test_main_job import land, toy_pipeline

Place = tuple[str, str | None]


def written(home: Home) -> dict[Path, int]:
    """Every table file, with a number that changes when it is written again."""
    return {path: path.stat().st_ino for path in (home.root / "tables").rglob("part-0.parquet")}


def foreseen(home: Home, landing: dict[str, Landing], **versions: str) -> dict[Place, PlannedWork]:
    pipeline = toy_pipeline(home, **versions)
    work = Foreseen(pipeline, home, landing).work(past_runs(pipeline, home, {}))
    return {(one.asset, one.partition): one for one in work}


def places(plan: dict[Place, PlannedWork], outlook: str) -> set[Place]:
    return {place for place, one in plan.items() if one.outlook == outlook}


def made_by_a_run(home: Home, instance: DagsterInstance, **versions: str) -> set[Place]:
    before = written(home)
    instance.add_dynamic_partitions(str(CRAWL.name), home.tables.partitions("landed"))
    run_main_job(toy_pipeline(home, **versions), instance, home)
    return {
        (path.relative_to(home.root / "tables").parts[0], None)
        if path.parent.parent.name == "tables"
        else (path.parent.parent.name, path.parent.name.removeprefix("crawl="))
        for path, number in written(home).items()
        if before.get(path) != number
    }


def agree(plan: dict[Place, PlannedWork], made: set[Place]) -> None:
    assert places(plan, "will") <= made <= places(plan, "will") | places(plan, "may"), (plan, made)


def test_of_a_new_home_everything_is_foreseen_and_made(home: Home, instance: DagsterInstance) -> None:
    # "landed" is no asset of the toy graph, so that its deliveries stand for a landed crawl
    plan = foreseen(home, {"c1": "new", "c2": "new"})
    land(home, c1=[10, 21], c2=[35])
    made = made_by_a_run(home, instance)
    assert places(plan, "will") == made
    assert plan["cleaned", "c1"].reasons[0] == "new crawl partition"
    assert plan["total", None].reasons == ("missing",)
    assert foreseen(home, {"c1": "same", "c2": "same"}) == {}
    assert made_by_a_run(home, instance) == set()


@pytest.fixture
def made_home(home: Home, instance: DagsterInstance) -> Home:
    land(home, c1=[10, 21], c2=[35])
    made_by_a_run(home, instance)
    return home


@pytest.mark.parametrize("number", [39, 57], ids=["whose content stays", "whose content changes"])
def test_a_changed_delivery_is_certain_and_what_reads_it_is_possible(
    made_home: Home, instance: DagsterInstance, number: int
) -> None:
    plan = foreseen(made_home, {"c1": "same", "c2": "changed"})
    land(made_home, c2=[number])
    agree(plan, made_by_a_run(made_home, instance))
    assert places(plan, "will") == {("cleaned", "c2")}
    assert plan["cleaned", "c2"].reasons == ("its delivery is changed",)
    assert plan["left", "c2"].reasons == ("cleaned of c2 is made again",)
    assert ("left", "c1") not in plan
    assert ("report", "c1") in plan  # through the total


def test_a_new_partition_is_certain_for_what_reads_all_of_them(made_home: Home, instance: DagsterInstance) -> None:
    plan = foreseen(made_home, {"c1": "same", "c2": "same", "c3": "new"})
    land(made_home, c3=[0])
    made = made_by_a_run(made_home, instance)
    agree(plan, made)
    assert {("total", None), ("summary", None), ("report", "c3")} <= places(plan, "will")
    assert plan["total", None].reasons == ("cleaned gets c3",)
    assert ("report", "c1") in places(plan, "may") - made  # the total stayed the same


def test_another_code_version_is_named_and_siblings_come_along(made_home: Home, instance: DagsterInstance) -> None:
    plan = foreseen(made_home, {"c1": "same", "c2": "same"}, halves_version="2")
    assert plan["left", "c1"].reasons == ("its code is version 2, it was made by 1",)
    agree(plan, made_by_a_run(made_home, instance, halves_version="2"))
    (made_home.root / "tables" / "right" / "crawl=c1" / "part-0.parquet").unlink()
    plan = foreseen(made_home, {"c1": "same", "c2": "same"}, halves_version="2")
    assert plan["left", "c1"].reasons == ("made together with right",)
    assert plan["right", "c1"].reasons == ("missing",)
    agree(plan, made_by_a_run(made_home, instance, halves_version="2"))


def test_what_is_quarantined_is_made_again_and_what_reads_it_only_if_it_changes(
    made_home: Home, instance: DagsterInstance
) -> None:
    made_home.tables.quarantine("cleaned", "c1", "for the test")
    plan = foreseen(made_home, {"c1": "same", "c2": "same"})
    assert places(plan, "will") == {("cleaned", "c1")}
    assert plan["cleaned", "c1"].reasons == ("quarantined: for the test",)
    agree(plan, made_by_a_run(made_home, instance))


def test_an_input_that_is_gone_for_good_blocks(made_home: Home, instance: DagsterInstance) -> None:
    shutil.rmtree(made_home.root / "tables" / "landed" / "crawl=c1")
    shutil.rmtree(made_home.root / "tables" / "cleaned" / "crawl=c1")
    plan = foreseen(made_home, {"c1": "same", "c2": "same"})
    assert plan["cleaned", "c1"].outlook == "blocked"
    assert plan["cleaned", "c1"].reasons == ("its input landed is missing or quarantined",)
    agree(plan, made_by_a_run(made_home, instance))


def test_a_difference_of_settings_names_the_fields_and_both_values() -> None:
    before = "MiningRecipe(miner='bm25', depth=10, keep=5, judge='none')"
    assert difference(before, before.replace("keep=5", "keep=3")) == "keep=5, now keep=3"
    both = before.replace("keep=5", "keep=3").replace("bm25", "untrained")
    assert difference(before, both) == "miner='bm25', now miner='untrained'; keep=5, now keep=3"


# The real graph, as far as the sampled chunks and the pairs about them.


def page(number: int, fact: str) -> dict[str, Any]:
    text = (
        f"The lighthouse number {number} stands on the cape of {fact} and was built in {1800 + number} by Marta Olsen."
    )
    general = {"url": f"https://example.org/{number}", "title": f"Lighthouse {number}", "language": "en"}
    return {
        "texts": [text],
        "images": [None],
        "metadata": json.dumps([None]),
        "general_metadata": json.dumps(general),
    }


def write_crawl(folder: Path, facts: list[str], *, name: str = "one") -> Path:
    folder.mkdir(exist_ok=True)
    rows = [page(number, fact) for number, fact in enumerate(facts)]
    pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    return folder


UNTIL_RAW_QA = ("crawl_documents", "rejected_documents", "link_rot", "chunked_corpus", "sampled_chunks", "raw_qa")


def planned(crawl: Path) -> dict[Place, dict[str, Any]]:
    done = CliRunner().invoke(main, ["plan", "--crawl", str(crawl), "--json"])
    assert done.exit_code == 0, done.output
    work = json.loads(done.stdout)["work"]
    return {(one["asset"], one["partition"]): one for one in work if one["asset"] in UNTIL_RAW_QA}


def files_of(home: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_size) for path in home.rglob("*") if path.is_file())


def test_over_the_real_graph_plan_and_run_agree_after_a_changed_page_prompt_and_recipe_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NYX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NYX_RECIPE", "smoke")
    home = Home.at(tmp_path / "home")
    crawl = write_crawl(tmp_path / "crawl", ["Norvik", "Utsira", "Sandvig"])
    write_crawl(crawl, ["Hirtshals", "Skagen"], name="two")

    def run_as_planned() -> dict[Place, dict[str, Any]]:
        """The plan, which changes no file and which the run then follows."""
        before_plan = files_of(home.root)
        plan = planned(crawl)
        assert files_of(home.root) == before_plan
        before = written(home)
        assert make(crawl, until="raw_qa") == 0
        made = {
            (path.parent.parent.name, path.parent.name.removeprefix("crawl="))
            for path, number in written(home).items()
            if before.get(path) != number
        } - {("landed_crawl", "one"), ("landed_crawl", "two")}
        will = {place for place, one in plan.items() if one["outlook"] == "will"}
        assert will <= made <= plan.keys()
        assert planned(crawl) == {}
        return plan

    plan = run_as_planned()
    assert {one["outlook"] for one in plan.values()} == {"will"}
    assert plan["raw_qa", "one"]["reasons"] == ["new crawl partition"]

    write_crawl(crawl, ["Norvik", "Utsira", "Lindesnes"])
    plan = run_as_planned()
    assert {partition for _, partition in plan} == {"one"}
    assert plan["crawl_documents", "one"]["reasons"] == ["its delivery is changed"]
    assert plan["raw_qa", "one"]["outlook"] == "may"
    assert all(one["seconds"] is not None and one["num_bytes"] for one in plan.values()), plan

    import nyx_assets.prompts

    load = nyx_assets.prompts.load_prompt

    def reworded(package: str, name: str) -> nyx_assets.prompts.Prompt:
        prompt = load(package, name)
        return replace(prompt, version=f"{name}@reworded") if name == "write_text_only_qa.v1" else prompt

    monkeypatch.setattr(nyx_assets.prompts, "load_prompt", reworded)
    plan = run_as_planned()
    will = {place for place, one in plan.items() if one["outlook"] == "will"}
    assert will == {("raw_qa", "one"), ("raw_qa", "two"), ("sampled_chunks", "one"), ("sampled_chunks", "two")}
    [reason] = plan["raw_qa", "two"]["reasons"]
    assert reason.startswith("qa.writing: ")
    assert "now write_text_only_qa.v1@reworded" in reason

    recipe = RECIPES["smoke"]()
    tokens = recipe.chunking.max_text_tokens
    changed = replace(recipe, chunking=replace(recipe.chunking, max_text_tokens=tokens - 1))
    monkeypatch.setitem(nyx_assets.recipes.RECIPES, "smoke", lambda: changed)
    plan = run_as_planned()
    assert plan["chunked_corpus", "one"]["outlook"] == "will"
    assert plan["chunked_corpus", "one"]["reasons"] == [
        f"chunking: max_text_tokens={tokens}, now max_text_tokens={tokens - 1}"
    ]
    assert plan["raw_qa", "one"]["outlook"] == "may"
