"""Whether a text holds an answer, by its words."""

from nyx_assets.rag.bm25 import FIRST_CJK, terms

MIN_TELLING_LETTERS = 3
MIN_TELLING_DIGITS = 4
TRUTH_VALUES = frozenset({"yes", "no", "true", "false", "none", "unknown"})
ARTICLES = frozenset({"a", "an", "the"})


def contains_answer(text: str, answer: str) -> bool:
    """Whether a text holds an answer as whole words, in order.

    An answer that says little by itself (under 3 letters, a number under 4 digits, yes, no) stands in almost any text
    by chance and counts as contained in none. Choice: refusing on it would leave only far-off negatives.
    """
    answer_terms = [term for term in terms(answer) if term not in ARTICLES]
    if not _is_telling(answer_terms):
        return False
    text_terms = [term for term in terms(text) if term not in ARTICLES]
    return f" {' '.join(answer_terms)} " in f" {' '.join(text_terms)} "


def _is_telling(answer_terms: list[str]) -> bool:
    letters = "".join(answer_terms)
    if letters.isdigit():
        return len(letters) >= MIN_TELLING_DIGITS
    # Two Chinese letters are a word; one is not.
    is_long = len(letters) >= (2 if FIRST_CJK.match(letters) else MIN_TELLING_LETTERS)
    return is_long and letters not in TRUTH_VALUES
