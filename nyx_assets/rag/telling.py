"""Whether an answer says enough to tell one question from another."""

from collections.abc import Sequence

from nyx_assets.rag.bm25 import FIRST_CJK

MIN_TELLING_LETTERS = 3
MIN_TELLING_DIGITS = 4
TRUTH_VALUES = frozenset({"yes", "no", "true", "false", "none", "unknown"})
ARTICLES = frozenset({"a", "an", "the"})


def is_telling(answer_terms: Sequence[str]) -> bool:
    """Whether an answer, as terms without articles, is more than a truth value, a few letters or a small number."""
    letters = "".join(answer_terms)
    if letters.isdigit():
        return len(letters) >= MIN_TELLING_DIGITS
    # Two Chinese letters are a word; one is not.
    is_long = len(letters) >= (2 if FIRST_CJK.match(letters) else MIN_TELLING_LETTERS)
    return is_long and letters not in TRUTH_VALUES
