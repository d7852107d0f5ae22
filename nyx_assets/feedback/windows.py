"""Windows: the consecutive retrieved documents that the generator is shown together."""

from collections.abc import Sequence

from training_kernels.errors import ConfigError


def windows(hits: Sequence[str], *, length: int, stride: int) -> list[tuple[str, ...]]:
    """Chunk ids of each window, in rank order: one every `stride` hits, each of `length`.

    No hit goes untried: where the stride leaves a rest, a last window ends at the last hit. Fewer hits than `length`
    make one short window, none make none. Raises ConfigError unless both numbers are 1 or more and no hit falls
    between two windows.

    Source: Nyx paper, section 3.3. Choice: the last window, on which the paper is silent.
    """
    if not 1 <= stride <= length:
        raise ConfigError(f"a window needs length >= stride >= 1, got length={length}, stride={stride}")
    if not hits:
        return []
    last = max(0, len(hits) - length)
    starts = sorted({*range(0, last + 1, stride), last})
    return [tuple(hits[start : start + length]) for start in starts]
