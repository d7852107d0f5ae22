"""A whole training step with GradCache against sentence-transformers: python -m benchmarks.step [--json].

The same weights, pairs and loss on one thread in float32, every weight learning; the gradients are compared before
anything is timed. The peer's mini-batch is 8 documents; ours is the padded tokens that its largest one holds.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.contrastive_steps import Pairs, our_side, require_equal_gradients, their_side
from benchmarks.report import argument_parser, compare_speed, print_comparison
from benchmarks.vlm_peer import MadePictures, made_picture, made_text, make_weights, open_ours
from training_kernels.documents import Document, Segment

NUM_PAIRS = 128
PEER_MINI_BATCH = 8


def made_pairs(num_pairs: int, *, seed: int) -> Pairs:
    """Short queries; every second candidate is a passage, the others pictures of 20 to 80 visual tokens with text."""
    generator = np.random.default_rng(seed)
    queries = [
        Document.of(f"{row} {made_text(generator, num_words=int(generator.integers(3, 10)))}")
        for row in range(num_pairs)
    ]
    candidates, pictures = [], {}
    for row in range(num_pairs):
        text = f"{row} {made_text(generator, num_words=int(np.clip(generator.lognormal(np.log(30), 0.6), 5, 100)))}"
        if row % 2:
            pictures[str(row)] = made_picture(generator, visual_tokens=2.25 * generator.integers(9, 36))
            candidates.append(Document.of(Segment(image=str(row)), text))
        else:
            candidates.append(Document.of(text))
    return Pairs(queries=queries, candidates=candidates, pictures=MadePictures(pictures))


def longest_tokens(folder: Path, pairs: Pairs) -> int:
    """Tokens of the longest document."""
    sequences = open_ours(folder).render(pairs.candidates, pairs.pictures, side="candidate")
    return max(len(sequence) for sequence in sequences)


def main() -> None:
    parser = argument_parser(__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=NUM_PAIRS)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    pairs = made_pairs(options.pairs, seed=0)
    with tempfile.TemporaryDirectory() as name:
        folder = make_weights(Path(name), seed=0)
        budget = PEER_MINI_BATCH * longest_tokens(folder, pairs)
        ours = our_side(folder, pairs, token_budget=budget, prepare=lambda _: None)
        theirs = their_side(folder, pairs, mini_batch=PEER_MINI_BATCH, prepare=lambda _: None)
    difference = require_equal_gradients(ours, theirs)
    comparison = compare_speed(
        f"step, {options.pairs} pairs, {budget:,} tokens at once, gradients equal to {difference:.0e}",
        ours=ours.step,
        peer=theirs.step,
        amount=options.pairs,
        unit="pairs/s",
        num_rounds=options.rounds,
    )
    print_comparison(comparison, as_json=options.json)


if __name__ == "__main__":
    main()
