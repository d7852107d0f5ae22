"""Which chunks the teacher is asked about, and in which ways: decided for each chunk by itself, and always visible."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nyx_assets.qa_recipes import QAVariant, SamplingRecipe, Stratum

Row = Mapping[str, Any]


def stratum_of(num_images: int) -> Stratum:
    """Kind of a chunk by the number of its pictures."""
    if num_images == 0:
        return "text_only"
    return "single_image" if num_images == 1 else "multi_image"


def draw_of(chunk_id: str, *, seed: int) -> float:
    """A number from 0 to 1 that only the chunk's id and the seed decide."""
    digest = hashlib.sha256(f"sample/{seed}/{chunk_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def sample_chunks(
    chunks: Iterable[Row], *, recipe: SamplingRecipe, variants: Iterable[QAVariant], seed: int
) -> Iterator[dict[str, Any]]:
    """One row of `sampled_chunks` (without `crawl`) for each row of `chunked_corpus`, in order: asked about or why not."""
    rate_by_stratum, variants = dict(recipe.rate_by_stratum), tuple(variants)
    for chunk in chunks:
        stratum = stratum_of(chunk["num_images"])
        rate, draw = rate_by_stratum[stratum], draw_of(chunk["chunk_id"], seed=seed)
        fitting = [variant.name for variant in variants if _fits(variant, chunk["num_images"])]
        if draw >= rate:
            reason = f"not_drawn: {draw:.4f} is not below the rate {rate:.4f} of {stratum} chunks"
        elif not fitting:
            reason = f"no_variant: no way to ask about a chunk with {chunk['num_images']} picture(s) is in the recipe"
        else:
            reason = None
        yield {
            "chunk_id": chunk["chunk_id"],
            "stratum": stratum,
            "draw": draw,
            "rate": rate,
            "variants": fitting if reason is None else [],
            "reason": reason,
        }


def _fits(variant: QAVariant, num_images: int) -> bool:
    fewest, most = variant.chunk_pictures
    return fewest <= num_images <= most


def calls_for(
    chunks: Iterable[Row], *, variants_by_chunk: Mapping[str, Iterable[str]], variants: Iterable[QAVariant]
) -> Iterator[tuple[Row, QAVariant]]:
    """A chunk and a way to ask about it, for each call to the teacher, in order of chunks and of the recipe.

    Args:
        chunks: rows of `chunked_corpus`.
        variants_by_chunk: column `variants` of `sampled_chunks`.
    """
    variant_by_name = {variant.name: variant for variant in variants}
    for chunk in chunks:
        for name, variant in variant_by_name.items():
            if name in variants_by_chunk.get(chunk["chunk_id"], ()):
                yield chunk, variant
