"""Windows over ranked hits."""

import pytest

from nyx_assets.feedback.windows import windows
from training_kernels.errors import ConfigError


@pytest.mark.parametrize(
    ("num_hits", "length", "stride", "expected"),
    [
        (4, 1, 1, ["a", "b", "c", "d"]),
        (5, 3, 1, ["abc", "bcd", "cde"]),
        (5, 2, 2, ["ab", "cd", "de"]),
        (6, 2, 2, ["ab", "cd", "ef"]),
        (7, 3, 2, ["abc", "cde", "efg"]),
        (2, 3, 1, ["ab"]),
        (0, 3, 1, []),
    ],
)
def test_windows_slide_over_the_hits_in_rank_order(
    num_hits: int, length: int, stride: int, expected: list[str]
) -> None:
    made = windows(list("abcdefg"[:num_hits]), length=length, stride=stride)
    assert ["".join(window) for window in made] == expected


def test_no_hit_goes_untried() -> None:
    for num_hits in range(1, 14):
        for length in range(1, 6):
            for stride in range(1, length + 1):
                hits = [f"k{number}" for number in range(num_hits)]
                made = windows(hits, length=length, stride=stride)
                assert {hit for window in made for hit in window} == set(hits)
                assert len(set(made)) == len(made)


@pytest.mark.parametrize(("length", "stride"), [(0, 1), (2, 0), (2, 3)])
def test_a_stride_that_skips_hits_is_refused(length: int, stride: int) -> None:
    with pytest.raises(ConfigError, match=f"length={length}, stride={stride}"):
        windows(["a", "b", "c", "d"], length=length, stride=stride)
