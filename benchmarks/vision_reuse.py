"""A step on pictures with a frozen vision tower: python -m benchmarks.vision_reuse [--json].

LoRA on the language model alone; every candidate is a picture of some 144 visual tokens with a caption. Two comparisons:
our step, which reads each picture once, against sentence-transformers' cached loss, and against our own step when it
reads the pictures in both passes. The gradients are compared before anything is timed.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.contrastive_steps import Pairs, Side, adapt, our_side, require_equal_gradients, their_side
from benchmarks.report import argument_parser, compare_speed, print_comparison
from benchmarks.step import PEER_MINI_BATCH, longest_tokens
from benchmarks.vlm_peer import MadePictures, made_picture, made_text, make_weights
from training_kernels import gradcache
from training_kernels.documents import Document, Segment

NUM_PAIRS = 128
VISUAL_TOKENS = 144
"""Pictures of about 336 x 336."""


def made_pairs(num_pairs: int, *, seed: int) -> Pairs:
    """A short query, and a picture with a caption of ten words, each."""
    generator = np.random.default_rng(seed)
    pictures = {str(row): made_picture(generator, visual_tokens=VISUAL_TOKENS) for row in range(num_pairs)}
    captions = [made_text(generator, num_words=10) for _ in range(num_pairs)]
    return Pairs(
        queries=[Document.of(f"{row} {made_text(generator, num_words=6)}") for row in range(num_pairs)],
        candidates=[Document.of(Segment(image=str(row)), f"{row} {captions[row]}") for row in range(num_pairs)],
        pictures=MadePictures(pictures),
    )


def reading_twice(side: Side) -> Side:
    """The same side without reuse: every pass reads the pictures of its group."""

    def backward() -> float:
        shared = gradcache.shared_features
        gradcache.shared_features = lambda encoder, max_bytes: None
        try:
            return side.backward()
        finally:
            gradcache.shared_features = shared

    return Side(side.model, backward, side.optimizer)


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
        ours = our_side(folder, pairs, token_budget=budget, prepare=adapt)
        theirs = their_side(folder, pairs, mini_batch=PEER_MINI_BATCH, prepare=adapt)
    for name, peer in (("sentence-transformers", theirs), ("ours without reuse", reading_twice(ours))):
        difference = require_equal_gradients(ours, peer)
        comparison = compare_speed(
            f"vision_reuse against {name}, {options.pairs} pairs, {budget:,} tokens at once, gradients equal to "
            f"{difference:.0e}",
            ours=ours.step,
            peer=peer.step,
            amount=options.pairs,
            unit="pairs/s",
            num_rounds=options.rounds,
        )
        print_comparison(comparison, as_json=options.json)


if __name__ == "__main__":
    main()
