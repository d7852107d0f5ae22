"""Feedback: the generator tries the windows of what the pretrained retriever found."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import dagster as dg

from nyx_assets.feedback.retrieving import drawn_ids, retrieved
from nyx_assets.feedback.saving import foreseen_calls, saved_text
from nyx_assets.feedback.trying import tried
from nyx_assets.figures import preference_similarities
from nyx_assets.materialization import Step, settings
from nyx_assets.partitions import CRAWL, EVERY_CRAWL
from nyx_assets.rag.corpus import chunk_documents, dense_corpus
from nyx_assets.recipes import PipelineRecipe
from nyx_assets.records import FEEDBACK_PREFERENCES
from nyx_assets.retrievers import PRETRAINED
from resources.embedder import Embedders
from resources.home import Home
from resources.vlm_roles import VLMRole


@dg.asset(
    deps=[
        "filtered_qa",
        "pretrained_checkpoint",
        dg.AssetDep("chunked_corpus", partition_mapping=EVERY_CRAWL),
        dg.AssetDep(["pretrained", "chunk_embeddings"], partition_mapping=EVERY_CRAWL),
    ],
    description="For each training question of a crawl: what the generator answered from each window of retrieved chunks, its grade, and whether the window becomes a positive or a negative.",
    group_name="feedback",
    kinds={"openai", "parquet"},
    code_version="2",
    partitions_def=CRAWL,
    pool="vlm",
    metadata=settings("feedback", "generator", "seed"),
)
def feedback_preferences(
    context: dg.AssetExecutionContext,
    home: dg.ResourceParam[Home],
    recipe: dg.ResourceParam[PipelineRecipe],
    embedders: dg.ResourceParam[Embedders],
    generator: dg.ResourceParam[VLMRole],
) -> Iterator[dg.MaterializeResult]:
    step = Step(context, home)
    foreseen = foreseen_calls(home, recipe.feedback)
    qa_ids = drawn_ids(home, step.partition, at_most=recipe.feedback.max_queries_per_crawl, seed=recipe.seed)
    counts: Counter[str] = Counter()
    similarities: list[dict[str, Any]] = []
    progress = step.progress("queries", len(qa_ids))
    with step.tables({"feedback_preferences": FEEDBACK_PREFERENCES}) as tables:
        if qa_ids:
            embedder = embedders.open(PRETRAINED.folder(home, embedders))
            queries = retrieved(
                home, step.partition, qa_ids, embedder, dense_corpus(home, PRETRAINED.name), recipe.feedback
            )
            vlm = generator.for_step("feedback_preferences", step.partition)
            tries = tried(queries, vlm, chunk_documents(home), recipe.feedback, seed=recipe.seed)
            for rows in progress.over(tries):
                tables["feedback_preferences"].append(rows)
                similarities += [
                    {"role": row["role"], "similarity": row["similarity"]} for row in rows if row["role"] != "unused"
                ]
                counts["answered"] += any(row["role"] == "positive" for row in rows)
                counts["asked"] += len(rows)
                counts["left"] += rows[0]["num_not_asked"]
    saved = saved_text(foreseen, num_queries=len(qa_ids), asked=counts["asked"], left=counts["left"])
    step.log(saved)
    step.report(
        "feedback_preferences",
        queries=len(qa_ids),
        answered=counts["answered"],
        calls=saved,
        generator=generator.described,
    )
    shown = ["window_rank", "answer", "grade", "role"]
    step.preview("feedback_preferences", shown, [preference_similarities(similarities)])
    yield from step.results("feedback_preferences")
