"""Whether a text holds an answer, by its words."""

from nyx_assets.rag.bm25 import terms
from nyx_assets.rag.telling import ARTICLES, is_telling


def contains_answer(text: str, answer: str) -> bool:
    """Whether a text holds an answer as whole words, in order.

    An answer that says little by itself (under 3 letters, a number under 4 digits, yes, no) stands in almost any text
    by chance and counts as contained in none. Choice: refusing on it would leave only far-off negatives.
    """
    answer_terms = [term for term in terms(answer) if term not in ARTICLES]
    if not is_telling(answer_terms):
        return False
    text_terms = [term for term in terms(text) if term not in ARTICLES]
    return f" {' '.join(answer_terms)} " in f" {' '.join(text_terms)} "
