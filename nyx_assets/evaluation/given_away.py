"""Queries that give their answer away: finding it then tells of string matching, not of retrieval."""

from nyx_assets.evaluation.suites import Suite
from nyx_assets.rag.grading import answer_tokens
from nyx_assets.rag.telling import is_telling


def given_away(suite: Suite) -> list[tuple[str, str]]:
    """Id of each query whose text holds the whole text of one of its golds, or a gold's very pictures alone, and why.

    Such queries are scored all the same, for whoever made the suite may want them; the report says how many there are.
    """
    found = []
    for query in suite.queries:
        words = f" {' '.join(answer_tokens(query.document.text))} "
        for gold in sorted(query.grade_by_id):
            document = suite.candidates[gold]
            terms = answer_tokens(document.text)
            if terms and is_telling(terms) and f" {' '.join(terms)} " in words:
                found.append((query.query_id, f"its text holds all of its gold {gold}"))
                break
            if not terms and document.images and set(document.images) <= set(query.document.images):
                found.append((query.query_id, f"it shows the very pictures of its gold {gold}"))
                break
    return found
