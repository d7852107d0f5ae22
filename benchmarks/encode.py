"""Embedding a mixed corpus against sentence-transformers' encode: python -m benchmarks.encode [--json].

The same weights and documents on one thread in float32; the vectors are compared before anything is timed. Documents:
two in five are queries of some 20 tokens, seven in twenty passages of some 180, the rest pictures, most with a
caption, that come at 144 to 900 visual tokens and are scaled down to the budget of 400.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.report import argument_parser, compare_speed, print_comparison
from benchmarks.vlm_peer import MadePictures, made_picture, made_text, make_weights, open_ours, open_peer, peer_inputs
from training_kernels.documents import Document, Segment

NUM_DOCUMENTS = 256
PEER_BATCH = 32
"""The library's default."""
MAX_DIFFERENCE = 1e-5


def made_corpus(num_documents: int, *, seed: int) -> tuple[list[Document], MadePictures]:
    """Documents in arrival order, and their pictures."""
    generator = np.random.default_rng(seed)
    documents, pictures = [], {}
    for number in range(num_documents):
        kind = generator.random()
        if kind < 0.75:
            median, least, most = (20, 5, 80) if kind < 0.4 else (180, 40, 700)
            num_words = int(np.clip(generator.lognormal(np.log(median), 0.45), least, most))
            documents.append(Document.of(made_text(generator, num_words=num_words)))
        else:
            pictures[str(number)] = made_picture(generator, visual_tokens=2.25 * generator.integers(64, 400))
            caption = made_text(generator, num_words=int(np.clip(generator.lognormal(np.log(60), 0.6), 10, 400)))
            picture = Segment(image=str(number))
            documents.append(Document.of(picture) if generator.random() < 0.2 else Document.of(picture, caption))
    return documents, MadePictures(pictures)


def main() -> None:
    parser = argument_parser(__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=NUM_DOCUMENTS)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    documents, pictures = made_corpus(options.documents, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        make_weights(Path(folder), seed=0)
        encoder, peer = open_ours(Path(folder)), open_peer(Path(folder))
    inputs = peer_inputs(documents, pictures)

    def ours() -> np.ndarray:
        encoder.forget_pictures()  # each round scales every picture, as the peer does
        return encoder.encode(documents, pictures, side="candidate")

    def theirs() -> np.ndarray:
        return peer.encode(inputs, batch_size=PEER_BATCH, show_progress_bar=False)

    difference = float(np.abs(ours() - theirs()).max())
    if not difference <= MAX_DIFFERENCE:
        raise AssertionError(f"our vectors differ from the peer's by {difference}; nothing was timed")
    comparison = compare_speed(
        f"encode, {len(documents)} mixed documents, vectors equal to {difference:.0e}",
        ours=ours,
        peer=theirs,
        amount=len(documents),
        unit="documents/s",
        num_rounds=options.rounds,
    )
    print_comparison(comparison, as_json=options.json)


if __name__ == "__main__":
    main()
