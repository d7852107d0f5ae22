"""Scores as a person compares them: a line a retriever, its metrics beside each other."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

HEADLINE = ("recall@1", "recall@10", "mrr", "ndcg@10")
"""What reports show of the retrieval metrics; tables hold all of them."""


def side_by_side(rows: Iterable[Mapping[str, Any]], keys: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each combination of `keys`, in the order they come, with each metric's value under its name.

    Args:
        rows: rows with `metric` and `value`, such as those of retrieval_scores and rag_scores.
    """
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        group = tuple(row[key] for key in keys)
        groups.setdefault(group, dict(zip(keys, group, strict=True)))[row["metric"]] = row["value"]
    return list(groups.values())
