"""Exact nearest neighbours: a cheap look at every candidate with a proven error, then float64 for those that may win.

The first pass ranks all candidates by products of lower precision whose error has a bound; whatever the bound cannot
rule out is scored again in float64. So the result is that of float64 throughout, whatever the block size, the number
of threads or the precision of the first pass.

Shape letters: B queries, C candidates, D width, K kept, G groups of candidates.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

DECIMALS = 6
"""Similarities are compared to this many decimals. Choice: embeddings are float32, and two encodings of one document
differ by up to about 1e-7 in cosine with their place in a batch; finer differences are rounding, not rank."""

BLOCK_QUERIES = 256
BLOCK_CELLS = 16_000_000
"""Similarities held at once: 64 MB as float32."""

GROUP = 32
"""Candidates of which only the best is compared at first: one pass of maxima in place of a selection over all."""
MIN_GROUPS_PER_KEPT = 8
"""Fewer groups than this for each place would put several winners into one group and keep too much."""

MIN_BFLOAT16_PRODUCTS = 2**36
"""Multiplications from which importing torch (2 s) and converting the candidates are made up for."""

FLOAT32_UNIT = 2.0**-24
BFLOAT16_UNIT = 2.0**-8
"""Largest relative error of one rounding."""

Product = Callable[[np.ndarray, slice], np.ndarray]


@dataclass(frozen=True, slots=True)
class _FirstPass:
    """Approximate similarities, and how far they can be off.

    |approximate - true| <= absolute_error + relative_error * |approximate|.
    """

    product: Product
    """float32 [B, candidates of the slice] of float32 queries [B, D]."""
    absolute_error: float
    relative_error: float


def exact_top_k(query_BD: np.ndarray, candidate_CD: np.ndarray, *, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and row of the most similar candidates of each query, best first: float64 [B, K], int64 [B, K].

    K is the smaller of top_k and C. Cosines are rounded to DECIMALS. Candidates of equal similarity come in the order
    of their rows, so candidates sorted by id give ties settled by id.

    Args:
        query_BD: float32, unit norm.
        candidate_CD: float32, unit norm.
    """
    num_candidates = len(candidate_CD)
    kept = min(top_k, num_candidates)
    similarity_BK = np.empty((len(query_BD), kept))
    row_BK = np.empty((len(query_BD), kept), dtype=np.int64)
    if kept == 0 or len(query_BD) == 0:
        return similarity_BK, row_BK
    first_pass = _first_pass(query_BD, candidate_CD)
    for start in range(0, len(query_BD), BLOCK_QUERIES):
        block_BD = query_BD[start : start + BLOCK_QUERIES]
        for place, rows in enumerate(_possible_winners(block_BD, num_candidates, kept, first_pass), start=start):
            similarity_BK[place], row_BK[place] = _best(query_BD[place], candidate_CD, rows, kept)
    return similarity_BK, row_BK


def pair_similarities(query_BD: np.ndarray, candidate_BD: np.ndarray) -> np.ndarray:
    """Cosine of each query with the candidate of its own row, rounded like those of exact_top_k: float64 [B]."""
    return np.array(
        [
            np.round(query.astype(np.float64) @ candidate.astype(np.float64), DECIMALS)
            for query, candidate in zip(query_BD, candidate_BD, strict=True)
        ]
    )


def _best(query_D: np.ndarray, candidate_CD: np.ndarray, rows: np.ndarray, kept: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `kept` of these rows by float64 similarity, then by row."""
    similarity = np.round(candidate_CD[rows].astype(np.float64) @ query_D.astype(np.float64), DECIMALS)
    order = np.lexsort((rows, -similarity))[:kept]
    return similarity[order], rows[order]


def _possible_winners(query_BD: np.ndarray, num_candidates: int, kept: int, first_pass: _FirstPass) -> list[np.ndarray]:
    """For each query, the rows of all candidates that may be among its best `kept`, in no order."""
    found_query, found_row, found_score = [], [], []
    step = max(kept, BLOCK_CELLS // len(query_BD))
    for start in range(0, num_candidates, step):
        tile = slice(start, min(start + step, num_candidates))
        query, row, score = _promising(first_pass.product(query_BD, tile), kept, first_pass)
        found_query.append(query)
        found_row.append(row + start)
        found_score.append(score)
    query_N, row_N, score_N = np.concatenate(found_query), np.concatenate(found_row), np.concatenate(found_score)
    order = np.argsort(query_N, kind="stable")
    bounds = np.searchsorted(query_N[order], np.arange(len(query_BD) + 1))
    row_N, score_N = row_N[order], score_N[order]
    winners = []
    for low, high in pairwise(bounds):
        score = score_N[low:high]
        last = np.partition(score, len(score) - kept)[len(score) - kept]
        winners.append(row_N[low:high][score >= last - _window(last, first_pass)])
    return winners


def _promising(score_BC: np.ndarray, kept: int, first_pass: _FirstPass) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Query, candidate and approximate score of every candidate of a tile that may be among its best `kept`.

    The K-th largest of the group maxima is at most the K-th largest score, so nothing is lost by comparing with it.
    """
    num_queries, num_candidates = score_BC.shape
    kept = min(kept, num_candidates)
    num_groups = num_candidates // GROUP
    if num_groups < MIN_GROUPS_PER_KEPT * kept:
        last_B = np.partition(score_BC, num_candidates - kept, axis=1)[:, num_candidates - kept]
        query_N, row_N = np.nonzero(score_BC >= (last_B - _window(last_B, first_pass))[:, None])
        return query_N, row_N, score_BC[query_N, row_N]
    # group g holds the columns g, g + G, g + 2 G, ...: the maxima of whole rows of memory, and neighbours apart
    grouped = num_groups * GROUP
    best_BG = score_BC[:, :grouped].reshape(num_queries, GROUP, num_groups).max(axis=1)
    last_B = np.partition(best_BG, num_groups - kept, axis=1)[:, num_groups - kept]
    least_B = last_B - _window(last_B, first_pass)
    query_N, group_N = np.nonzero(best_BG >= least_B[:, None])
    column_NM = group_N[:, None] + num_groups * np.arange(GROUP)
    score_NM = score_BC[query_N[:, None], column_NM]
    place_N, member_N = np.nonzero(score_NM >= least_B[query_N][:, None])
    query_R, row_R = np.nonzero(score_BC[:, grouped:] >= least_B[:, None])
    return (
        np.concatenate([query_N[place_N], query_R]),
        np.concatenate([column_NM[place_N, member_N], row_R + grouped]),
        np.concatenate([score_NM[place_N, member_N], score_BC[query_R, row_R + grouped]]),
    )


def _window(last: np.ndarray, first_pass: _FirstPass) -> np.ndarray:
    """How far below the K-th approximate score a candidate may lie and still be among the true best K.

    With the error e(x) = a + r |x|: a candidate w below the K-th score t is out if t - w + e(t - w) < t - e(t), which
    |t - w| <= |t| + w makes sure of for w (1 - r) > 2 (a + r |t|). One unit of the last decimal is added for ties.
    """
    error = first_pass.absolute_error + first_pass.relative_error * np.abs(last)
    return 2 * error / (1 - first_pass.relative_error) + 10.0**-DECIMALS


def _first_pass(query_BD: np.ndarray, candidate_CD: np.ndarray) -> _FirstPass:
    num_products = query_BD.shape[0] * candidate_CD.shape[0] * candidate_CD.shape[1]
    if num_products >= MIN_BFLOAT16_PRODUCTS and _has_bfloat16():
        return _in_bfloat16(query_BD, candidate_CD)
    return _in_float32(query_BD, candidate_CD)


def _in_float32(query_BD: np.ndarray, candidate_CD: np.ndarray) -> _FirstPass:
    """Source: Higham 2002, Accuracy and Stability of Numerical Algorithms, section 3.1: D u |q| |c| in any order."""
    error = 2 * query_BD.shape[1] * FLOAT32_UNIT * _longest(query_BD) * _longest(candidate_CD)
    return _FirstPass(lambda block_BD, tile: block_BD @ candidate_CD[tile].T, error, 0.0)


def _in_bfloat16(query_BD: np.ndarray, candidate_CD: np.ndarray) -> _FirstPass:
    """Products of bfloat16 with float32 sums, in bfloat16 again.

    The error of the inputs is measured, not assumed: |q c - q' c'| <= |q - q'| |c| + |q'| |c - c'|.
    """
    import torch

    def rounded(rows: np.ndarray) -> tuple[torch.Tensor, float]:
        low = torch.from_numpy(np.ascontiguousarray(rows)).bfloat16()
        step = 4096  # rows turned back at a time, so that the check needs no copy of all candidates
        return low, max(
            _longest(rows[start : start + step] - low[start : start + step].float().numpy())
            for start in range(0, len(rows), step)
        )

    candidates, candidate_error = rounded(candidate_CD)
    _, query_error = rounded(query_BD)
    query_length, candidate_length = _longest(query_BD), _longest(candidate_CD)
    sums = 2 * query_BD.shape[1] * FLOAT32_UNIT * query_length * candidate_length
    error = query_error * candidate_length + (query_length + query_error) * candidate_error + 2 * sums

    def product(block_BD: np.ndarray, tile: slice) -> np.ndarray:
        block = torch.from_numpy(np.ascontiguousarray(block_BD)).bfloat16()
        return (block @ candidates[tile].T).float().numpy()

    return _FirstPass(product, error, BFLOAT16_UNIT)


def _longest(rows: np.ndarray) -> float:
    """Largest norm of a row."""
    return float(np.sqrt(np.einsum("cd,cd->c", rows, rows, dtype=np.float32).max(initial=0.0))) * (1 + 1e-3)


def _has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 faster than float32."""
    import torch

    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
