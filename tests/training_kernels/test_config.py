"""A run that cannot be is refused when it is described."""

import re
from dataclasses import fields, is_dataclass, replace
from typing import get_type_hints

import pytest

from training_kernels.config import FullTuning, InputConfig, LoraTuning, LossConfig
from training_kernels.errors import ConfigError
from training_kernels.recipes import RECIPES, nyx, nyx_paper, nyx_published, tiny, tiny_feedback, train_recipe


@pytest.mark.parametrize("dims", [(), (16, 16), (16, 32), (16, 0)])
def test_dims_must_be_distinct_and_widest_first(dims):
    with pytest.raises(ConfigError, match="distinct dims of at least 1, widest first"):
        LossConfig(temperature=0.1, weight_by_dim=tuple((dim, 1.0) for dim in dims))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_must_be_above_zero(temperature):
    with pytest.raises(ConfigError, match="temperature divides the cosine"):
        LossConfig(temperature=temperature, weight_by_dim=((4, 1.0),))


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("", {"batch_size": 1}, "batch_size must be >= 2"),
        ("", {"kept_tokens": -1}, "kept_tokens, features_bytes and vision_cache_bytes must be >= 0"),
        ("", {"features_bytes": -1}, "must be >= 0, got 0, -1 and 0"),
        ("", {"vision_cache_bytes": -1}, "kept_tokens, features_bytes and vision_cache_bytes must be >= 0"),
        ("", {"max_steps": 0}, "max_steps and token_budget >= 1"),
        ("", {"precision": "bfloat16"}, "full tuning in bfloat16"),
        ("optimizer", {"warmup_share": 1.0}, "warmup_share"),
        ("optimizer", {"learning_rate": 0.0}, "learning_rate"),
        ("optimizer", {"betas": (0.9, 1.0)}, "betas"),
        ("loss", {"weight_by_dim": ((4, 0.0),)}, "weights of dims must be > 0"),
        ("loss", {"false_negatives": ("same_answer", "same")}, "must be 'near_duplicate' or 'same_answer', got 'same'"),
        ("loss", {"ignored_margin": 2.5}, r"difference of cosines in \[-2, 2\], got 2.5"),
        ("loss", {"panel_bytes": 1000}, "panel_bytes must be at least 1,048,576"),
        ("sampling", {"weight_by_source": (("a", 1.0), ("a", 2.0))}, "weight_by_source must list each source once"),
        ("sampling", {"least_share": 1.5}, r"least_share is a share of the largest batch in \[0, 1\], got 1.5"),
        ("sampling", {"cap_by_source": (("a", -1),)}, "cap_by_source must be >= 0"),
        ("inputs", {"min_pixels": 99_999}, "pixel budget"),
        ("inputs", {"max_tokens": 1}, "max_tokens"),
        ("", {"batches_per_step": 0}, "batches_per_step must be >= 1"),
        ("dev", {"patience": 0}, "patience of dev must be >= 1"),
        ("state", {"every_steps": 0}, "every_steps must be >= 1"),
        ("divergence", {"max_rise": 0.0}, "max_rise > 0"),
    ],
)
def test_an_impossible_number_is_named(section, changes, message):
    config = tiny()
    with pytest.raises(ConfigError, match=message):
        replace(getattr(config, section) if section else config, **changes)


def chosen_from() -> list[tuple[str, str]]:
    """Section and name of every field of a recipe whose type lists words."""
    config = tiny()
    sections = {"": config} | {
        field.name: getattr(config, field.name) for field in fields(config) if is_dataclass(getattr(config, field.name))
    }
    return [
        (section, name)
        for section, one in sections.items()
        for name, wanted in get_type_hints(type(one)).items()
        if "Literal" in str(wanted)
    ]


def test_the_fields_whose_types_list_words_are_found():
    assert {("", "precision"), ("loss", "false_negatives"), ("sampling", "batches")} < set(chosen_from())


@pytest.mark.parametrize(("section", "name"), chosen_from())
def test_a_word_that_a_fields_type_does_not_list_is_refused(section, name):
    config = tiny()
    one = getattr(config, section) if section else config
    word = ("float16",) if isinstance(getattr(one, name), tuple) else "float16"
    with pytest.raises(ConfigError, match=rf"^{name} must be '\w+' or '\w+', got 'float16'$"):
        replace(one, **{name: word})


def test_lora_needs_a_rank():
    with pytest.raises(ConfigError, match="rank >= 1"):
        LoraTuning(rank=0, alpha=1, dropout=0.0)


def test_the_paper_recipe_holds_the_papers_numbers():
    config = nyx_paper()
    assert config.loss == LossConfig(
        temperature=0.02,
        weight_by_dim=((2048, 1.0), (1024, 1.0), (512, 0.2), (256, 0.2)),
        hard_negatives="own",
    )
    assert config.inputs.query_instruction.strip()
    assert config.tuning == LoraTuning(rank=8, alpha=64, dropout=0.1)
    assert (config.optimizer.learning_rate, config.optimizer.warmup_share) == (1e-5, 0.05)
    assert (config.optimizer.max_gradient_norm, config.negatives_per_query) == (5.0, 1)
    assert config.inputs.max_pixels == 313_600
    assert (config.batch_size, config.batches_per_step) == (160, 4)


def test_the_published_recipe_differs_from_the_paper_where_its_code_did():
    paper, published = nyx_paper(), nyx_published()
    assert replace(published, name=paper.name, inputs=paper.inputs, tuning=paper.tuning) == paper
    assert replace(published.inputs, query_instruction=paper.inputs.query_instruction) == paper.inputs
    assert published.inputs.query_instruction == ""
    assert (published.loss.hard_negatives, published.tuning.is_dora, published.tuning.tunes_vision) == (
        "own",
        True,
        True,
    )
    targets = re.compile(published.tuning.targets)
    assert targets.fullmatch("language_model.layers.3.mlp.down_proj")
    assert targets.fullmatch("visual.blocks.3.mlp.down_proj")
    assert not targets.fullmatch("language_model.layers.3.mlp.gate_proj")
    assert not targets.fullmatch("visual.blocks.3.attn.qkv")


def test_our_recipe_moves_the_weights_by_as_many_queries_a_step_as_the_paper_and_shows_each_all_of_them():
    paper, ours = nyx_paper(), nyx()
    assert ours.batch_size * ours.batches_per_step == paper.batch_size * paper.batches_per_step == 640
    assert ours.batch_size == 640


def test_feedback_reads_documents_as_the_run_before_it_did():
    assert tiny_feedback().inputs == tiny().inputs
    assert tiny_feedback().loss == tiny().loss
    assert isinstance(tiny_feedback().tuning, FullTuning)


def test_every_recipe_bears_its_name_and_an_unknown_one_lists_them():
    assert all(train_recipe(name).name == name for name in RECIPES)
    with pytest.raises(
        ConfigError, match="'nyx_papr' is unknown; known: cpu, nyx, nyx_paper, nyx_published, small_gpu, smoke,"
    ):
        train_recipe("nyx_papr")


def test_a_pixel_budget_of_one_visual_token_is_allowed():
    assert InputConfig(max_tokens=8, min_pixels=784, max_pixels=784, query_instruction="").max_pixels == 784
