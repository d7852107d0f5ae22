"""Mining: for every training question, chunks that look right and are not."""

from collections import Counter
from collections.abc import Iterator
from functools import partial

import dagster as dg

from nyx_assets.figures import mined_similarities
from nyx_assets.materialization import Step, settings
from nyx_assets.miners import EmbeddingMiner, ForeignEmbedders, embeds, open_miner, ranked
from nyx_assets.mining.judging import judged_by
from nyx_assets.mining.negatives import accept_all, mine
from nyx_assets.near_copies import chunk_cluster_of
from nyx_assets.partitions import EVERY_CRAWL
from nyx_assets.rag.corpus import chunk_documents
from nyx_assets.recipes import MiningRecipe, PipelineRecipe
from nyx_assets.records import NEGATIVES, REFUSED_NEGATIVES
from resources.embedder import Embedders
from resources.home import Home
from resources.vlm_roles import VLMRole


def mined_negatives_asset(recipe: MiningRecipe) -> dg.AssetsDefinition:
    """`negatives` and `refused_negatives`; a miner that embeds waits for the accelerator, a judge for a place at the VLMs."""
    pool = "gpu" if embeds(recipe.miner) else "vlm" if recipe.judge == "vlm" else None

    @dg.multi_asset(
        name="mined_negatives",
        specs=[
            dg.AssetSpec(
                name,
                deps=[
                    dg.AssetDep("filtered_qa", partition_mapping=EVERY_CRAWL),
                    dg.AssetDep("chunked_corpus", partition_mapping=EVERY_CRAWL),
                    "near_duplicates",
                ],
                description=description,
                kinds={"parquet"},
                code_version="2",
                metadata=settings("mining"),
            )
            for name, description in (
                ("negatives", "Hard negatives of each training question by rank, with the miner's score."),
                (
                    "refused_negatives",
                    "A mined chunk that may not be a negative (golden, like golden, holds the answer, scores too close to "
                    "golden, or the judge found the answer in it), with the reason.",
                ),
            )
        ],
        group_name="mining",
        pool=pool,
    )
    def mined_negatives(
        context: dg.AssetExecutionContext,
        home: dg.ResourceParam[Home],
        recipe: dg.ResourceParam[PipelineRecipe],
        embedders: dg.ResourceParam[Embedders],
        foreign_embedders: dg.ResourceParam[ForeignEmbedders],
        judge: dg.ResourceParam[VLMRole],
    ) -> Iterator[dg.MaterializeResult]:
        step = Step(context, home)
        mining = recipe.mining
        chunk_by_id = chunk_documents(home)
        pairs = {row["qa_id"]: row for row in home.tables.read("filtered_qa").to_pylist() if row["split"] == "train"}
        queries = [pairs[qa_id] for qa_id in sorted(pairs)]
        step.log(f"mining {len(queries):,} questions in {len(chunk_by_id):,} chunks with {mining.miner}")
        miner = open_miner(
            mining.miner,
            chunk_by_id,
            home=home,
            embedders=embedders,
            foreign_embedders=foreign_embedders,
            asset="negatives",
        )
        judging = partial(judged_by, judge.for_step("negatives", None), seed=recipe.seed)
        kept, refused = mine(
            queries,
            ranked(miner, queries, chunk_by_id, top_k=mining.first_rank + mining.depth - 1),
            chunk_by_id,
            recipe=mining,
            miner=mining.miner,
            cluster_by_chunk=chunk_cluster_of(home),
            judge=judging if mining.judge == "vlm" else accept_all,
        )
        with step.tables({"refused_negatives": REFUSED_NEGATIVES, "negatives": NEGATIVES}) as tables:
            tables["refused_negatives"].append(refused)
            tables["negatives"].append(kept)
        step.report(
            "negatives",
            questions=len(queries),
            with_negatives=len({row["qa_id"] for row in kept}),
            recipe=mining.name,
            miner=mining.miner,
        )
        if isinstance(miner, EmbeddingMiner):
            step.report("negatives", reused_embeddings=miner.num_reused)
        step.report("refused_negatives", reasons=dict(Counter(row["reason"] for row in refused).most_common()))
        step.preview("negatives", ["rank", "score", "qa_id", "chunk_id"], [mined_similarities(kept)])
        step.preview("refused_negatives", ["rank", "reason", "qa_id", "chunk_id"])
        yield from step.results("negatives", "refused_negatives")

    return mined_negatives
