"""Captions: each picture of a crawl partition in words."""

from collections import Counter
from collections.abc import Iterator

import dagster as dg

from nyx_assets.captions.captioning import captioned, pictures_of
from nyx_assets.materialization import Step, settings
from nyx_assets.partitions import CRAWL
from nyx_assets.recipes import PipelineRecipe
from nyx_assets.records import CHUNK_CAPTIONS
from resources.home import Home
from resources.vlm_roles import VLMRole


@dg.asset(
    deps=["chunked_corpus"],
    description="Each picture of a crawl's chunks in words, by the teacher: what baselines that read texts alone see of it.",
    group_name="captions",
    kinds={"openai", "parquet"},
    code_version="1",
    partitions_def=CRAWL,
    pool="vlm",
    metadata=settings("captions", "teacher", "seed"),
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
    progress = step.progress("pictures", len(images))
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
