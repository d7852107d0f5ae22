"""Public examples that hold what a retriever is measured on: its texts, or any of its pictures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nyx_assets.leaks import PictureHash, QuestionSet, leaks, picture_copies
from nyx_assets.training.mixture import Objection, PublicExample
from resources.home import Home

TEXT_LEAK = "leaks_a_suite"
PICTURE_LEAK = "shows_held_out_picture"


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What is asked and what answers it in evaluation."""

    questions_by_suite: Mapping[str, QuestionSet]
    hash_of: PictureHash

    def leaks(self, examples: Sequence[PublicExample]) -> dict[str, Objection]:
        """What of a suite an example holds, by example_id: a copy or near copy of a query or answer, or of a picture.

        Everything that the blocking check no_suite_stands_in_training would find is found here, example by example,
        whatever else stands in the sets; and more: a picture counts wherever query or positive show it, in a query with
        other words, and however many examples show it. Choice: no exception for pictures on many examples, since a
        published set asks a dozen questions about one picture. A negative may be a held-out chunk, as one that was
        mined may: to be a wrong answer to another question gives nothing away.
        """
        training = QuestionSet(
            {example.example_id: example.query for example in examples},
            {example.example_id: example.positive for example in examples},
        )
        found: dict[str, Objection] = {}
        for suite, questions in self.questions_by_suite.items():
            for leak in leaks(training, questions, hash_of=self.hash_of):
                rule = TEXT_LEAK if leak.sign == "text" else PICTURE_LEAK
                found.setdefault(leak.training_id, Objection(rule, f"{suite}: {leak}"))
            for example_id, reason in self._shown(examples, questions).items():
                found.setdefault(example_id, Objection(PICTURE_LEAK, f"{suite}: {reason}"))
        return found

    def _shown(self, examples: Sequence[PublicExample], questions: QuestionSet) -> dict[str, str]:
        """The examples that show a picture of the suite, by example_id, with the sentence that says so."""
        shown_by: dict[str, list[str]] = {}
        for example in examples:
            for image in {*example.query.images, *example.positive.images}:
                shown_by.setdefault(image, []).append(example.example_id)
        held_out = {
            image: name
            for side in (questions.queries, questions.answers)
            for name, document in side.items()
            for image in document.images
        }
        return {
            example_id: f"{held_out[picture]} shows picture {picture[:12]}, training shows it as {copy[:12]}: "
            f"{similarity:.0%} the same"
            for picture, copies in picture_copies(shown_by, held_out, hash_of=self.hash_of).items()
            for copy, similarity in copies.items()
            for example_id in shown_by[copy]
        }


HeldOutOf = Callable[[Home], HeldOut]
"""The suites that a home guards; evaluation knows them, so the composition root hands them over."""
