"""Peak memory of our Matryoshka InfoNCE against sentence-transformers: python -m benchmarks.loss_memory [--json].

What a child process of one loss needs above its inputs and libraries, the two gradients included. Linux only: the
high-water mark of resident memory is set back and read in /proc.
"""

import gc
import multiprocessing
from functools import partial
from pathlib import Path

import torch

from benchmarks.loss import Gradients, made_embeddings, our_gradients
from benchmarks.report import argument_parser, comparison_of, print_comparison
from benchmarks.sentence_transformers_losses import cached_gradients, plain_gradients

MEBIBYTE = 2**20
NUM_PAIRS = 16_384
LEAST_SIZE = 512
"""Choice: below that the process takes it from what its allocator already has, and a difference of 0 is measured."""
NUM_ROUNDS = 3
CACHED_MINI_BATCH = 1024
"""The least memory that its documentation's trade allows at this size in bearable time."""

PEERS: dict[str, Gradients] = {
    "plain loss": plain_gradients,
    f"cached loss at mini-batch {CACHED_MINI_BATCH:,}": partial(cached_gradients, mini_batch_size=CACHED_MINI_BATCH),
}


def peak_extra_bytes(gradients: Gradients, num_pairs: int) -> int:
    """Of a fresh process: resident bytes at their peak, above those before the pass."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_weighed, (gradients, num_pairs))


def _weighed(gradients: Gradients, num_pairs: int) -> int:
    torch.set_num_threads(1)
    gradients(*made_embeddings(64))  # libraries take their own memory at first use
    embeddings = made_embeddings(num_pairs)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark back to what is resident now
    before = _status_bytes("VmRSS")
    kept = gradients(*embeddings)
    peak = _status_bytes("VmHWM")
    del kept
    return peak - before


def _status_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f"{field}:")).split()[1])


def main() -> None:
    parser = argument_parser(__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=NUM_PAIRS, help="pairs in the batch")
    parser.add_argument("--rounds", type=int, default=NUM_ROUNDS)
    options = parser.parse_args()
    if options.size < LEAST_SIZE:
        parser.error(
            f"--size must be at least {LEAST_SIZE:,}, got {options.size:,}: less takes no memory that can be seen"
        )
    ours = [peak_extra_bytes(our_gradients, options.size) for _ in range(options.rounds)]
    for name, peer in PEERS.items():
        # ratio is ours / peer: the share of the peer's memory that ours takes
        rounds = [(one / MEBIBYTE, peak_extra_bytes(peer, options.size) / MEBIBYTE) for one in ours]
        comparison = comparison_of(
            f"loss_memory, N = {options.size:,}, against its {name}",
            rounds,
            unit="MiB above the inputs, less is better",
        )
        print_comparison(comparison, as_json=options.json)


if __name__ == "__main__":
    main()
