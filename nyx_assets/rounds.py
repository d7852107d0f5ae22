"""Feedback rounds: the names of what each is made of, and whether another one is worth its calls.

Round 1 retrieves with the pretrained checkpoint, round n with that of round n - 1. With one round, its checkpoint is
`finetuned_checkpoint`; with more, each round has a checkpoint of its own, `round_<n>/checkpoint`, and the best of them is
`finetuned_checkpoint`. A round that is not worth its calls is made of nothing: no tries, no score, and the checkpoint of
the round before it.
"""

from dataclasses import dataclass
from typing import Any

from nyx_assets.retrievers import PRETRAINED, RetrieverSpec
from resources.home import Home


@dataclass(frozen=True, slots=True)
class Round:
    """One round of trying and training."""

    number: int
    """1 for the first."""

    @property
    def preferences(self) -> str:
        """The table of its tries."""
        return "feedback_preferences" if self.number == 1 else f"round_{self.number}/feedback_preferences"

    @property
    def trained(self) -> RetrieverSpec:
        """The retriever that came out of it."""
        return RetrieverSpec(
            name=f"round_{self.number}",
            checkpoint=f"round_{self.number}/checkpoint",
            description=f"the checkpoint of feedback round {self.number}",
        )

    @property
    def checkpoint(self) -> str:
        return str(self.trained.checkpoint)

    @property
    def score(self) -> str:
        """The table with its row, which is empty if the round did not take place."""
        return f"round_{self.number}/score"

    @property
    def before(self) -> "Round":
        return Round(self.number - 1)

    @property
    def retriever(self) -> RetrieverSpec:
        """What its windows are retrieved with."""
        return PRETRAINED if self.number == 1 else self.before.trained


def rounds_of(number: int) -> list[Round]:
    """The first so many rounds."""
    return [Round(place) for place in range(1, number + 1)]


def stopped_before(home: Home, one: Round) -> str | None:
    """Why a round does not take place, by what the score of the one before it said; None if it does."""
    if one.number == 1:
        return None
    rows = rows_of(home, one.before)
    if not rows:
        return stopped_before(home, one.before) or f"round {one.before.number} has no score"
    return None if rows[0]["goes_on"] else str(rows[0]["reason"])


def rows_of(home: Home, one: Round) -> list[dict[str, Any]]:
    """The round's row of FEEDBACK_ROUNDS; none if it did not take place."""
    return [
        {name: value for name, value in row.items() if name != "crawl"}
        for row in home.tables.read(one.score).to_pylist()
    ]
