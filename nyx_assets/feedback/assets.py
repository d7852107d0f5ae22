"""Feedback: the generator tries the windows of what the pretrained retriever found, and by recipe of what later ones found."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import dagster as dg

from nyx_assets.feedback.checks import preferences_checks
from nyx_assets.feedback.retrieving import drawn_ids, retrieved
from nyx_assets.feedback.saving import foreseen_calls, saved_text
from nyx_assets.feedback.trying import tried
from nyx_assets.figures import preference_similarities
from nyx_assets.materialization import Step, key_of, settings
from nyx_assets.partitions import CRAWL, EVERY_CRAWL
from nyx_assets.rag.corpus import chunk_documents, dense_corpus
from nyx_assets.recipes import PipelineRecipe
from nyx_assets.records import FEEDBACK_PREFERENCES
from nyx_assets.rounds import Round, rounds_of, stopped_before
from resources.embedder import Embedders
from resources.home import Home
from resources.vlm_roles import VLMRole


def preferences_asset(one: Round) -> dg.AssetsDefinition:
    """The tries of a round: `feedback_preferences`, and from the second on `round_<n>/feedback_preferences`."""
    name = one.preferences
    retriever = one.retriever
    if one.number == 1:
        again = ""
    else:
        again = f" In round {one.number}, of what {retriever.description} retrieves; what was answered before is not asked again."

    @dg.asset(
        key=key_of(name),
        deps=[
            "filtered_qa",
            key_of(str(retriever.checkpoint)),
            dg.AssetDep("chunked_corpus", partition_mapping=EVERY_CRAWL),
            dg.AssetDep([retriever.name, "chunk_embeddings"], partition_mapping=EVERY_CRAWL),
            *([] if one.number == 1 else [key_of(one.before.score)]),
        ],
        description="For each training question of a crawl: what the generator answered from each window of retrieved "
        f"chunks, its grade, and whether the window becomes a positive or a negative.{again}",
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
        stopped = stopped_before(home, one)
        most = recipe.feedback.max_queries_per_crawl
        qa_ids = [] if stopped else drawn_ids(home, step.partition, at_most=most, seed=recipe.seed)
        counts: Counter[str] = Counter()
        similarities: list[dict[str, Any]] = []
        progress = step.progress("queries", len(qa_ids), beside=generator.spent_of_cap)
        with step.tables({name: FEEDBACK_PREFERENCES}) as tables:
            if qa_ids:
                embedder = embedders.open(retriever.folder(home, embedders))
                chunk_by_id = chunk_documents(home)
                corpus = dense_corpus(home, retriever.name, chunk_by_id)
                queries = retrieved(home, step.partition, qa_ids, embedder, corpus, recipe.feedback)
                vlm = generator.for_step(name, step.partition)
                tries = tried(queries, vlm, chunk_by_id, recipe.feedback, seed=recipe.seed)
                for rows in progress.over(tries):
                    tables[name].append(rows)
                    similarities += [
                        {"role": row["role"], "similarity": row["similarity"]}
                        for row in rows
                        if row["role"] != "unused"
                    ]
                    counts["answered"] += any(row["role"] == "positive" for row in rows)
                    counts["asked"] += len(rows)
                    counts["left"] += rows[0]["num_not_asked"]
        saved = saved_text(foreseen, num_queries=len(qa_ids), asked=counts["asked"], left=counts["left"])
        if stopped:
            saved = f"no call in this round: {stopped}"
        step.log(saved)
        step.report(name, queries=len(qa_ids), answered=counts["answered"], calls=saved, generator=generator.described)
        shown = ["window_rank", "answer", "grade", "role"]
        step.preview(name, shown, [preference_similarities(similarities, by=retriever.name)])
        yield from step.results(name)

    return feedback_preferences


def preferences_assets(recipe: PipelineRecipe) -> list[dg.AssetsDefinition]:
    """The tries of every round of a recipe."""
    return [preferences_asset(one) for one in rounds_of(recipe.rounds.number)]


def feedback_checks(recipe: PipelineRecipe) -> list[dg.AssetChecksDefinition]:
    """The checks of every round of a recipe."""
    return [check for one in rounds_of(recipe.rounds.number) for check in preferences_checks(one.preferences)]
