"""Recipes: complete, named as they are asked for, honest about what the paper gives."""

import dataclasses

import pytest

from nyx_assets.recipes import RECIPES, ChunkingRecipe, mining_recipe, pipeline_recipe, recipe_of
from resources.settings import Settings
from training_kernels.errors import ConfigError
from training_kernels.recipes import train_recipe


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_recipe_has_its_own_name_and_trainings_that_exist(name: str) -> None:
    recipe = pipeline_recipe(name)
    assert recipe.name == name
    assert train_recipe(recipe.pretraining)
    assert train_recipe(recipe.finetuning)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_numbers_of_a_recipe_are_possible(name: str) -> None:
    recipe = pipeline_recipe(name)
    assert recipe.qa.dev_share + recipe.qa.test_share < 0.5
    assert 1 <= recipe.mining.keep <= recipe.mining.depth
    assert 1 <= recipe.feedback.window_stride <= recipe.feedback.window_length <= recipe.feedback.top_k
    assert 0 < recipe.feedback.min_grade <= 1
    assert recipe.chunking.max_text_tokens <= 200
    assert recipe.chunking.max_images <= 5


def test_the_paper_recipe_has_the_papers_numbers() -> None:
    paper = pipeline_recipe("nyx_paper")
    assert paper.chunking.max_text_tokens == 200
    assert {variant.pairs_per_chunk for variant in paper.qa.writing.variants} == {5}
    assert next(check.threshold for check in paper.qa.checks if check.name == "answer_too_long") == 5
    assert (paper.mining.first_rank, paper.mining.depth, paper.mining.keep) == (1, 10, 5)


@pytest.mark.parametrize("name", ["nyx", "nyx_paper", "nyx_published", "small_gpu", "cpu"])
def test_a_recipe_for_real_models_trains_by_the_training_recipe_of_its_name(name: str) -> None:
    assert {pipeline_recipe(name).pretraining, pipeline_recipe(name).finetuning} == {name}


def test_ours_mines_with_guards_and_the_papers_as_the_paper_does() -> None:
    assert pipeline_recipe("nyx").mining == mining_recipe("guarded")
    assert pipeline_recipe("nyx_paper").mining == mining_recipe("paper")


def test_an_unknown_recipe_is_named_beside_the_known_ones() -> None:
    with pytest.raises(
        ConfigError,
        match="^recipe 'nyx_papr' is unknown; known: cpu, nyx, nyx_paper, nyx_published, small_gpu, smoke, tiny",
    ):
        pipeline_recipe("nyx_papr")


def test_a_backbone_in_the_settings_stands_for_the_recipes_own() -> None:
    plain = recipe_of(Settings.from_env({"NYX_RECIPE": "nyx_paper"}))
    other = recipe_of(Settings.from_env({"NYX_RECIPE": "nyx_paper", "NYX_BACKBONE": "some/folder"}))
    assert plain == pipeline_recipe("nyx_paper")
    assert other == dataclasses.replace(plain, backbone="some/folder")


@pytest.mark.parametrize(
    "numbers", [{"max_text_tokens": 7, "max_images": 5}, {"max_text_tokens": 200, "max_images": 0}]
)
def test_a_chunk_without_room_is_refused(numbers: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="room for 8 text tokens and 1 picture, got max_text_tokens="):
        ChunkingRecipe(**numbers)


def test_the_published_recipe_departs_from_the_paper_where_its_code_does() -> None:
    paper, published = pipeline_recipe("nyx_paper"), pipeline_recipe("nyx_published")
    assert (paper.feedback.positive, published.feedback.positive) == ("first_answered", "best")
    assert (paper.finetuning_from, published.finetuning_from) == ("pretrained", "base")
    assert published.feedback.min_grade < 0.02
    assert not published.feedback.early_stop
    assert not published.feedback.leaves_out_closed_book
    assert (published.mining.first_rank, published.mining.keep) == (11, 5)
    for recipe in (paper, published):
        assert (recipe.feedback.top_k, recipe.feedback.window_length, recipe.feedback.window_stride) == (30, 1, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"window_length": 2, "window_stride": 3}, "need 1 <= stride <= length <= top_k, got 3, 2 and 30"),
        ({"window_length": 31}, "got 1, 31 and 30"),
        ({"min_grade": 0.0}, "min_grade is above 0 and at most 1, max_negatives 0 or more, got 0.0 and 3"),
        ({"max_negatives": -1}, "got 0.5 and -1"),
    ],
)
def test_a_feedback_recipe_that_cannot_be_followed_is_refused(change: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        dataclasses.replace(pipeline_recipe("nyx").feedback, **change)
