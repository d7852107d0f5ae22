"""Exact nearest neighbours in numpy, block by block, with every tie settled.

Shape letters: B queries, C candidates, D width, K kept.
"""

import numpy as np

DECIMALS = 6
"""Similarities are compared to this many decimals. Choice: float32 products of equal vectors differ by up to about 1e-7
with their place in a block; finer differences are rounding, not rank."""

BLOCK_QUERIES = 256
BLOCK_CELLS = 4_000_000
"""Similarities held at once: 16 MB as float32 and 32 MB as ranking keys."""


def exact_top_k(query_BD: np.ndarray, candidate_CD: np.ndarray, *, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and row of the most similar candidates of each query, best first: float64 [B, K], int64 [B, K].

    K is the smaller of top_k and C. Candidates of equal similarity come in the order of their rows, so candidates
    sorted by id give ties settled by id.

    Args:
        query_BD: float32, unit norm.
        candidate_CD: float32, unit norm.
    """
    num_candidates = len(candidate_CD)
    kept = min(top_k, num_candidates)
    key_BK = np.empty((len(query_BD), kept), dtype=np.int64)
    for start in range(0, len(query_BD), BLOCK_QUERIES):
        block_BD = query_BD[start : start + BLOCK_QUERIES]
        key_BK[start : start + len(block_BD)] = _best_keys(block_BD, candidate_CD, kept)
    if kept == 0:
        return np.empty((len(query_BD), 0)), key_BK
    return (key_BK // num_candidates) / 10**DECIMALS, num_candidates - 1 - key_BK % num_candidates


def _best_keys(query_BD: np.ndarray, candidate_CD: np.ndarray, kept: int) -> np.ndarray:
    """The largest keys of each query, in falling order.

    A key is one integer that orders by similarity, then by row from the first: similarity in steps of 10^-DECIMALS,
    times C, plus C - 1 - row. Keys are distinct, so a partition of them has one result, whatever the block size.
    """
    num_candidates = len(candidate_CD)
    step = max(1, BLOCK_CELLS // max(1, len(query_BD)))
    best = np.empty((len(query_BD), 0), dtype=np.int64)
    for start in range(0, num_candidates, step):
        similarity = query_BD @ candidate_CD[start : start + step].T
        key = np.rint(similarity * np.float32(10**DECIMALS)).astype(np.int64)
        key *= num_candidates
        key += num_candidates - 1 - np.arange(start, start + key.shape[1])
        if key.shape[1] > kept:
            key = np.partition(key, -kept, axis=1)[:, -kept:]
        best = np.concatenate([best, key], axis=1)
        if best.shape[1] > kept:
            best = np.partition(best, -kept, axis=1)[:, -kept:]
    return -np.sort(-best, axis=1)
