"""NyxQA: question-answer pairs written by the teacher about sampled chunks, and what the recipe's checks make of them."""

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import dagster as dg

from nyx_assets.figures import funnel_plot
from nyx_assets.funnels import summed
from nyx_assets.materialization import STANDS_IN_KEY, Made, Step, each_partition, settings
from nyx_assets.miners import ForeignEmbedders, embeds
from nyx_assets.nyxqa.asking import Tally, ask_all
from nyx_assets.nyxqa.filters import filter_pairs
from nyx_assets.nyxqa.funnel import funnel_markdown, funnel_rows, step_of_sampling, step_of_writing
from nyx_assets.nyxqa.generation import pairs_of, requests_for
from nyx_assets.nyxqa.pairs import Means
from nyx_assets.nyxqa.round_trip import open_search
from nyx_assets.nyxqa.sampling import calls_for, sample_chunks
from nyx_assets.nyxqa.splits import split_of
from nyx_assets.partitions import CRAWL, EVERY_CRAWL, ONE_RUN
from nyx_assets.qa_recipes import QAVariant, RoundTripRecipe
from nyx_assets.recipes import PipelineRecipe
from nyx_assets.records import FILTERED_QA, QA_FUNNEL, RAW_QA, REJECTED_QA, SAMPLED_CHUNKS
from resources.embedder import Embedders
from resources.home import Home
from resources.vlm_roles import VLMRole


def _rows(home: Home, table: str, partition: str | None) -> Iterator[dict[str, Any]]:
    for batch in home.tables.batches(table, partition=partition):
        yield from batch.to_pylist()


@dg.asset(
    deps=["chunked_corpus"],
    description="Which chunks the teacher is asked about and in which ways; for the others, why not.",
    group_name="nyxqa",
    code_version="1",
    partitions_def=CRAWL,
    backfill_policy=ONE_RUN,
    metadata=settings("qa.sampling", "qa.writing", "seed") | {STANDS_IN_KEY: True},
)
def sampled_chunks(
    context: dg.AssetExecutionContext, home: dg.ResourceParam[Home], recipe: dg.ResourceParam[PipelineRecipe]
) -> Iterator[Made]:
    def sample(step: Step) -> None:
        rows = sample_chunks(
            _rows(home, "chunked_corpus", step.partition),
            recipe=recipe.qa.sampling,
            variants=recipe.qa.writing.variants,
            seed=recipe.seed,
        )
        drawn: Counter[str] = Counter()
        with step.tables({"sampled_chunks": SAMPLED_CHUNKS}) as tables:
            for row in rows:
                drawn[row["stratum"] if row["reason"] is None else row["reason"].partition(":")[0]] += 1
                tables["sampled_chunks"].append([row])
        step.report("sampled_chunks", chunks=dict(drawn))

    yield from each_partition(context, home, sample, "sampled_chunks")


@dg.asset(
    deps=["chunked_corpus", "sampled_chunks"],
    description="A question-answer pair as the teacher wrote it, with what its call cost.",
    group_name="nyxqa",
    kinds={"openai", "parquet"},
    code_version="2",
    partitions_def=CRAWL,
    pool="vlm",
    metadata=settings("qa.writing", "teacher", "seed") | {STANDS_IN_KEY: True},
)
def raw_qa(
    context: dg.AssetExecutionContext,
    home: dg.ResourceParam[Home],
    recipe: dg.ResourceParam[PipelineRecipe],
    teacher: dg.ResourceParam[VLMRole],
) -> Iterator[dg.MaterializeResult]:
    step = Step(context, home)
    variants_by_chunk = {
        row["chunk_id"]: row["variants"] for row in _rows(home, "sampled_chunks", step.partition) if row["variants"]
    }

    def calls() -> Iterator[tuple[Mapping[str, Any], QAVariant]]:
        """Read twice, once to ask and once to match the replies, so that no partition is held in memory."""
        chunks = _rows(home, "chunked_corpus", step.partition)
        return calls_for(chunks, variants_by_chunk=variants_by_chunk, variants=recipe.qa.writing.variants)

    vlm = teacher.for_step("raw_qa", step.partition)
    tally = Tally()
    replies = ask_all(
        vlm,
        requests_for(calls(), recipe=recipe.qa.writing, seed=recipe.seed),
        what_for=f"questions about partition {step.partition} by the teacher",
        tally=tally,
        fewest_to_tell=1,
    )
    progress = step.progress("calls", sum(map(len, variants_by_chunk.values())), beside=teacher.spent_of_cap)
    with step.tables({"raw_qa": RAW_QA}) as tables:
        for (chunk, variant), reply in zip(calls(), progress.over(replies), strict=True):
            tables["raw_qa"].append(pairs_of(chunk, variant, reply, teacher=vlm))
    step.report("raw_qa", calls=tally.num_calls, refused_calls=tally.num_refused, cost_usd=round(tally.cost_usd, 4))
    if spent := teacher.spent_of_cap():
        step.report("raw_qa", spent_in_home=spent)
    step.report("raw_qa", teacher=teacher.described)
    step.preview("raw_qa", ["variant", "question_type", "question", "answer"])
    yield from step.results("raw_qa")


def sorted_qa_asset(round_trip: RoundTripRecipe) -> dg.AssetsDefinition:
    """`filtered_qa`, `rejected_qa` and `qa_funnel`; what they read and wait for follows from the round trip."""
    corpus = dg.AssetDep("chunked_corpus", partition_mapping=EVERY_CRAWL if round_trip.scope == "corpus" else None)
    pool = "gpu" if embeds(round_trip.retriever) else "vlm"

    @dg.multi_asset(
        name="sorted_qa",
        specs=[
            dg.AssetSpec(
                name,
                deps=["raw_qa", corpus, "crawl_documents", "sampled_chunks", "page_clusters"],
                description=description,
                kinds={"parquet"},
                code_version="3",
                metadata=settings(
                    "qa.checks",
                    "qa.round_trip",
                    "qa.blocked_domains",
                    "qa.dev_share",
                    "qa.test_share",
                    "teacher",
                    "generator",
                    "judge",
                    "seed",
                ),
            )
            for name, description in (
                ("filtered_qa", "A pair that survived every check: refined answer, options, split, golden chunk."),
                (
                    "rejected_qa",
                    "A pair that did not, with the check, the rule, the reason, the threshold and the measure.",
                ),
                ("qa_funnel", "What went into each step, what came out, why the rest did not, and what it cost."),
            )
        ],
        group_name="nyxqa",
        partitions_def=CRAWL,
        pool=pool,
    )
    def sorted_qa(
        context: dg.AssetExecutionContext,
        home: dg.ResourceParam[Home],
        recipe: dg.ResourceParam[PipelineRecipe],
        teacher: dg.ResourceParam[VLMRole],
        generator: dg.ResourceParam[VLMRole],
        judge: dg.ResourceParam[VLMRole],
        embedders: dg.ResourceParam[Embedders],
        foreign_embedders: dg.ResourceParam[ForeignEmbedders],
    ) -> Iterator[dg.MaterializeResult]:
        step = Step(context, home)
        split_by_doc = {
            row["doc_id"]: split_of(
                row["cluster"], seed=recipe.seed, dev_share=recipe.qa.dev_share, test_share=recipe.qa.test_share
            )
            for row in home.tables.read("page_clusters").to_pylist()
        }
        chunk_by_id = {row["chunk_id"]: row for row in _rows(home, "chunked_corpus", step.partition)}
        means = Means(
            vlm_by_role={
                "teacher": teacher.for_step("filtered_qa", step.partition),
                "generator": generator.for_step("filtered_qa", step.partition),
                "judge": judge.for_step("filtered_qa", step.partition),
            },
            chunk_by_id=chunk_by_id,
            url_by_doc={row["doc_id"]: row["url"] for row in _rows(home, "crawl_documents", step.partition)},
            blocked_domains=recipe.qa.blocked_domains,
            seed=recipe.seed,
            open_search=partial(
                open_search,
                recipe.qa.round_trip,
                chunk_by_id,
                home=home,
                embedders=embedders,
                foreign_embedders=foreign_embedders,
                crawl=step.partition,
            ),
        )
        raw = home.tables.read("raw_qa", partition=step.partition).to_pylist()
        outcome = filter_pairs(raw, means=means, split_by_doc=split_by_doc, checks=recipe.qa.checks)
        sampling = step_of_sampling(_rows(home, "sampled_chunks", step.partition))
        writing = step_of_writing(raw, num_chunks=sampling.num_in - sampling.num_rejected)
        funnel = funnel_rows([sampling, writing, *outcome.steps])
        schemas = {"rejected_qa": REJECTED_QA, "qa_funnel": QA_FUNNEL, "filtered_qa": FILTERED_QA}
        with step.tables(schemas) as tables:
            tables["rejected_qa"].append(outcome.rejected)
            tables["qa_funnel"].append(funnel)
            tables["filtered_qa"].append(outcome.kept)
        step.report(
            "filtered_qa",
            splits=dict(Counter(row["split"] for row in outcome.kept)),
            cost_usd=round(sum(row["cost_usd"] for row in funnel), 4),
            roles=f"teacher {teacher.described}, generator {generator.described}, judge {judge.described}",
            funnel=dg.MetadataValue.md(funnel_markdown(funnel, outcome.rejected, home.images)),
        )
        step.report("rejected_qa", rules=dict(Counter(row["rule"] for row in outcome.rejected)))
        step.preview("filtered_qa", ["question", "answer", "options", "judge_score", "marks", "split"])
        step.preview("qa_funnel", ["check", "num_in", "num_out", "num_rejected"], [funnel_plot(summed(funnel))])
        step.preview("rejected_qa", ["question", "answer", "check", "rule", "reason"])
        yield from step.results("filtered_qa", "rejected_qa", "qa_funnel")

    return sorted_qa
