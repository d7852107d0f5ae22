"""Mining: for every training question, chunks that look right and are not."""

from collections import Counter
from collections.abc import Iterator

import dagster as dg

from nyx_assets.materialization import Step, settings
from nyx_assets.mining.negatives import mine
from nyx_assets.partitions import EVERY_CRAWL
from nyx_assets.rag.corpus import bm25_corpus, chunk_documents
from nyx_assets.recipes import PipelineRecipe
from nyx_assets.records import NEGATIVES, REFUSED_NEGATIVES
from nyx_assets.retrievers import BM25
from resources.home import Home
from training_kernels.documents import Document


@dg.multi_asset(
    name="mined_negatives",
    specs=[
        dg.AssetSpec(
            name,
            deps=[
                dg.AssetDep("filtered_qa", partition_mapping=EVERY_CRAWL),
                dg.AssetDep("chunked_corpus", partition_mapping=EVERY_CRAWL),
            ],
            description=description,
            kinds={"parquet"},
            code_version="1",
            metadata=settings("mining"),
        )
        for name, description in (
            ("negatives", "Hard negatives of each training question by rank, with the miner's score."),
            (
                "refused_negatives",
                "A mined chunk that may not be a negative (it is golden, equal to golden, or holds the answer), with the reason.",
            ),
        )
    ],
    group_name="mining",
)
def mined_negatives(
    context: dg.AssetExecutionContext, home: dg.ResourceParam[Home], recipe: dg.ResourceParam[PipelineRecipe]
) -> Iterator[dg.MaterializeResult]:
    step = Step(context, home)
    chunk_by_id = chunk_documents(home)
    corpus = bm25_corpus(chunk_by_id)
    pairs = {row["qa_id"]: row for row in home.tables.read("filtered_qa").to_pylist() if row["split"] == "train"}
    progress = step.progress("questions", len(pairs))
    depth = recipe.mining.first_rank + recipe.mining.depth - 1
    ranking_by_qa = {
        qa_id: corpus.search([Document.from_rows(pair["question"]).text], depth)[0]
        for qa_id, pair in progress.over(sorted(pairs.items()))
    }
    kept, refused = mine(
        [pairs[qa_id] for qa_id in sorted(pairs)], ranking_by_qa, chunk_by_id, recipe=recipe.mining, miner=BM25
    )
    with step.tables({"refused_negatives": REFUSED_NEGATIVES, "negatives": NEGATIVES}) as tables:
        tables["refused_negatives"].append(refused)
        tables["negatives"].append(kept)
    step.report("negatives", questions=len(pairs), with_negatives=len({row["qa_id"] for row in kept}), miner=BM25)
    step.report("refused_negatives", reasons=dict(Counter(row["reason"] for row in refused)))
    step.preview("negatives", ["rank", "score", "qa_id", "chunk_id"])
    step.preview("refused_negatives", ["rank", "reason", "qa_id", "chunk_id"])
    yield from step.results("negatives", "refused_negatives")
