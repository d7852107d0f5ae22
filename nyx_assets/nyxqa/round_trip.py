"""Does a question lead back to its chunk? Searched by the recipe's retriever, in the partition or in the whole corpus."""

from collections.abc import Iterator, Mapping, Sequence

from nyx_assets.miners import ForeignEmbedders, open_miner
from nyx_assets.nyxqa.pairs import Means, Objection, Outcome, Pair, Row, Search
from nyx_assets.qa_recipes import RoundTripRecipe
from nyx_assets.rag.corpus import chunk_documents
from resources.embedder import Embedders
from resources.home import Home
from training_kernels.documents import Document

DEPTH = 10
"""How much deeper than the threshold is looked, in multiples of it, so that a rejection says how far off it was."""


def open_search(
    recipe: RoundTripRecipe,
    partition: Mapping[str, Row],
    *,
    home: Home,
    embedders: Embedders,
    foreign_embedders: ForeignEmbedders,
    crawl: str | None = None,
) -> Search:
    """The recipe's retriever over the chunks of a partition, given by id, or over those of all crawls.

    What it asks a server is entered under this crawl.

    Raises ConfigError and IncompleteArtifact as open_miner does.
    """
    if recipe.scope == "corpus":
        chunks = chunk_documents(home)
    else:
        chunks = {chunk_id: Document.from_rows(row["segments"]) for chunk_id, row in partition.items()}
    miner = open_miner(
        recipe.retriever,
        chunks,
        home=home,
        embedders=embedders,
        foreign_embedders=foreign_embedders,
        asset="filtered_qa",
        partition=crawl,
    )
    return Search(miner, f"{recipe.retriever} among {len(chunks):,} chunks of the {recipe.scope}")


def not_found_again(pairs: Sequence[Pair], top_k: float, means: Means) -> Iterator[Outcome]:
    """Pairs whose question finds its golden chunk within rank `top_k`.

    A retriever that reads no pictures is not asked about a question that shows one, and it passes: what it lacks in
    words stands in its picture.
    """
    if not pairs:
        return
    search = means.open_search()
    depth = int(top_k * DEPTH)
    asked = [pair for pair in pairs if search.miner.reads_pictures or not pair.question.images]
    golden_ids = [pair.chunk["chunk_id"] for pair in asked]
    mined = search.miner.mine([pair.question for pair in asked], golden_ids, top_k=depth)
    hits_by_qa = {pair.qa_id: one.hits for pair, one in zip(asked, mined, strict=True)}
    for pair in pairs:
        if pair.qa_id not in hits_by_qa:
            yield pair
            continue
        hits = [chunk_id for chunk_id, _ in hits_by_qa[pair.qa_id]]
        golden = pair.chunk["chunk_id"]
        rank = hits.index(golden) + 1 if golden in hits else None
        if rank is not None and rank <= top_k:
            yield pair
        else:
            where = f"at rank {rank}" if rank else f"not among the first {depth}"
            yield Objection(
                "not_found_again",
                f"the question finds its chunk {where} by {search.described}; rank {top_k:g} needed",
                None if rank is None else float(rank),
            )
