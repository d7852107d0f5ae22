"""NyxQA: question-answer pairs written by the teacher, and what rules and the judge make of them."""

from collections import Counter
from collections.abc import Iterator

import dagster as dg

from nyx_assets.materialization import Step, settings
from nyx_assets.nyxqa.filters import filter_pairs
from nyx_assets.nyxqa.generation import pairs_of, requests_for
from nyx_assets.nyxqa.splits import split_of
from nyx_assets.partitions import CRAWL
from nyx_assets.recipes import PipelineRecipe
from nyx_assets.records import FILTERED_QA, RAW_QA, REJECTED_QA
from resources.home import Home
from resources.vlm import complete_all
from resources.vlm_roles import VLMRole


@dg.asset(
    deps=["chunked_corpus"],
    description="A question-answer pair as the teacher wrote it, with what its call cost.",
    group_name="nyxqa",
    kinds={"openai", "parquet"},
    code_version="1",
    partitions_def=CRAWL,
    pool="vlm",
    metadata=settings("qa", "teacher", "seed"),
)
def raw_qa(
    context: dg.AssetExecutionContext,
    home: dg.ResourceParam[Home],
    recipe: dg.ResourceParam[PipelineRecipe],
    teacher: dg.ResourceParam[VLMRole],
) -> Iterator[dg.MaterializeResult]:
    step = Step(context, home)
    chunks = home.tables.read("chunked_corpus", partition=step.partition).to_pylist()
    progress = step.progress("chunks", len(chunks))
    vlm = teacher.for_step("raw_qa", step.partition)
    replies = complete_all(vlm, requests_for(chunks, recipe=recipe.qa, seed=recipe.seed))
    num_unreadable = 0
    with step.tables({"raw_qa": RAW_QA}) as tables:
        for chunk, reply in zip(chunks, progress.over(replies), strict=True):
            rows = pairs_of(chunk, reply, teacher=vlm, recipe=recipe.qa)
            num_unreadable += sum(row["problem"] is not None for row in rows)
            tables["raw_qa"].append(rows)
    step.report("raw_qa", unreadable=num_unreadable, teacher=teacher.described)
    step.preview("raw_qa", ["question", "answer", "distractors"])
    yield from step.results("raw_qa")


@dg.multi_asset(
    name="sorted_qa",
    specs=[
        dg.AssetSpec(
            name,
            deps=["raw_qa", "chunked_corpus", "page_clusters"],
            description=description,
            kinds={"parquet"},
            code_version="1",
            metadata=settings("qa", "judge", "seed"),
        )
        for name, description in (
            ("filtered_qa", "A pair that survived every rule and the judge: options, split, golden chunk."),
            ("rejected_qa", "A pair that did not, with the rule and the reason."),
        )
    ],
    group_name="nyxqa",
    partitions_def=CRAWL,
    pool="vlm",
)
def sorted_qa(
    context: dg.AssetExecutionContext,
    home: dg.ResourceParam[Home],
    recipe: dg.ResourceParam[PipelineRecipe],
    judge: dg.ResourceParam[VLMRole],
) -> Iterator[dg.MaterializeResult]:
    step = Step(context, home)
    clusters = home.tables.read("page_clusters").to_pylist()
    split_by_doc = {
        row["doc_id"]: split_of(
            row["cluster"], seed=recipe.seed, dev_share=recipe.qa.dev_share, test_share=recipe.qa.test_share
        )
        for row in clusters
    }
    vlm = judge.for_step("filtered_qa", step.partition)
    kept, rejected = filter_pairs(
        home.tables.read("raw_qa", partition=step.partition).to_pylist(),
        chunk_by_id={
            row["chunk_id"]: row for row in home.tables.read("chunked_corpus", partition=step.partition).to_pylist()
        },
        split_by_doc=split_by_doc,
        recipe=recipe.qa,
        seed=recipe.seed,
        ask_judge=lambda requests: complete_all(vlm, requests),
    )
    with step.tables({"rejected_qa": REJECTED_QA, "filtered_qa": FILTERED_QA}) as tables:
        tables["rejected_qa"].append(rejected)
        tables["filtered_qa"].append(kept)
    step.report("filtered_qa", **Counter(row["split"] for row in kept), judge=judge.described)
    step.report("rejected_qa", reasons=dict(Counter(row["rule"] for row in rejected)))
    step.preview("filtered_qa", ["question", "answer", "options", "split"])
    step.preview("rejected_qa", ["question", "answer", "rule", "reason"])
    yield from step.results("filtered_qa", "rejected_qa")
