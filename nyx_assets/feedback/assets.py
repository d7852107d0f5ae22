"""Feedback: the generator tries every window of what the pretrained retriever found."""

from collections.abc import Iterator

import dagster as dg

from nyx_assets.feedback.preferences import preferences
from nyx_assets.feedback.trying import drawn_queries, requests_of, tried_windows, tries_of
from nyx_assets.figures import preference_similarities
from nyx_assets.materialization import Step, settings
from nyx_assets.partitions import CRAWL, EVERY_CRAWL
from nyx_assets.rag.corpus import chunk_documents, dense_corpus
from nyx_assets.recipes import PipelineRecipe
from nyx_assets.records import FEEDBACK_PREFERENCES
from nyx_assets.retrievers import PRETRAINED
from resources.embedder import Embedders
from resources.home import Home
from resources.vlm import complete_all
from resources.vlm_roles import VLMRole
from training_kernels.documents import Document


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
    code_version="1",
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
    pairs = drawn_queries(
        home.tables.read("filtered_qa", partition=step.partition).to_pylist(),
        at_most=recipe.feedback.max_queries_per_crawl,
        seed=recipe.seed,
    )
    chunk_by_id = chunk_documents(home)
    tries = []
    if pairs:
        embedder = embedders.open(PRETRAINED.folder(home, embedders))
        query_BD = embedder.embed([Document.from_rows(pair["question"]) for pair in pairs], side="query")
        rankings = dense_corpus(home, PRETRAINED.name).search(query_BD, recipe.feedback.top_k)
        tries = tried_windows(pairs, rankings, recipe.feedback)
    progress = step.progress("windows", len(tries))
    vlm = generator.for_step("feedback_preferences", step.partition)
    replies = complete_all(vlm, requests_of(tries, chunk_by_id, recipe.feedback, seed=recipe.seed))
    rows = preferences(tries_of(tries, progress.over(replies), generator=vlm), recipe=recipe.feedback)
    with step.tables({"feedback_preferences": FEEDBACK_PREFERENCES}) as tables:
        tables["feedback_preferences"].append(rows)
    answered = sum(row["role"] == "positive" for row in rows)
    step.report("feedback_preferences", queries=len(pairs), answered=answered, generator=generator.described)
    shown = ["window_rank", "answer", "grade", "role"]
    step.preview("feedback_preferences", shown, [preference_similarities(rows)])
    yield from step.results("feedback_preferences")
