"""Public examples that hold what a retriever is measured on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nyx_assets.leaks import PictureHash, QuestionSet, leaks
from nyx_assets.training.mixture import PublicExample
from resources.home import Home


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What is asked and what answers it in evaluation."""

    questions_by_suite: Mapping[str, QuestionSet]
    hash_of: PictureHash

    def leaks(self, examples: Sequence[PublicExample]) -> dict[str, str]:
        """What of a suite an example holds, by example_id: a copy or near copy of a query, or of an answer."""
        training = QuestionSet(
            {example.example_id: example.query for example in examples},
            {example.example_id: example.positive for example in examples},
        )
        found: dict[str, str] = {}
        for suite, questions in self.questions_by_suite.items():
            for leak in leaks(training, questions, hash_of=self.hash_of):
                found.setdefault(leak.training_id, f"{suite}: {leak}")
        return found


HeldOutOf = Callable[[Home], HeldOut]
"""The suites that a home guards; evaluation knows them, so the composition root hands them over."""
