"""Forward and backward of our Matryoshka InfoNCE against sentence-transformers: python -m benchmarks.loss [--json].

Loss stage only: the embeddings are given. Width 2,048, dims 2,048, 1,024, 512 and 256, float32; rounds are taken in turns.
On a CPU one thread, and times are seconds of this process on the processor, so that other work on the machine does not
count. With --device cuda times are wall times from an idle GPU to an idle GPU, 16,384 pairs are the default, and the peak
memory of either side is printed.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads would steal the other side's time

import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from benchmarks.devices import (
    MEBIBYTE,
    add_device_option,
    described,
    extra_gpu_bytes,
    utilisation,
    wall_seconds,
)
from benchmarks.flops import info_nce_flops
from benchmarks.report import Comparison, argument_parser, comparison_of, print_comparison
from benchmarks.sentence_transformers_losses import TEMPERATURE, WEIGHT_BY_DIM, cached_gradients, plain_gradients
from training_kernels.losses import matryoshka_info_nce

Gradients = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

PANEL_BYTES = 64 * 2**20
MAX_DIFFERENCE = 1e-5
"""Of a gradient, relative to its largest entry: either sums 2,048 float32 products, in another order."""

GPU_SIZE, GPU_ROUNDS = 16_384, 11

ROUNDS_BY_SIZE = {1024: 7, 4096: 5, 16384: 3}
CACHED_SIZE, CACHED_MINI_BATCHES = 1024, (4, 8)
"""Mini-batches that a VLM leaves room for."""


CPU = torch.device("cpu")


def made_embeddings(num_pairs: int, device: torch.device = CPU) -> tuple[Tensor, Tensor]:
    """Queries [N, D] and candidates [N, D], row by row a little alike."""
    generator = torch.Generator().manual_seed(0)
    dim = WEIGHT_BY_DIM[0][0]
    candidate_ND = torch.randn(num_pairs, dim, generator=generator)
    query_ND = 0.1 * candidate_ND + torch.randn(num_pairs, dim, generator=generator)
    return query_ND.to(device), candidate_ND.to(device)


def our_gradients(query_BD: Tensor, candidate_CD: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of matryoshka_info_nce by queries and candidates."""
    query, candidate = (one.detach().requires_grad_() for one in (query_BD, candidate_CD))
    loss, _ = matryoshka_info_nce(
        query,
        candidate,
        torch.arange(len(query), device=query.device),
        temperature=TEMPERATURE,
        weight_by_dim=WEIGHT_BY_DIM,
        panel_bytes=PANEL_BYTES,
    )
    loss.backward()
    return query.grad, candidate.grad


def compare(
    name: str, peer: Gradients, *, num_pairs: int, num_rounds: int, device: torch.device = CPU
) -> list[Comparison]:
    """Passes a second of either, the FLOP/s that they come to, and on a GPU their memory; after their gradients, which
    also warm both up, were found equal."""
    embeddings = made_embeddings(num_pairs, device)
    for got, expected in zip(our_gradients(*embeddings), peer(*embeddings), strict=True):
        difference = float((got - expected).abs().max() / expected.abs().max())
        if not difference <= MAX_DIFFERENCE:
            raise AssertionError(
                f"{name}: gradients differ by {difference:.1e} of the largest, allowed {MAX_DIFFERENCE}"
            )
    del got, expected
    sides = [partial(our_gradients, *embeddings), partial(peer, *embeddings)]
    rounds = [(1 / _seconds(sides[0], device), 1 / _seconds(sides[1], device)) for _ in range(num_rounds)]
    where = "one thread, loss stage only" if device.type == "cpu" else "loss stage only"
    accelerator = described(device)
    passes = comparison_of(name, rounds, unit=f"passes/s, {where}", accelerator=accelerator)
    flops = info_nce_flops(num_pairs, num_pairs, WEIGHT_BY_DIM[0][0])
    shares = [utilisation(flops * speed, device, torch.float32) for speed in (passes.ours, passes.peer)]
    comparisons = [
        passes,
        comparison_of(
            name,
            [(flops * ours / 1e12, flops * theirs / 1e12) for ours, theirs in rounds],
            unit=f"TFLOP/s that the loss asks for, float32, utilisation {shares[0]} and {shares[1]}",
            accelerator=accelerator,
        ),
    ]
    if device.type == "cuda":
        ours, theirs = (extra_gpu_bytes(side, device) / MEBIBYTE for side in sides)
        unit = "MiB above the inputs, less is better"
        comparisons.append(comparison_of(name, [(ours, theirs)], unit=unit, accelerator=accelerator))
    return comparisons


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        return wall_seconds(work, device)
    start = time.process_time()
    work()
    return time.process_time() - start


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argument_parser(__doc__.splitlines()[0])
    add_device_option(parser)
    parser.add_argument("--sizes", type=int, nargs="*", help="pairs in the batch")
    parser.add_argument("--rounds", type=int, help="instead of seven, five and three for the three sizes")
    parser.add_argument(
        "--cached-size", type=int, default=CACHED_SIZE, help="pairs against the cached loss; 0: not at all"
    )
    options = parser.parse_args(arguments)
    device: torch.device = options.device
    is_gpu = device.type == "cuda"
    if not is_gpu:
        torch.set_num_threads(1)
    sizes = options.sizes or ([GPU_SIZE] if is_gpu else list(ROUNDS_BY_SIZE))
    works = [
        (f"loss, N = {size:,}, against its plain loss", plain_gradients, size, ROUNDS_BY_SIZE.get(size, 3))
        for size in sizes
    ]
    if options.cached_size:
        works += [
            (
                f"loss, N = {options.cached_size:,}, against its cached loss at mini-batch {mini_batch_size}",
                partial(cached_gradients, mini_batch_size=mini_batch_size),
                options.cached_size,
                3,
            )
            for mini_batch_size in CACHED_MINI_BATCHES
        ]
    for name, peer, size, num_rounds in works:
        num_rounds = options.rounds or (GPU_ROUNDS if is_gpu else num_rounds)
        for comparison in compare(name, peer, num_pairs=size, num_rounds=num_rounds, device=device):
            print_comparison(comparison, as_json=options.json)


if __name__ == "__main__":
    main()
