"""Splits follow from cluster and seed alone, in the shares asked for."""

from collections import Counter

import pytest

from nyx_assets.nyxqa.splits import split_of


def splits(number: int, *, seed=1, dev_share=0.1, test_share=0.25) -> list[str]:
    return [split_of(f"page/{i}", seed=seed, dev_share=dev_share, test_share=test_share) for i in range(number)]


def test_the_shares_are_those_asked_for():
    counts = Counter(splits(20_000))
    assert counts["dev"] / 20_000 == pytest.approx(0.10, abs=0.01)  # standard deviation 0.002
    assert counts["test"] / 20_000 == pytest.approx(0.25, abs=0.015)
    assert set(counts) == {"train", "dev", "test"}


def test_a_split_depends_on_cluster_and_seed_only():
    assert splits(200) == splits(300)[:200]
    assert splits(200) != splits(200, seed=2)


def test_a_larger_test_share_moves_no_page_out_of_test_or_dev():
    pairs = list(zip(splits(2000), splits(2000, test_share=0.5)))
    assert all(after == before for before, after in pairs if before != "train")
    assert ("train", "test") in pairs


def test_everything_is_training_where_no_share_is_left_out():
    assert set(splits(500, dev_share=0.0, test_share=0.0)) == {"train"}
