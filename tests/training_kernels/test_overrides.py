"""A recipe is changed by hand with the types it has, or not at all."""

import pytest

from training_kernels.config import FullTuning, LoraTuning
from training_kernels.errors import ConfigError
from training_kernels.overrides import with_overrides
from training_kernels.recipes import nyx_paper, tiny


def test_numbers_words_and_tuples_reach_their_field_and_no_other():
    config = with_overrides(
        tiny(),
        ["optimizer.learning_rate=1", "optimizer.betas=(0.5, 0.75)", "activations=recomputed", "max_steps=7"],
    )
    assert config.optimizer.learning_rate == 1.0
    assert type(config.optimizer.learning_rate) is float
    assert (config.optimizer.betas, config.activations, config.max_steps) == ((0.5, 0.75), "recomputed", 7)
    assert with_overrides(config, ["loss.weight_by_dim=((64, 1), (32, 0.5))"]).loss.weight_by_dim == (
        (64, 1.0),
        (32, 0.5),
    )
    undone = ["optimizer.learning_rate=5e-4", "optimizer.betas=(0.9, 0.98)", "activations=kept", "max_steps=150"]
    assert with_overrides(config, undone) == tiny()


def test_a_section_of_another_kind_is_written_as_it_is_in_python():
    tuning = "tuning=LoraTuning(rank=4, alpha=8, dropout=0.3, targets='', tunes_vision=False, is_dora=True)"
    assert with_overrides(tiny(), [tuning]).tuning == LoraTuning(rank=4, alpha=8, dropout=0.3, is_dora=True)
    assert with_overrides(nyx_paper(), ["tuning.rank=16"]).tuning.rank == 16
    full = ["precision=float32", "tuning=FullTuning(tunes_vision=False)"]
    assert with_overrides(nyx_paper(), full).tuning == FullTuning(tunes_vision=False)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("max_steps", "takes path.to.field=value"),
        ("max_stepz=3", "TrainConfig has no field 'max_stepz'; it has name, inputs"),
        ("optimizer.rate=3", "OptimizerConfig has no field 'rate'; it has learning_rate"),
        ("max_steps=3.5", "max_steps takes a whole number, got '3.5'"),
        ("max_steps=True", "max_steps takes a whole number"),
        ("seed.x=3", "'seed' is a value, not a section"),
        ("optimizer=3", "optimizer is a section of the recipe, set what is in it: optimizer.learning_rate"),
        ("activations=forgotten", "activations takes one of kept, recomputed"),
        ("optimizer.betas=(0.5,)", r"optimizer.betas takes a tuple \(a number, a number\)"),
        ("tuning=LoraTuning(rank=4)", r"tuning takes LoraTuning\(rank=…, alpha=…"),
        ("tuning=__import__('os').getcwd()", r"tuning takes LoraTuning"),
        ("batch_size=1", "batch_size must be >= 2"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(override, message):
    with pytest.raises(ConfigError, match=message):
        with_overrides(tiny(), [override])
