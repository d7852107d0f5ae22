"""The asset graph as a whole: every asset says what it is, and depends on what it names."""

import dataclasses
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from nyx_assets.definitions import SECTIONS, build_pipeline, setting_values
from nyx_assets.main_job import Pipeline, levels
from nyx_assets.materialization import SETTINGS_KEY, name_of
from nyx_assets.partitions import CRAWL
from nyx_assets.recipes import RECIPES, pipeline_recipe
from nyx_assets.retrievers import DENSE_RETRIEVERS
from resources.home import Home
from resources.settings import ROLES, Settings

PUBLIC = {
    "crawl_documents", "rejected_documents", "chunked_corpus", "raw_qa", "filtered_qa", "rejected_qa", "negatives",
    "training_manifest", "pretrained_checkpoint", "feedback_preferences", "finetuned_checkpoint", "final_index",
    "retrieval_scores", "rag_scores", "quality_gate", "promoted_checkpoint",
}  # fmt: skip
PARTITIONED = {
    "crawl_documents", "rejected_documents", "link_rot", "chunked_corpus", "page_signatures", "picture_signatures",
    "chunk_signatures", "sampled_chunks", "raw_qa", "filtered_qa", "rejected_qa", "qa_funnel", "feedback_preferences",
    "chunk_captions", "caption_embeddings",
    *(f"{retriever.name}/chunk_embeddings" for retriever in DENSE_RETRIEVERS),
}  # fmt: skip


PUBLIC_SETS = {"public_examples", "refused_public_examples"}


def pipeline_of(home: Path, **env: str) -> Pipeline:
    return build_pipeline(Settings.from_env({"NYX_HOME": str(home), **env}), Home.at(home))


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return pipeline_of(tmp_path_factory.mktemp("home") / "home")


def code_versions(pipeline: Pipeline) -> dict[str, str]:
    return {name: str(spec.code_version) for name, spec in pipeline.specs.items()}


def test_every_public_asset_is_there_and_partitioned_as_promised(pipeline: Pipeline) -> None:
    assert set(pipeline.specs) >= PUBLIC
    by_crawl = {name for name, spec in pipeline.specs.items() if spec.partitions_def is not None}
    assert by_crawl == PARTITIONED
    assert {spec.partitions_def for spec in pipeline.specs.values()} == {CRAWL, None}


def test_every_asset_says_what_it_is(pipeline: Pipeline) -> None:
    specs = {name_of(spec.key): spec for spec in pipeline.defs.resolve_all_asset_specs()}
    assert specs.keys() == {*pipeline.specs, "landed_crawl"}
    for name, spec in specs.items():
        assert spec.description, name
        assert spec.code_version, name
        assert spec.group_name not in (None, "default"), name
        assert spec.owners, name
        assert spec.kinds, name
        assert "dagster/code_references" in spec.metadata, name


def test_a_crawl_of_which_nothing_lands_is_overdue(pipeline: Pipeline) -> None:
    graph = pipeline.defs.resolve_asset_graph()
    overdue = {name_of(key) for key in graph.get_all_asset_keys() if graph.get(key).freshness_policy is not None}
    assert overdue == {"landed_crawl", "final_index"}


def test_what_is_landed_is_external_and_partitioned(pipeline: Pipeline) -> None:
    node = pipeline.defs.resolve_asset_graph().get(dg.AssetKey("landed_crawl"))
    assert node.is_external
    assert node.partitions_def == CRAWL


def test_every_input_is_an_asset(pipeline: Pipeline) -> None:
    known = {*pipeline.specs, "landed_crawl"}
    for name, spec in pipeline.specs.items():
        assert {name_of(dependency.asset_key) for dependency in spec.deps} <= known, name


def test_inputs_come_before_what_reads_them(pipeline: Pipeline) -> None:
    seen = {"landed_crawl"}
    for name, spec in pipeline.specs.items():
        assert {name_of(dependency.asset_key) for dependency in spec.deps} <= seen, name
        seen.add(name)


def test_the_catalogue_is_made_from_every_other_asset(pipeline: Pipeline) -> None:
    """A table that it does not name would be missing in it, or stale, until something else is made again."""
    inputs = {name_of(dependency.asset_key) for dependency in pipeline.specs["catalog"].deps}
    assert inputs == ({*pipeline.specs} - {"catalog"}) | {"landed_crawl"}
    assert len(inputs) > len(PUBLIC)


def test_assets_of_one_function_have_the_same_inputs_and_stand_in_one_level(pipeline: Pipeline) -> None:
    """The main job makes them together, so none may be ready before another."""
    level_of = {
        name: position for position, level in enumerate(levels(pipeline.specs.values())) for name in level.names
    }
    for names in pipeline.siblings.values():
        assert len({level_of[name] for name in names}) == 1, names
        assert len({str(sorted(map(str, pipeline.specs[name].deps))) for name in names}) == 1, names


def test_scarce_things_have_a_pool(pipeline: Pipeline) -> None:
    pools = {name: pipeline.defs.resolve_assets_def(spec.key).op.pool for name, spec in pipeline.specs.items()}
    assert {name for name, pool in pools.items() if pool == "vlm"} == {
        "raw_qa", "filtered_qa", "rejected_qa", "qa_funnel", "feedback_preferences", "rag_scores", "wrong_answers",
        "blame_split", "rag_differences", "chunk_captions",
    }  # fmt: skip
    assert {pools["pretrained_checkpoint"], pools["finetuned_checkpoint"], pools["promoted/chunk_embeddings"]} == {
        "gpu"
    }
    assert pools["final_index"] == "index"


def test_every_table_that_could_poison_training_has_blocking_checks(pipeline: Pipeline) -> None:
    graph = pipeline.defs.resolve_asset_graph()
    checked = {name_of(key.asset_key) for key in graph.asset_check_keys}
    assert checked == {
        "crawl_documents", "chunked_corpus", "page_clusters", "raw_qa", "filtered_qa", "negatives", "training_manifest",
        "feedback_preferences", "caption_embeddings",
        *(f"{retriever.name}/chunk_embeddings" for retriever in DENSE_RETRIEVERS),
    }  # fmt: skip
    for key in graph.asset_check_keys:
        spec = graph.get_check_spec(key)
        assert spec.blocking
        assert spec.description
        assert spec.partitions_def == pipeline.specs[name_of(key.asset_key)].partitions_def


def test_settings_that_an_asset_names_exist(pipeline: Pipeline) -> None:
    known = set(setting_values(pipeline.resources["recipe"], pipeline.resources))
    for name, spec in pipeline.specs.items():
        if named := spec.metadata.get(SETTINGS_KEY):
            assert set(named.split(", ")) <= known, name


def test_every_section_of_the_recipe_counts_for_some_asset(pipeline: Pipeline) -> None:
    """A number that no asset names could be changed without anything being made again."""
    named = {one for spec in pipeline.specs.values() for one in str(spec.metadata.get(SETTINGS_KEY, "")).split(", ")}
    sections = {field.name for field in dataclasses.fields(pipeline.resources["recipe"])} - {"name"}
    # how politely a picture is fetched changes no content
    assert sections - {"fetching"} | set(ROLES) <= {one.partition(".")[0] for one in named}
    assert {one.partition(".")[0] for one in SECTIONS} <= sections


@pytest.mark.parametrize(
    ("env", "stale"),
    [
        (
            {"NYX_TEACHER_BASE_URL": "http://127.0.0.1:9/v1", "NYX_TEACHER_MODEL": "t"},
            {"chunk_captions", "raw_qa", "filtered_qa", "rejected_qa", "qa_funnel"},
        ),
        (
            {"NYX_JUDGE_BASE_URL": "http://127.0.0.1:9/v1", "NYX_JUDGE_MODEL": "j"},
            {"filtered_qa", "rejected_qa", "qa_funnel"},
        ),
        (
            {"NYX_GENERATOR_BASE_URL": "http://127.0.0.1:9/v1", "NYX_GENERATOR_MODEL": "g"},
            {
                "filtered_qa",
                "rejected_qa",
                "qa_funnel",
                "feedback_preferences",
                "rag_scores",
                "wrong_answers",
                "blame_split",
                "rag_differences",
            },
        ),
        ({"NYX_INDEX_URI": "http://127.0.0.1:9"}, set()),
    ],
    ids=["teacher", "judge", "generator", "index"],
)
def test_another_model_makes_exactly_what_it_wrote_stale(
    pipeline: Pipeline, tmp_path: Path, env: dict[str, str], stale: set[str]
) -> None:
    before, after = code_versions(pipeline), code_versions(pipeline_of(tmp_path / "home", **env))
    assert {name for name in before if before[name] != after[name]} == stale


@pytest.mark.parametrize(
    ("section", "change", "stale"),
    [
        ("chunking", {"max_text_tokens": 150}, {"chunked_corpus"}),
        (
            "pictures",
            {"min_side_pixels": 64},
            {"crawl_documents", "rejected_documents", "link_rot", "altered_queries", *PUBLIC_SETS},
        ),
        ("mining", {"keep": 3}, {"negatives", "refused_negatives", "pretrained_checkpoint"}),
        ("qa", {"test_share": 0.25}, {"filtered_qa", "rejected_qa", "qa_funnel"}),
    ],
)
def test_a_changed_number_makes_exactly_the_assets_stale_that_name_its_section(
    pipeline: Pipeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    section: str,
    change: dict[str, Any],
    stale: set[str],
) -> None:
    recipe = pipeline_recipe("tiny")
    changed = dataclasses.replace(recipe, **{section: dataclasses.replace(getattr(recipe, section), **change)})
    monkeypatch.setitem(RECIPES, "tiny", lambda: changed)
    before, after = code_versions(pipeline), code_versions(pipeline_of(tmp_path / "home"))
    assert {name for name in before if before[name] != after[name]} == stale


def test_equal_settings_give_equal_code_versions_wherever_the_home_is(pipeline: Pipeline, tmp_path: Path) -> None:
    assert code_versions(pipeline) == code_versions(pipeline_of(tmp_path / "elsewhere"))


def test_describing_the_graph_writes_nothing(tmp_path: Path) -> None:
    pipeline_of(tmp_path / "home")
    assert list(tmp_path.iterdir()) == []


def test_further_rounds_add_assets_with_their_checks_and_make_no_earlier_call_again(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    three = pipeline_of(tmp_path / "home", NYX_ROUNDS="3")
    trained = {f"round_{n}/{name}" for n in (1, 2, 3) for name in ("checkpoint", "chunk_embeddings", "score")}
    tried = {"round_2/feedback_preferences", "round_3/feedback_preferences"}
    assert set(three.specs) - set(pipeline.specs) == trained | tried | {"feedback_rounds"}
    before, after = code_versions(pipeline), code_versions(three)
    # the finetuned checkpoint is another asset now, but a finished training is found again under its name
    assert {name for name in before if before[name] != after[name]} == {"finetuned_checkpoint"}
    graph = three.defs.resolve_asset_graph()
    checked = {name_of(key.asset_key) for key in graph.asset_check_keys}
    assert tried | {f"round_{n}/chunk_embeddings" for n in (1, 2, 3)} <= checked
    seen = {"landed_crawl"}
    for name, spec in three.specs.items():
        assert {name_of(dependency.asset_key) for dependency in spec.deps} <= seen, name
        seen.add(name)
