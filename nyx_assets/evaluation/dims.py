"""What a narrower or coarser embedding costs and saves: score, bytes and search time by Matryoshka dim and precision.

Shape letters: B queries, C candidates, D width.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nyx_assets.evaluation.metrics import judge, ndcg_at
from nyx_assets.evaluation.retrieval import DEPTH, ready
from nyx_assets.evaluation.suites import Suite
from nyx_assets.rag.dense import DenseCorpus, prefix
from resources.exact_search import exact_top_k
from training_kernels.errors import DataError

SCALE_BYTES = 4
"""An int8 vector keeps the float32 number that it is multiplied with."""
NUM_TIMINGS = 3
"""Searches whose fastest counts: the others had to share the machine."""

Coded = tuple[np.ndarray, int]
"""What is left of the embeddings as float32, and the bytes that one of them takes."""


def float32_of(embedding_CD: np.ndarray) -> Coded:
    return embedding_CD, 4 * embedding_CD.shape[1]


def float16_of(embedding_CD: np.ndarray) -> Coded:
    return embedding_CD.astype(np.float16).astype(np.float32), 2 * embedding_CD.shape[1]


def int8_of(embedding_CD: np.ndarray) -> Coded:
    """Each vector in 255 equal steps up to its own largest number."""
    step_C1 = np.abs(embedding_CD).max(axis=1, keepdims=True) / 127
    code_CD = np.round(embedding_CD / np.where(step_C1 == 0, 1, step_C1)).astype(np.int8)
    return code_CD.astype(np.float32) * step_C1, embedding_CD.shape[1] + SCALE_BYTES


PRECISIONS: dict[str, Callable[[np.ndarray], Coded]] = {
    "float32": float32_of,
    "float16": float16_of,
    "int8": int8_of,
}


def index_settings(
    suite: Suite,
    query_BD: np.ndarray,
    candidate_CD: np.ndarray,
    *,
    dims: Sequence[int],
    ndcg_depth: int,
    max_loss: float,
) -> list[dict[str, Any]]:
    """Rows of INDEX_SETTINGS, widest dim first.

    Of each precision the narrowest dim is recommended whose score is at most max_loss below the best of the table. A
    query stays in float32: only what is stored for every chunk costs room.

    Args:
        query_BD: embeddings of the suite's queries at full width.
        candidate_CD: of its candidates, in their order.

    Raises:
        DataError: there are not as many embeddings as queries and candidates.
    """
    ids = list(suite.candidates)
    if len(query_BD) != len(suite.queries) or len(candidate_CD) != len(ids):
        raise DataError(
            f"{len(suite.queries)} queries and {len(ids)} candidates need as many embeddings, got {len(query_BD)} and "
            f"{len(candidate_CD)}"
        )
    top_k = DEPTH + 1 + max((len(query.exclude) for query in suite.queries), default=0)
    rows = []
    for dim in sorted(dims, reverse=True):
        cut_BD = prefix(query_BD, dim)
        for precision, coded in PRECISIONS.items():
            stored_CD, num_bytes = coded(prefix(candidate_CD, dim))
            rankings = DenseCorpus(ids, stored_CD).search(cut_BD, top_k)
            scores = [
                ndcg_at(judge(ready(ranking, query), query.grade_by_id), ndcg_depth)
                for query, ranking in zip(suite.queries, rankings, strict=True)
            ]
            rows.append(
                {
                    "dim": dim,
                    "precision": precision,
                    "metric": f"ndcg@{ndcg_depth}",
                    "score": sum(scores) / len(scores) if scores else None,
                    "bytes_per_vector": num_bytes,
                    "search_ms_per_query": _search_ms(cut_BD, stored_CD),
                    "num_queries": len(suite.queries),
                    "num_candidates": len(ids),
                }
            )
    return recommended(rows, max_loss=max_loss)


def recommended(rows: Sequence[Mapping[str, Any]], *, max_loss: float) -> list[dict[str, Any]]:
    """The rows with their loss, and of each precision the narrowest dim within max_loss marked; none without scores."""
    scores = [row["score"] for row in rows if row["score"] is not None]
    best = max(scores, default=0.0)
    with_loss = [
        {**row, "loss": None if row["score"] is None else (best - row["score"]) / best if best else 0.0} for row in rows
    ]
    narrowest: dict[str, int] = {}
    for row in with_loss:
        if row["loss"] is not None and row["loss"] <= max_loss:
            narrowest[row["precision"]] = min(row["dim"], narrowest.get(row["precision"], row["dim"]))
    return [row | {"is_recommended": narrowest.get(row["precision"]) == row["dim"]} for row in with_loss]


def _search_ms(query_BD: np.ndarray, stored_CD: np.ndarray) -> float | None:
    """Exact search for the ten nearest, in milliseconds a query; None without queries."""
    if not len(query_BD):
        return None
    seconds = []
    for _ in range(NUM_TIMINGS):
        start = time.perf_counter()
        exact_top_k(query_BD, stored_CD, top_k=10)
        seconds.append(time.perf_counter() - start)
    return 1000 * min(seconds) / len(query_BD)
