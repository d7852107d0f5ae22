"""The Matryoshka benchmark trains both arms alike and prints them at every dim beside the untrained control."""

import pytest

from benchmarks.matryoshka import DIMS, Arms, benefits, one_seed

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def arms(tmp_path_factory) -> Arms:
    """On scenes of one thing, of which so few steps learn something already."""
    folder = tmp_path_factory.mktemp("matryoshka")
    return one_seed(0, num_steps=30, folder=folder, pool=256, trained_scenes=1_280, num_things=1)


def test_a_short_run_with_matryoshka_finds_more_than_the_untrained_control(arms):
    assert sum(arms.matryoshka.values()) > 1.5 * sum(arms.untrained.values()), arms


def test_the_arms_end_apart(arms):
    assert arms.full_width_alone != arms.untrained
    assert arms.full_width_alone != arms.matryoshka


def test_the_rows_hold_both_arms_and_the_control_at_every_dim(arms):
    rows = benefits([arms, arms], num_steps=30, pool=256)
    assert tuple(row.dim for row in rows) == DIMS == (128, 64, 32, 16, 8)
    for row in rows:
        assert row.ours_by_seed == (arms.matryoshka[row.dim],) * 2
        assert row.peer_by_seed == (arms.full_width_alone[row.dim],) * 2
        assert row.untrained == arms.untrained[row.dim]
        assert row.ratio == max(arms.matryoshka[row.dim], 1 / 256) / max(arms.full_width_alone[row.dim], 1 / 256)
