"""Captions: each picture of a crawl partition in words, and each chunk embedded with them in the pictures' places."""

from collections import Counter
from collections.abc import Iterator

import dagster as dg

from nyx_assets.captioned import (
    CAPTION_EMBEDDINGS,
    caption_by_image,
    embedder_version,
    embedding_retriever,
    open_text_embedder,
)
from nyx_assets.captions.captioning import captioned, pictures_of
from nyx_assets.captions.embedding import captioned_rows, known_captioned
from nyx_assets.materialization import STANDS_IN_KEY, Made, Step, each_partition, key_of, settings
from nyx_assets.miners import ForeignEmbedders, embeds
from nyx_assets.partitions import CRAWL, ONE_RUN
from nyx_assets.recipes import CaptionRecipe, PipelineRecipe
from nyx_assets.records import CHUNK_CAPTIONS, caption_embeddings_schema
from resources.embedder import Embedders
from resources.home import Home
from resources.vlm_roles import VLMRole
from training_kernels.documents import Document

CHUNKS_AT_ONCE = 4096
"""Choice: a minute's work of an accelerator, so that progress is seen; a whole number of calls to a server."""


@dg.asset(
    deps=["chunked_corpus"],
    description="Each picture of a crawl's chunks in words, by the teacher: what baselines that read texts alone see of it.",
    group_name="captions",
    kinds={"openai", "parquet"},
    code_version="1",
    partitions_def=CRAWL,
    pool="vlm",
    metadata=settings("captions", "teacher", "seed") | {STANDS_IN_KEY: True},
)
def chunk_captions(
    context: dg.AssetExecutionContext,
    home: dg.ResourceParam[Home],
    recipe: dg.ResourceParam[PipelineRecipe],
    teacher: dg.ResourceParam[VLMRole],
) -> Iterator[dg.MaterializeResult]:
    step = Step(context, home)
    batches = home.tables.batches("chunked_corpus", partition=step.partition, columns=["segments"])
    images = pictures_of(row for batch in batches for row in batch.to_pylist())
    vlm = teacher.for_step("chunk_captions", step.partition)
    counts: Counter[str] = Counter()
    cost_usd = 0.0
    progress = step.progress("pictures", len(images), beside=teacher.spent_of_cap)
    with step.tables({"chunk_captions": CHUNK_CAPTIONS}) as tables:
        for row in progress.over(captioned(images, vlm, home.images, recipe=recipe.captions, seed=recipe.seed)):
            tables["chunk_captions"].append([row])
            counts["captioned" if row["caption"] else "without"] += 1
            cost_usd += row["cost_usd"]
    step.report(
        "chunk_captions",
        captioned=counts["captioned"],
        without=counts["without"],
        cost_usd=round(cost_usd, 4),
        teacher=teacher.described,
    )
    step.preview("chunk_captions", ["image", "caption", "reason"])
    yield from step.results("chunk_captions")


def caption_embeddings_asset(captions: CaptionRecipe) -> dg.AssetsDefinition:
    """`caption_embeddings`, and what its embedder is: one of our retrievers, or a model that is asked or loaded."""
    retriever = embedding_retriever(captions.embedder)
    deps = [] if retriever is None else [dg.AssetDep([retriever.name, "chunk_embeddings"])]
    if retriever is not None and retriever.checkpoint is not None:
        deps.append(dg.AssetDep(key_of(retriever.checkpoint)))

    @dg.asset(
        name=CAPTION_EMBEDDINGS,
        deps=["chunked_corpus", "chunk_captions", *deps],
        description="Embedding of each chunk with captions in the places of its pictures, by the embedder of the baseline that reads captions: each text once, and after a change only the changed ones.",
        group_name="captions",
        kinds={"torch", "parquet"} if embeds(captions.embedder) else {"openai", "parquet"},
        code_version="1",
        partitions_def=CRAWL,
        backfill_policy=ONE_RUN,
        pool="gpu" if embeds(captions.embedder) else "vlm",
        metadata=settings("captions", "backbone"),
    )
    def caption_embeddings(
        context: dg.AssetExecutionContext,
        home: dg.ResourceParam[Home],
        recipe: dg.ResourceParam[PipelineRecipe],
        embedders: dg.ResourceParam[Embedders],
        foreign_embedders: dg.ResourceParam[ForeignEmbedders],
    ) -> Iterator[Made]:
        name = recipe.captions.embedder

        def embed(step: Step) -> None:
            embedder = open_text_embedder(
                home, embedders, foreign_embedders, name, asset=CAPTION_EMBEDDINGS, partition=step.partition
            )
            version = embedder_version(home, name)
            captions = caption_by_image(home, step.partition)
            table = home.tables.read("chunked_corpus", partition=step.partition, columns=["chunk_id", "segments"])
            is_wanted = recipe.captions.max_pictures_per_crawl > 0
            chunk_by_id = {
                row["chunk_id"]: Document.from_rows(row["segments"]) for row in (table.to_pylist() if is_wanted else [])
            }
            known = known_captioned(home, step.partition, chunk_by_id, captions, embedder, name)
            progress = step.progress("chunks", len(chunk_by_id))
            num_reused = 0
            ids = list(chunk_by_id)
            with step.tables({CAPTION_EMBEDDINGS: caption_embeddings_schema(embedder.dim)}) as tables:
                for start in range(0, len(ids), CHUNKS_AT_ONCE):
                    some = {one: chunk_by_id[one] for one in ids[start : start + CHUNKS_AT_ONCE]}
                    rows, reused = captioned_rows(some, captions, embedder, known, version)
                    tables[CAPTION_EMBEDDINGS].append_table(rows)
                    progress.advance(rows.num_rows)
                    num_reused += reused
            step.report(CAPTION_EMBEDDINGS, reused=num_reused, dim=embedder.dim, embedder=version)

        yield from each_partition(context, home, embed, CAPTION_EMBEDDINGS)

    return caption_embeddings
