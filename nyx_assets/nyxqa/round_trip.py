"""Does a question lead back to its chunk? Searched among the chunks of its crawl partition."""

from collections.abc import Iterator, Sequence

from nyx_assets.nyxqa.pairs import Means, Objection, Outcome, Pair
from nyx_assets.rag.bm25 import Bm25Corpus
from training_kernels.documents import Document

DEPTH = 10
"""How much deeper than the threshold is looked, in multiples of it, so that a rejection says how far off it was."""


def not_found_again(pairs: Sequence[Pair], top_k: float, means: Means) -> Iterator[Outcome]:
    """Pairs whose question finds its golden chunk within rank `top_k` by BM25.

    Choice: among the chunks of the partition, so that a landing changes no pair of another; and by words only, so a
    question that shows a picture passes: what it lacks in words stands in its picture.
    """
    chunks = means.chunk_by_id
    corpus = Bm25Corpus(list(chunks), [Document.from_rows(chunk["segments"]).text for chunk in chunks.values()])
    for pair in pairs:
        if pair.question.images:
            yield pair
            continue
        depth = int(top_k * DEPTH)
        hits = [chunk_id for chunk_id, _ in corpus.search([pair.question.text], depth)[0]]
        golden = pair.chunk["chunk_id"]
        rank = hits.index(golden) + 1 if golden in hits else None
        if rank is not None and rank <= top_k:
            yield pair
        else:
            where = f"at rank {rank}" if rank else f"not among the first {depth}"
            yield Objection(
                "not_found_again",
                f"the question finds its chunk {where} of {len(chunks):,} chunks by words; rank {top_k:g} needed",
                None if rank is None else float(rank),
            )
