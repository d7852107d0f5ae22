"""Evaluation: every retriever on held-out questions, the generator with what each found, and the gate to going live."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from nyx_assets.evaluation.altered import altered_queries as altered_query_rows
from nyx_assets.evaluation.answers import answered_with, contexts_of
from nyx_assets.evaluation.promotion import compare_with_live, gate_row
from nyx_assets.evaluation.rag_evaluation import GOLDEN, NO_DOCUMENT
from nyx_assets.evaluation.rag_evaluation import rag_scores as rag_score_rows
from nyx_assets.evaluation.retrieval import evaluate_retriever
from nyx_assets.evaluation.retrievers import Bm25Retriever, Retriever
from nyx_assets.evaluation.side_by_side import HEADLINE, side_by_side
from nyx_assets.evaluation.stored import stored_retriever
from nyx_assets.evaluation.suites import Suite, draw_by_modality, suite_of_qa
from nyx_assets.figures import recall_by_k, score_by_dim
from nyx_assets.materialization import Step, settings
from nyx_assets.near_copies import chunk_cluster_of
from nyx_assets.partitions import EVERY_CRAWL
from nyx_assets.plots import plots_markdown
from nyx_assets.previews import markdown_preview
from nyx_assets.rag.corpus import chunk_documents
from nyx_assets.rag.drawing import draw_by_hash
from nyx_assets.recipes import PipelineRecipe
from nyx_assets.records import ALTERED_QUERIES, QUALITY_GATE, RAG_SCORES, RETRIEVAL_SCORES
from nyx_assets.retrievers import FINETUNED, PRETRAINED, UNTRAINED
from resources.embedder import Embedders
from resources.home import Home
from resources.tables import Commit, utc_now
from resources.vlm_roles import VLMRole

NYXQA = "nyxqa"
"""Name of the project's own suite: held-out questions, golden chunk among all chunks."""
NYXQA_ALTERED = "nyxqa_altered"
"""Its control set: the test questions with pictures, these altered."""
EVALUATED = (UNTRAINED, PRETRAINED, FINETUNED)
CORPUS_DEPS = [
    dg.AssetDep("filtered_qa", partition_mapping=EVERY_CRAWL),
    dg.AssetDep("chunked_corpus", partition_mapping=EVERY_CRAWL),
]
SUITE_DEPS = [*CORPUS_DEPS, dg.AssetDep("near_duplicates")]
EMBEDDING_DEPS = [
    *(dg.AssetDep([retriever.name, "chunk_embeddings"], partition_mapping=EVERY_CRAWL) for retriever in EVALUATED),
    dg.AssetDep("pretrained_checkpoint"),
    dg.AssetDep("finetuned_checkpoint"),
]


def held_out_pairs(home: Home, split: str) -> list[dict[str, Any]]:
    """Rows of filtered_qa in a split, each pair once, in order of id: an unchanged page may come in several crawls."""
    pairs = {row["qa_id"]: row for row in home.tables.read("filtered_qa").to_pylist() if row["split"] == split}
    return [pair for _, pair in sorted(pairs.items())]


def own_suites(home: Home, recipe: PipelineRecipe) -> Iterator[tuple[str, Suite]]:
    """The project's own suites, each with its split."""
    chunk_by_id, near_copies = chunk_documents(home), chunk_cluster_of(home)
    altered = home.tables.read("altered_queries").to_pylist()
    for name, split, pairs in (
        (NYXQA, "dev", held_out_pairs(home, "dev")),
        (NYXQA, "test", held_out_pairs(home, "test")),
        (NYXQA_ALTERED, "test", altered),
    ):
        drawn = draw_by_modality(pairs, chunk_by_id, limit=recipe.evaluation.max_queries_per_modality, seed=recipe.seed)
        yield split, suite_of_qa(name, drawn, chunk_by_id, near_copies=near_copies)


def suite_of_the_gate(home: Home, recipe: PipelineRecipe) -> Suite:
    """The dev questions: what goes live is never chosen on the questions that are reported."""
    return next(suite for split, suite in own_suites(home, recipe) if split == "dev")


def evaluated_retrievers(home: Home, embedders: Embedders) -> list[Retriever]:
    """BM25 and every retriever that embeds, before and after each training."""
    return [Bm25Retriever(), *(stored_retriever(retriever, home, embedders) for retriever in EVALUATED)]


def _scores_shown(scores: list[dict[str, Any]], columns: list[str], home: Home) -> dg.MarkdownMetadataValue:
    """All scores of a run in one table, below plots over k and dims where they have dims; those that are metadata by
    themselves can be plotted over runs."""
    long = [
        {"retriever": row["retriever"], "dim": row["dim"], "metric": metric, "value": value}
        for row in scores
        if "dim" in row
        for metric, value in row.items()
        if metric not in ("retriever", "dim")
    ]
    shown = plots_markdown([recall_by_k(long), score_by_dim(long, metric=HEADLINE[-1])])
    return dg.MetadataValue.md("\n\n".join([*shown, markdown_preview(scores, columns, home.images)]))


@dg.asset(
    deps=[dg.AssetDep("filtered_qa", partition_mapping=EVERY_CRAWL)],
    description="Test questions that show pictures, with altered copies (crop, colour, compression) in their place: finding the golden chunk then takes more than knowing its file again.",
    group_name="evaluation",
    kinds={"parquet"},
    code_version="1",
    metadata=settings("pictures", "seed"),
)
def altered_queries(
    context: dg.AssetExecutionContext, home: dg.ResourceParam[Home], recipe: dg.ResourceParam[PipelineRecipe]
) -> Iterator[dg.MaterializeResult]:
    step = Step(context, home)
    with step.tables({"altered_queries": ALTERED_QUERIES}) as tables:
        tables["altered_queries"].append(
            altered_query_rows(held_out_pairs(home, "test"), home.images, limits=recipe.pictures, seed=recipe.seed)
        )
    step.preview("altered_queries", ["question", "alterations"])
    yield from step.results("altered_queries")


@dg.asset(
    deps=[*SUITE_DEPS, *EMBEDDING_DEPS, dg.AssetDep("altered_queries")],
    description="Recall, MRR, nDCG and more of each retriever on the dev and test questions and on the altered test questions, at each Matryoshka dim and by query modality, BM25 beside.",
    group_name="evaluation",
    code_version="3",
    pool="gpu",
    metadata=settings("evaluation", "backbone"),
)
def retrieval_scores(
    context: dg.AssetExecutionContext,
    home: dg.ResourceParam[Home],
    recipe: dg.ResourceParam[PipelineRecipe],
    embedders: dg.ResourceParam[Embedders],
) -> Iterator[dg.MaterializeResult]:
    step = Step(context, home)
    shown: list[dict[str, Any]] = []
    written_by_stand_in = home.tables.read("filtered_qa", columns=["is_stand_in"])["is_stand_in"].to_pylist()
    is_stand_in = any(written_by_stand_in)
    with step.tables({"retrieval_scores": RETRIEVAL_SCORES}) as tables:
        for split, suite in own_suites(home, recipe):
            for retriever in evaluated_retrievers(home, embedders) if suite.queries else ():
                rows = evaluate_retriever(retriever, suite, split=split, recipe=recipe.evaluation)
                tables["retrieval_scores"].append(row | {"is_stand_in": is_stand_in} for row in rows)
                whole = next(
                    row
                    for row in rows
                    if row["metric"] == f"ndcg@{recipe.evaluation.ndcg_at}" and row["modality"] == "all"
                )
                step.log(
                    f"{suite.name} {split}: {retriever.name} nDCG@{recipe.evaluation.ndcg_at} {whole['value']:.3f} on {whole['num_queries']} questions"
                )
                if split == "test" and suite.name == NYXQA:
                    step.report("retrieval_scores", **{f"nDCG {retriever.name}": round(whole["value"], 4)})
                    shown += side_by_side((row for row in rows if row["modality"] == "all"), ["retriever", "dim"])
    step.report("retrieval_scores", scores=_scores_shown(shown, ["retriever", "dim", *HEADLINE], home))
    yield from step.results("retrieval_scores")


@dg.asset(
    deps=[*CORPUS_DEPS, *EMBEDDING_DEPS],
    description="How well the generator answers test questions with what each retriever found; with nothing, and with the golden chunk, as bounds.",
    group_name="evaluation",
    kinds={"openai", "parquet"},
    code_version="1",
    pool="vlm",
    metadata=settings("evaluation", "feedback", "generator", "backbone", "seed"),
)
def rag_scores(
    context: dg.AssetExecutionContext,
    home: dg.ResourceParam[Home],
    recipe: dg.ResourceParam[PipelineRecipe],
    embedders: dg.ResourceParam[Embedders],
    generator: dg.ResourceParam[VLMRole],
) -> Iterator[dg.MaterializeResult]:
    step = Step(context, home)
    chunk_by_id = chunk_documents(home)
    pair_by_id = {pair["qa_id"]: pair for pair in held_out_pairs(home, "test")}
    drawn = draw_by_hash(pair_by_id, limit=recipe.evaluation.max_rag_queries, seed=recipe.seed)
    pairs = [pair_by_id[qa_id] for qa_id in drawn]
    contexts = contexts_of(
        pairs, chunk_by_id, evaluated_retrievers(home, embedders), window=recipe.evaluation.rag_window
    )
    progress = step.progress("answers", len(contexts))
    vlm = generator.for_step("rag_scores", None)
    answers = progress.over(answered_with(vlm, contexts, chunk_by_id, recipe))
    rows = rag_score_rows(answers, pair_by_id, split="test")
    with step.tables({"rag_scores": RAG_SCORES}) as tables:
        tables["rag_scores"].append(rows)
    for row in rows:
        if row["metric"] == "token_f1":
            step.log(f"test: {row['retriever']} answer F1 {row['value']:.3f} by {generator.described}")
            if row["retriever"] not in (NO_DOCUMENT, GOLDEN):
                step.report("rag_scores", **{f"F1 {row['retriever']}": round(row["value"], 4)})
    shown = side_by_side(rows, ["retriever", "num_queries", "generator"])
    step.report("rag_scores", scores=_scores_shown(shown, list(shown[0]) if shown else [], home))
    yield from step.results("rag_scores")


@dg.multi_asset(
    name="gate",
    specs=[
        dg.AssetSpec(
            name,
            deps=["retrieval_scores", "finetuned_checkpoint", *SUITE_DEPS],
            description=description,
            group_name=group,
            kinds={kind},
            code_version="2",
            metadata=settings("evaluation", "seed"),
        )
        for name, group, kind, description in (
            (
                "quality_gate",
                "evaluation",
                "parquet",
                "Whether the finetuned checkpoint is better than the live one on the dev questions, and why.",
            ),
            (
                "promoted_checkpoint",
                "training",
                "torch",
                "The checkpoint that search uses: the last one that the gate let through.",
            ),
        )
    ],
    pool="gpu",
)
def gate(
    context: dg.AssetExecutionContext,
    home: dg.ResourceParam[Home],
    recipe: dg.ResourceParam[PipelineRecipe],
    embedders: dg.ResourceParam[Embedders],
) -> Iterator[dg.MaterializeResult]:
    step = Step(context, home)
    comparison = compare_with_live(home, embedders, suite_of_the_gate(home, recipe), recipe)
    with step.tables({"quality_gate": QUALITY_GATE}) as tables:
        tables["quality_gate"].append([gate_row(comparison)])
    winner = comparison.candidate if comparison.promotes else comparison.live
    assert winner is not None
    home.artifacts.publish(
        "promoted_checkpoint",
        winner.folder,
        Commit(
            data_version=winner.commit.data_version,
            num_rows=winner.commit.num_rows,
            provenance=step.provenance("promoted_checkpoint"),
            written_at=utc_now(),
        ),
    )
    step.log(comparison.reason)
    step.report("quality_gate", promoted=comparison.promotes, reason=comparison.reason)
    step.preview("quality_gate", ["metric", "candidate_score", "live_score", "interval_low", "interval_high"])
    step.report("promoted_checkpoint", folder=dg.MetadataValue.path(str(winner.folder)))
    yield from step.results("quality_gate", "promoted_checkpoint")
