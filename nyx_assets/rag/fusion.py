"""One ranking out of several: reciprocal rank fusion, which compares places and never scores of different kinds."""

from collections.abc import Sequence

RRF_K = 60
"""Source: Cormack, Clarke and Büttcher 2009, Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
Methods, SIGIR, section 3."""


def reciprocal_rank_fusion(rankings: Sequence[Sequence[str]], *, top_k: int) -> list[tuple[str, float]]:
    """The best ids of all rankings together with their fused scores, equal ones in the order of ids.

    An id's score is the sum of 1 / (60 + its place) over the rankings that hold it, places counted from 1.
    """
    score_by_id: dict[str, float] = {}
    for ranking in rankings:
        for place, one in enumerate(ranking, start=1):
            score_by_id[one] = score_by_id.get(one, 0.0) + 1 / (RRF_K + place)
    return sorted(score_by_id.items(), key=lambda item: (-item[1], item[0]))[:top_k]
