"""What a search gives back, whichever retriever made it."""

Ranking = list[tuple[str, float]]
"""Ranked hits of one query: candidate id and score (BM25 score or cosine), best first, ties in the order of ids."""
