"""Speed of finding near-duplicate chunks against the library datasketch: python -m benchmarks.dedup [--json].

Both sign the same generated chunks, a tenth of them edited copies of others, by MinHash of 128 permutations over the
same runs of five words, and find near copies by bands. Ours is measured on all of them, tables read and written
included; datasketch, whose time grows with the chunks one by one, on a part of them.
"""

import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.report import argument_parser, comparison_of, print_comparison
from nyx_assets.corpus.near_duplicates import near_text_rows
from nyx_assets.corpus.signatures import chunk_signatures
from nyx_assets.near_copies import NUM_PERMUTATIONS, SEED, shingles
from nyx_assets.recipes import tiny
from nyx_assets.records import CHUNK_SIGNATURES
from resources.home import Home
from resources.tables import Provenance

WORDS_PER_CHUNK = 140
"""About 200 tokens, the size of a chunk of the recipes."""
VOCABULARY = 30_000
CHUNKS_FOR_THE_PEER = 5_000
COPY_EVERY = 10
CHANGED_WORDS = 4
"""An edited copy keeps 116 of 156 runs, a similarity of 0.74: above the recipe's 0.7, close enough to be missed."""


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    chunks = list(_chunks(options.chunks))
    part = chunks[:CHUNKS_FOR_THE_PEER]
    rounds, found = [], 0
    for _ in range(options.rounds):
        begun = time.perf_counter()
        found = _ours(chunks)
        ours = time.perf_counter() - begun
        begun = time.perf_counter()
        _peer(part)
        peer = time.perf_counter() - begun
        rounds.append((len(chunks) / ours, len(part) / peer))
    comparison = comparison_of("dedup", rounds, unit="chunks/s")
    print_comparison(comparison, as_json=options.json)
    if not options.json:
        planted = options.chunks // COPY_EVERY
        print(
            f"{options.chunks:,} chunks in {options.chunks / comparison.ours:.0f} s; {found:,} of {planted:,} planted"
        )


def _chunks(num: int) -> Iterator[dict[str, Any]]:
    """Chunks of random words; every COPY_EVERY-th is the one before it with some words changed."""
    drawn = random.Random(SEED)
    words: list[str] = []
    for number in range(num):
        if number % COPY_EVERY == COPY_EVERY - 1:
            words = list(words)
            for place in drawn.sample(range(len(words)), CHANGED_WORDS):
                words[place] = f"x{number}"
        else:
            words = [f"w{drawn.randrange(VOCABULARY)}" for _ in range(WORDS_PER_CHUNK)]
        segments = [{"kind": "text", "text": " ".join(words), "image": None}]
        yield {"chunk_id": f"{number:08}", "doc_id": f"{number:08}", "segments": segments}


def _ours(chunks: list[dict[str, Any]]) -> int:
    """Number of planted copies that stand in the cluster of what they were made from."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home.at(Path(folder))
        made = Provenance(code_version="benchmark")
        with home.tables.write("chunk_signatures", CHUNK_SIGNATURES, partition="one", provenance=made) as table:
            table.append(chunk_signatures(chunks))
        similarity = tiny().deduplication.min_chunk_similarity
        rows = near_text_rows(home, "chunk", "chunk_signatures", "chunk_id", similarity)
    cluster = {row["id"]: row["cluster"] for row in rows}
    return sum(
        f"{number:08}" in cluster and cluster[f"{number:08}"] == cluster.get(f"{number - 1:08}")
        for number in range(COPY_EVERY - 1, len(chunks), COPY_EVERY)
    )


def _peer(chunks: list[dict[str, Any]]) -> None:
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=tiny().deduplication.min_chunk_similarity, num_perm=NUM_PERMUTATIONS)
    for chunk in chunks:
        signature = MinHash(num_perm=NUM_PERMUTATIONS, seed=SEED)
        signature.update_batch([run.encode() for run in shingles(chunk["segments"][0]["text"])])
        near = index.query(signature)
        assert chunk["chunk_id"] not in near
        index.insert(chunk["chunk_id"], signature)


if __name__ == "__main__":
    main()
