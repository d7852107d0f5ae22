"""Queries that give their answer away: finding it then tells of string matching, not of retrieval."""

from nyx_assets.evaluation.suites import Suite
from nyx_assets.rag.grading import answer_tokens
from nyx_assets.rag.telling import is_telling


def given_away(suite: Suite) -> list[tuple[str, str]]:
    """Id of each query that holds one of its answers, the whole text of a gold, or a gold's very pictures alone, and why.

    Such queries are scored all the same, for whoever made the suite may want them; the report says how many there are.
    """
    found = []
    for query in suite.queries:
        words = f" {' '.join(answer_tokens(query.document.text))} "
        if (answer := next((one for one in query.answers if _is_in(one, words)), None)) is not None:
            found.append((query.query_id, f"its text holds its answer {answer!r}"))
            continue
        for gold in sorted(query.grade_by_id):
            document = suite.candidates[gold]
            if _is_in(document.text, words):
                found.append((query.query_id, f"its text holds all of its gold {gold}"))
                break
            if (
                not answer_tokens(document.text)
                and document.images
                and set(document.images) <= set(query.document.images)
            ):
                found.append((query.query_id, f"it shows the very pictures of its gold {gold}"))
                break
    return found


def _is_in(text: str, words: str) -> bool:
    """Whether a text that says enough to be told stands in a query's words, word by word."""
    terms = answer_tokens(text)
    return bool(terms) and is_telling(terms) and f" {' '.join(terms)} " in words
