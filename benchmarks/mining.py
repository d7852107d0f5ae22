"""Exact top-k of exact_top_k against faiss IndexFlatIP on the same embeddings: python -m benchmarks.mining [--json].

One comparison with one thread and one with two. The queries are a sample of the 10,000 that the goal speaks of, for a
round of all of them takes half a minute; both sides scale with their number.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads would steal the other side's time

import faiss
import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks.report import Comparison, argument_parser, compare_speed, print_comparison
from resources.exact_search import exact_top_k

NUM_CHUNKS, DIM, TOP_K = 46_741, 2048, 20
"""The published corpus, the backbone's width, and the deepest rank that the published code mines."""

NUM_QUERIES = 2_000
NUM_ROUNDS = 5
CHUNKS_PER_TOPIC = 8
MAX_DIFFERENCE = 2e-6
"""faiss sums in float32 and we round to six decimals."""


def made_embeddings(num_queries: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Queries and chunks, float32 and unit norm: chunks in topics of eight, most of their energy in the first numbers."""
    generator = np.random.default_rng(seed)
    energy_D = ((1 + np.arange(DIM) / 64) ** -0.5).astype(np.float32)

    def drawn(num_rows: int) -> np.ndarray:
        return generator.standard_normal((num_rows, DIM), dtype=np.float32) * energy_D

    topic_CD = np.repeat(drawn(NUM_CHUNKS // CHUNKS_PER_TOPIC + 1), CHUNKS_PER_TOPIC, axis=0)[:NUM_CHUNKS]
    chunk_CD = topic_CD + 0.7 * drawn(NUM_CHUNKS)
    query_BD = chunk_CD[generator.integers(NUM_CHUNKS, size=num_queries)] + 0.9 * drawn(num_queries)
    return tuple(rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (query_BD, chunk_CD))


def compare(query_BD: np.ndarray, chunk_CD: np.ndarray, *, num_threads: int) -> Comparison:
    """Queries a second by either with so many threads, after their answers were found equal."""
    torch.set_num_threads(num_threads)
    faiss.omp_set_num_threads(num_threads)
    index = faiss.IndexFlatIP(DIM)
    index.add(chunk_CD)
    with threadpool_limits(num_threads):
        similarity_BK, _ = exact_top_k(query_BD, chunk_CD, top_k=TOP_K)
        peer_BK, _ = index.search(query_BD, TOP_K)
        difference = float(np.abs(similarity_BK - peer_BK).max())
        if difference > MAX_DIFFERENCE:
            raise AssertionError(f"the K-th similarities differ from faiss by {difference}")
        return compare_speed(
            f"mining, {num_threads} thread{'s' if num_threads > 1 else ''}",
            ours=lambda: exact_top_k(query_BD, chunk_CD, top_k=TOP_K),
            peer=lambda: index.search(query_BD, TOP_K),
            amount=len(query_BD),
            unit=f"queries/s in {NUM_CHUNKS:,} x {DIM:,}",
            num_rounds=NUM_ROUNDS,
        )


def main() -> None:
    parser = argument_parser(__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=NUM_QUERIES)
    options = parser.parse_args()
    query_BD, chunk_CD = made_embeddings(options.queries, seed=0)
    for num_threads in (1, 2):
        print_comparison(compare(query_BD, chunk_CD, num_threads=num_threads), as_json=options.json)


if __name__ == "__main__":
    main()
