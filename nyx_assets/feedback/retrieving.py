"""The queries of the feedback stage with what is retrieved for them, block by block, so that no partition is held whole."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from nyx_assets.feedback.trying import Query, queries_of
from nyx_assets.rag.dense import DenseCorpus
from nyx_assets.rag.drawing import draw_by_hash
from nyx_assets.recipes import FeedbackRecipe
from resources.embedder import Embedder
from resources.home import Home
from training_kernels.documents import Document

BLOCK_QUERIES = 256
"""Choice: queries embedded and searched together; their rows take about a megabyte, their answers minutes."""


def drawn_ids(home: Home, partition: str | None, *, at_most: int, seed: int) -> list[str]:
    """Ids of the training pairs to try, at most so many, in order of id."""
    batches = home.tables.batches("filtered_qa", partition=partition, columns=["qa_id", "split"])
    training = {row["qa_id"] for batch in batches for row in batch.to_pylist() if row["split"] == "train"}
    return draw_by_hash(training, limit=at_most, seed=seed)


def retrieved(
    home: Home,
    partition: str | None,
    qa_ids: list[str],
    embedder: Embedder,
    corpus: DenseCorpus,
    recipe: FeedbackRecipe,
) -> Iterator[Query]:
    """Each of these pairs once, with its windows. The next block is embedded while this one's answers are waited for."""
    blocks = _blocks(home, partition, set(qa_ids))

    def search() -> list[Query] | None:
        block = next(blocks, None)
        if block is None:
            return None
        query_BD = embedder.embed([Document.from_rows(pair["question"]) for pair in block], side="query")
        return list(queries_of(block, corpus.search(query_BD, recipe.top_k), recipe))

    with ThreadPoolExecutor(max_workers=1) as ahead:
        coming = ahead.submit(search)
        while (block := coming.result()) is not None:
            coming = ahead.submit(search)
            yield from block


def _blocks(home: Home, partition: str | None, wanted: set[str]) -> Iterator[list[Mapping[str, Any]]]:
    """Rows of filtered_qa as they are stored, those of one chunk together, each pair once."""
    block: list[Mapping[str, Any]] = []
    for batch in home.tables.batches("filtered_qa", partition=partition):
        for pair in batch.to_pylist():
            if pair["qa_id"] not in wanted:
                continue
            wanted.discard(pair["qa_id"])
            block.append(pair)
            if len(block) == BLOCK_QUERIES:
                yield block
                block = []
    if block:
        yield block
