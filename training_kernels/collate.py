"""Token sequences, and how they are put together into batches of little padding.

Shape letters: B sequences, T tokens of the longest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from training_kernels.images import PictureSource


@dataclass(frozen=True, slots=True)
class RenderedPicture:
    """A picture of a token sequence: which one, and how large it is fed in. Its pixels are read when they are needed."""

    digest: str
    height: int
    width: int
    """Pixels, as fitted into the pixel budget."""
    source: PictureSource = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """One document as a backbone reads it, the embedding token last."""

    token_ids: tuple[int, ...]
    pictures: tuple[RenderedPicture, ...]
    """In reading order."""
    picture_starts: tuple[int, ...]
    """Position of each picture's first visual token."""
    is_cut: bool
    """True if the document was longer than max_tokens and lost its end."""

    def __len__(self) -> int:
        return len(self.token_ids)


def pad_right(sequences: Sequence[TokenSequence], *, pad_id: int) -> tuple[Tensor, Tensor]:
    """Token ids [B, T] filled up on the right, and the true lengths [B]."""
    length_B = torch.tensor([len(sequence) for sequence in sequences])
    token_ids_BT = torch.full((len(sequences), int(length_B.max())), pad_id, dtype=torch.int64)
    for row_T, sequence in zip(token_ids_BT, sequences, strict=True):
        row_T[: len(sequence)] = torch.tensor(sequence.token_ids)
    return token_ids_BT, length_B


def batches_by_tokens(lengths: Sequence[int], *, token_budget: int) -> list[list[int]]:
    """Positions of `lengths` in batches of like length, longest first, each at most `token_budget` tokens when padded.

    A sequence longer than the budget is a batch of its own.
    """
    batches: list[list[int]] = []
    for position in sorted(range(len(lengths)), key=lambda position: (-lengths[position], position)):
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= token_budget:
            batches[-1].append(position)
        else:
            batches.append([position])
    return batches
