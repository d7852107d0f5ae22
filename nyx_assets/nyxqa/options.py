"""Four options for a pair: unique, exactly one right, in an order that only content and seed decide."""

import hashlib
from collections.abc import Sequence
from random import Random

from nyx_assets.rag.grading import normalise_answer


def options_for(
    answer: str, distractors: Sequence[str], *, qa_id: str, num_options: int, seed: int
) -> tuple[list[str], int] | str:
    """Shuffled options and the 0-based place of the right one; or, as a text, why there are not enough.

    Distractors that equal the answer or one another after normalisation are passed over, so exactly one option is
    right; of more than are needed the first are taken.
    """
    option_by_key = {normalise_answer(answer): answer}
    if "" in option_by_key:
        return f"the answer {answer!r} is empty after normalisation"
    for distractor in distractors:
        key = normalise_answer(distractor)
        if key and len(option_by_key) < num_options:
            option_by_key.setdefault(key, " ".join(distractor.split()))
    if len(option_by_key) < num_options:
        return f"{len(option_by_key)} different options with the answer {answer!r} among them, {num_options} are needed"
    options = list(option_by_key.values())
    draw = hashlib.sha256(f"options/{seed}/{qa_id}".encode()).digest()
    Random(int.from_bytes(draw[:8], "big")).shuffle(options)
    return options, options.index(answer)
