"""Forward and backward of our Matryoshka InfoNCE against sentence-transformers: python -m benchmarks.loss [--json].

Loss stage only: the embeddings are given. Width 2,048, dims 2,048, 1,024, 512 and 256, float32, one thread. Times are
seconds of this process on the processor, so that other work on the machine does not count; rounds are taken in turns.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads would steal the other side's time

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.report import Comparison, argument_parser, comparison_of, print_comparison
from benchmarks.sentence_transformers_losses import TEMPERATURE, WEIGHT_BY_DIM, cached_gradients, plain_gradients
from training_kernels.losses import matryoshka_info_nce

Gradients = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

PANEL_BYTES = 64 * 2**20
MAX_DIFFERENCE = 1e-5
"""Of a gradient, relative to its largest entry: either sums 2,048 float32 products, in another order."""

ROUNDS_BY_SIZE = {1024: 7, 4096: 5, 16384: 3}
CACHED_SIZE, CACHED_MINI_BATCHES = 1024, (4, 8)
"""Mini-batches that a VLM leaves room for."""


def made_embeddings(num_pairs: int) -> tuple[Tensor, Tensor]:
    """Queries [N, D] and candidates [N, D], row by row a little alike."""
    generator = torch.Generator().manual_seed(0)
    dim = WEIGHT_BY_DIM[0][0]
    candidate_ND = torch.randn(num_pairs, dim, generator=generator)
    return 0.1 * candidate_ND + torch.randn(num_pairs, dim, generator=generator), candidate_ND


def our_gradients(query_BD: Tensor, candidate_CD: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of matryoshka_info_nce by queries and candidates."""
    query, candidate = (one.detach().requires_grad_() for one in (query_BD, candidate_CD))
    loss, _ = matryoshka_info_nce(
        query,
        candidate,
        torch.arange(len(query)),
        temperature=TEMPERATURE,
        weight_by_dim=WEIGHT_BY_DIM,
        panel_bytes=PANEL_BYTES,
    )
    loss.backward()
    return query.grad, candidate.grad


def compare(name: str, peer: Gradients, *, num_pairs: int, num_rounds: int) -> Comparison:
    """Passes a second of either, after their gradients were found equal."""
    embeddings = made_embeddings(num_pairs)
    for got, expected in zip(our_gradients(*embeddings), peer(*embeddings), strict=True):
        difference = float((got - expected).abs().max() / expected.abs().max())
        if difference > MAX_DIFFERENCE:
            raise AssertionError(
                f"{name}: gradients differ by {difference:.1e} of the largest, allowed {MAX_DIFFERENCE}"
            )
    rounds = [(1 / _seconds(our_gradients, embeddings), 1 / _seconds(peer, embeddings)) for _ in range(num_rounds)]
    return comparison_of(name, rounds, unit="passes/s, one thread, loss stage only")


def _seconds(gradients: Gradients, embeddings: tuple[Tensor, Tensor]) -> float:
    start = time.process_time()
    gradients(*embeddings)
    return time.process_time() - start


def main() -> None:
    parser = argument_parser(__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=list(ROUNDS_BY_SIZE), help="pairs in the batch")
    parser.add_argument("--rounds", type=int, help="instead of seven, five and three for the three sizes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for num_pairs in options.sizes:
        num_rounds = options.rounds or ROUNDS_BY_SIZE.get(num_pairs, 3)
        comparison = compare(
            f"loss, N = {num_pairs:,}, against its plain loss",
            plain_gradients,
            num_pairs=num_pairs,
            num_rounds=num_rounds,
        )
        print_comparison(comparison, as_json=options.json)
    for mini_batch_size in CACHED_MINI_BATCHES:
        comparison = compare(
            f"loss, N = {CACHED_SIZE:,}, against its cached loss at mini-batch {mini_batch_size}",
            partial(cached_gradients, mini_batch_size=mini_batch_size),
            num_pairs=CACHED_SIZE,
            num_rounds=options.rounds or 3,
        )
        print_comparison(comparison, as_json=options.json)


if __name__ == "__main__":
    main()
