"""Evaluation: every retriever on held-out questions, the generator with what each found, and the gate to going live."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from nyx_assets.evaluation.altered import altered_queries as altered_query_rows
from nyx_assets.evaluation.answers import answered_with, contexts_of
from nyx_assets.evaluation.blame import wrong_answers
from nyx_assets.evaluation.caption_baselines import caption_baselines
from nyx_assets.evaluation.dims import index_settings
from nyx_assets.evaluation.feedback_rounds import num_tried, round_row
from nyx_assets.evaluation.gate import DEV
from nyx_assets.evaluation.modalities import modality_rows
from nyx_assets.evaluation.paired import difference_rows
from nyx_assets.evaluation.promotion import (
    comparison_rows,
    decisions_by_persons,
    gate_row,
    metric_by_query,
    run_gate,
    winner_of,
)
from nyx_assets.evaluation.rag_evaluation import grades_of, rag_differences
from nyx_assets.evaluation.rag_evaluation import rag_scores as rag_score_rows
from nyx_assets.evaluation.retrieval import measure
from nyx_assets.evaluation.retrievers import Bm25Retriever, Retriever
from nyx_assets.evaluation.side_by_side import HEADLINE, side_by_side
from nyx_assets.evaluation.stored import stored_retriever
from nyx_assets.evaluation.suites import Suite, draw_by_modality, suite_of_qa, with_options
from nyx_assets.evaluation.trec import published_runs
from nyx_assets.figures import recall_by_k, score_by_dim
from nyx_assets.materialization import Step, key_of, settings
from nyx_assets.miners import ForeignEmbedders
from nyx_assets.near_copies import chunk_cluster_of
from nyx_assets.partitions import EVERY_CRAWL
from nyx_assets.past_calls import spent_calls
from nyx_assets.plots import plots_markdown
from nyx_assets.previews import markdown_preview
from nyx_assets.promoting import promotion, require_promoted
from nyx_assets.rag.corpus import chunk_documents, current_embeddings
from nyx_assets.rag.drawing import draw_by_hash
from nyx_assets.recipes import PipelineRecipe
from nyx_assets.records import (
    ALTERED_QUERIES,
    BLAME_SPLIT,
    FEEDBACK_ROUNDS,
    GATE_COMPARISONS,
    INDEX_SETTINGS,
    MODALITY_REPORT,
    QUALITY_GATE,
    RAG_DIFFERENCES,
    RAG_SCORES,
    RETRIEVAL_DIFFERENCES,
    RETRIEVAL_SCORES,
    WRONG_ANSWERS,
)
from nyx_assets.retrievers import BM25, FINETUNED, PRETRAINED, PROMOTED, UNTRAINED
from nyx_assets.rounds import Round, rounds_of, stopped_before
from nyx_assets.stored_embeddings import embedded_once
from resources.embedder import Embedders
from resources.home import Home
from resources.tables import Commit, utc_now
from resources.vlm_roles import VLMRole
from training_kernels.documents import Document

NYXQA = "nyxqa"
"""Name of the project's own suite: held-out questions, golden chunk among all chunks."""
NYXQA_OPTIONS = "nyxqa_options"
"""The test questions with their options in the query, as the published numbers have it: the answer is given away."""
NYXQA_PICTURED = "nyxqa_pictured"
"""The test questions with pictures as they are; what NYXQA_ALTERED is to be compared with."""
NYXQA_ALTERED = "nyxqa_altered"
"""Its control set: the same questions, their pictures altered."""
COMPARED = ("recall@1", "recall@10", "mrr", "ndcg@10", "map")
"""Metrics of which retrieval_differences has every pair."""
EVALUATED = (UNTRAINED, PRETRAINED, FINETUNED)
REPORTED = (BM25, *(retriever.name for retriever in EVALUATED))
"""Retrievers whose nDCG and F1 are metadata by themselves; the table below them has all."""
CORPUS_DEPS = [
    dg.AssetDep("filtered_qa", partition_mapping=EVERY_CRAWL),
    dg.AssetDep("chunked_corpus", partition_mapping=EVERY_CRAWL),
]
SUITE_DEPS = [*CORPUS_DEPS, dg.AssetDep("near_duplicates")]
CAPTIONS_DEPS = [dg.AssetDep(name, partition_mapping=EVERY_CRAWL) for name in ("chunk_captions", "caption_embeddings")]
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
    test = held_out_pairs(home, "test")
    for name, split, pairs in (
        (NYXQA, "dev", held_out_pairs(home, "dev")),
        (NYXQA, "test", test),
        (NYXQA_OPTIONS, "test", [with_options(pair) for pair in test if pair["options"]]),
        (NYXQA_PICTURED, "test", [pair for pair in test if Document.from_rows(pair["question"]).images]),
        (NYXQA_ALTERED, "test", altered),
    ):
        drawn = draw_by_modality(pairs, chunk_by_id, limit=recipe.evaluation.max_queries_per_modality, seed=recipe.seed)
        yield split, suite_of_qa(name, drawn, chunk_by_id, near_copies=near_copies)


def suites_of_the_gate(home: Home, recipe: PipelineRecipe) -> dict[str, Suite]:
    """The bare dev and test questions by split: the first decide what goes live, the second can only veto it."""
    return {split: suite for split, suite in own_suites(home, recipe) if suite.name == NYXQA}


def evaluated_retrievers(
    home: Home, embedders: Embedders, foreign_embedders: ForeignEmbedders, recipe: PipelineRecipe, *, asset: str
) -> list[Retriever]:
    """BM25, what reads captions in the places of pictures, and every retriever that embeds, before and after each training,
    for this asset."""
    return [
        Bm25Retriever(),
        *caption_baselines(home, embedders, foreign_embedders, recipe.captions, asset=asset),
        *(stored_retriever(retriever, home, embedders) for retriever in EVALUATED),
    ]


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


@dg.multi_asset(
    name="retrieval_evaluation",
    specs=[
        dg.AssetSpec(
            name,
            deps=[*SUITE_DEPS, *EMBEDDING_DEPS, *CAPTIONS_DEPS, dg.AssetDep("altered_queries")],
            description=description,
            group_name="evaluation",
            code_version="5",
            metadata=settings("evaluation", "captions", "backbone", "seed"),
        )
        for name, description in (
            (
                "retrieval_scores",
                "Recall, MRR, nDCG and more of each retriever on the dev and test questions, with options and with altered pictures beside, at each Matryoshka dim and by query modality, BM25 beside.",
            ),
            (
                "retrieval_differences",
                "Every two retrievers on the same questions: difference of each headline metric, paired bootstrap interval, randomisation test.",
            ),
            (
                "modality_report",
                "Hits of each retriever by modality of query and target, share of first hits of a wrong modality, and scores with the query's texts or pictures blanked.",
            ),
        )
    ],
    pool="gpu",
)
def retrieval_evaluation(
    context: dg.AssetExecutionContext,
    home: dg.ResourceParam[Home],
    recipe: dg.ResourceParam[PipelineRecipe],
    embedders: dg.ResourceParam[Embedders],
    foreign_embedders: dg.ResourceParam[ForeignEmbedders],
) -> Iterator[dg.MaterializeResult]:
    step = Step(context, home)
    shown: list[dict[str, Any]] = []
    written_by_stand_in = home.tables.read("filtered_qa", columns=["is_stand_in"])["is_stand_in"].to_pylist()
    mark = {"is_stand_in": any(written_by_stand_in)}
    headline = f"ndcg@{recipe.evaluation.ndcg_at}"
    with (
        step.tables(
            {
                "retrieval_differences": RETRIEVAL_DIFFERENCES,
                "modality_report": MODALITY_REPORT,
                "retrieval_scores": RETRIEVAL_SCORES,
            }
        ) as tables,
        published_runs(home) as runs,
    ):
        retrievers = evaluated_retrievers(home, embedders, foreign_embedders, recipe, asset="retrieval_scores")
        for split, suite in own_suites(home, recipe):
            runs.qrels(suite, split)
            scores_by_retriever = {}
            for retriever in retrievers if suite.queries else ():
                measured = measure(retriever, suite, split=split, recipe=recipe.evaluation)
                tables["retrieval_scores"].append(row | mark for row in measured.rows)
                scores_by_retriever[retriever.name] = measured.scores
                runs.run(suite, split, retriever.name, measured.rankings)
                reported = modality_rows(retriever, suite, measured.rankings, split=split)
                tables["modality_report"].append(row | mark for row in reported)
                whole = next(row for row in measured.rows if row["metric"] == headline and row["modality"] == "all")
                step.log(
                    f"{suite.name} {split}: {retriever.name} nDCG@{recipe.evaluation.ndcg_at} {whole['value']:.3f} on {whole['num_queries']} questions"
                )
                if split == "test" and suite.name == NYXQA:
                    if retriever.name in REPORTED:
                        step.report("retrieval_scores", **{f"nDCG {retriever.name}": round(whole["value"], 4)})
                    shown += side_by_side(
                        (row for row in measured.rows if row["modality"] == "all"), ["retriever", "dim"]
                    )
            tables["retrieval_differences"].append(
                row | mark
                for row in difference_rows(
                    scores_by_retriever, metrics=COMPARED, suite=suite.name, split=split, seed=recipe.seed
                )
            )
    step.report("retrieval_scores", scores=_scores_shown(shown, ["retriever", "dim", *HEADLINE], home))
    step.report("retrieval_scores", trec_files=dg.MetadataValue.path(str(home.trec_folder)))
    step.preview("retrieval_differences", ["suite", "split", "metric", "retriever", "against", "difference", "p_value"])
    step.preview("modality_report", ["retriever", "query_modality", "target_modality", "blanked", "hit_at_10"])
    yield from step.results("retrieval_scores", "retrieval_differences", "modality_report")


@dg.multi_asset(
    name="rag_evaluation",
    specs=[
        dg.AssetSpec(
            name,
            deps=[*CORPUS_DEPS, *EMBEDDING_DEPS, *CAPTIONS_DEPS],
            description=description,
            group_name="evaluation",
            kinds={"openai", "parquet"},
            code_version="3",
            metadata=settings(
                "evaluation", "captions", "feedback", "generator", "further_generators", "backbone", "seed"
            ),
        )
        for name, description in (
            (
                "rag_scores",
                "How well the generator answers test questions with what each retriever found; with nothing, and with the golden chunk, as bounds.",
            ),
            (
                "rag_differences",
                "Every two retrievers by the same generator on the same test questions: difference of each grade, paired bootstrap interval, randomisation test.",
            ),
            (
                "wrong_answers",
                "Each wrong answer with whose fault it is: golden chunk not retrieved, ranked below the window, or shown and misread; the answer to the golden chunk alone beside.",
            ),
            (
                "blame_split",
                "Of each retriever's answers, how many are right, and what the others are to be blamed on.",
            ),
        )
    ],
    pool="vlm",
)
def rag_evaluation(
    context: dg.AssetExecutionContext,
    home: dg.ResourceParam[Home],
    recipe: dg.ResourceParam[PipelineRecipe],
    embedders: dg.ResourceParam[Embedders],
    foreign_embedders: dg.ResourceParam[ForeignEmbedders],
    generator: dg.ResourceParam[VLMRole],
    further_generators: dg.ResourceParam[tuple[VLMRole, ...]],
) -> Iterator[dg.MaterializeResult]:
    step = Step(context, home)
    chunk_by_id = chunk_documents(home)
    pair_by_id = {pair["qa_id"]: pair for pair in held_out_pairs(home, "test")}
    drawn = draw_by_hash(pair_by_id, limit=recipe.evaluation.max_rag_queries, seed=recipe.seed)
    pairs = [pair_by_id[qa_id] for qa_id in drawn]
    retrievers = evaluated_retrievers(home, embedders, foreign_embedders, recipe, asset="rag_scores")
    contexts = contexts_of(pairs, chunk_by_id, retrievers, window=recipe.evaluation.rag_window)
    generators = [generator, *further_generators]
    progress = step.progress("answers", len(contexts) * len(generators), beside=generator.spent_of_cap)
    answers = [
        answer
        for one in generators
        for answer in progress.over(answered_with(one.for_step("rag_scores", None), contexts, chunk_by_id, recipe))
    ]
    grades = grades_of(answers, pair_by_id)
    rows = rag_score_rows(grades, split="test", seed=recipe.seed)
    wrong, blamed = wrong_answers(answers, pair_by_id, min_grade=recipe.feedback.min_grade)
    schemas = {
        "wrong_answers": WRONG_ANSWERS,
        "blame_split": BLAME_SPLIT,
        "rag_differences": RAG_DIFFERENCES,
        "rag_scores": RAG_SCORES,
    }
    with step.tables(schemas) as tables:
        tables["rag_scores"].append(rows)
        tables["rag_differences"].append(rag_differences(grades, split="test", seed=recipe.seed))
        tables["wrong_answers"].append(wrong)
        tables["blame_split"].append(blamed)
    described = {one.model: one.described for one in generators}
    for row in rows:
        if row["metric"] == "token_f1":
            step.log(
                f"test: {row['retriever']} answer F1 {row['value']:.3f} ({row['interval_low']:.3f} to "
                f"{row['interval_high']:.3f}) by {described[row['generator']]}"
            )
            if row["retriever"] in REPORTED and row["generator"] == generator.model:
                step.report("rag_scores", **{f"F1 {row['retriever']}": round(row["value"], 4)})
    shown = side_by_side(rows, ["retriever", "num_queries", "generator"])
    step.report("rag_scores", scores=_scores_shown(shown, list(shown[0]) if shown else [], home))
    step.preview("wrong_answers", ["retriever", "blame", "answer", "golden_answer", "oracle_answer"])
    step.preview("blame_split", ["retriever", "outcome", "num_answers", "share", "oracle_right_share"])
    step.preview("rag_differences", ["generator", "metric", "retriever", "against", "difference", "p_value"])
    yield from step.results("rag_scores", "rag_differences", "wrong_answers", "blame_split")


def round_score_asset(one: Round) -> dg.AssetsDefinition:
    """`round_<n>/score`: the row of a feedback round that took place; made where the recipe has more than one."""
    name = one.score

    @dg.asset(
        key=key_of(name),
        deps=[
            *SUITE_DEPS,
            key_of(one.checkpoint),
            key_of(str(one.retriever.checkpoint)),
            *(
                dg.AssetDep([retriever.name, "chunk_embeddings"], partition_mapping=EVERY_CRAWL)
                for retriever in (one.trained, one.retriever)
            ),
            dg.AssetDep(key_of(one.preferences), partition_mapping=EVERY_CRAWL),
            *([] if one.number == 1 else [key_of(one.before.score)]),
        ],
        description=f"What feedback round {one.number} gained on the dev questions, what it cost, and whether another round follows; empty if it did not take place.",
        group_name="evaluation",
        code_version="1",
        pool="gpu",
        metadata=settings("evaluation", "rounds", "seed"),
    )
    def score(
        context: dg.AssetExecutionContext,
        home: dg.ResourceParam[Home],
        recipe: dg.ResourceParam[PipelineRecipe],
        embedders: dg.ResourceParam[Embedders],
    ) -> Iterator[dg.MaterializeResult]:
        step = Step(context, home)
        stopped = stopped_before(home, one)
        with step.tables({name: FEEDBACK_ROUNDS}) as tables:
            if not stopped:
                suite = suites_of_the_gate(home, recipe)[DEV]
                metric = f"ndcg@{recipe.evaluation.ndcg_at}"
                after, before = (
                    metric_by_query(stored_retriever(retriever, home, embedders), suite, metric, recipe)
                    if suite.queries
                    else {}
                    for retriever in (one.trained, one.retriever)
                )
                tries = home.tables.read(one.preferences, columns=["qa_id", "role", "is_stand_in"])
                row = round_row(
                    one.number,
                    after,
                    before,
                    metric=metric,
                    recipe=recipe.rounds,
                    spent=spent_calls(home, one.preferences),
                    tried=num_tried(tries.to_pylist()),
                    checkpoint=home.artifacts.require(one.checkpoint).commit.data_version,
                    is_stand_in=any(tries["is_stand_in"].to_pylist()),
                    seed=recipe.seed,
                )
                tables[name].append([row])
                step.report(name, gain=row["gain"], dev_score=row["dev_score"], calls=row["calls"], usd=row["cost_usd"])
        said = stopped or row["reason"]
        step.log(f"no round {one.number}: {stopped}" if stopped else said)
        step.report(name, reason=said)
        yield from step.results(name)

    return score


def round_score_assets(recipe: PipelineRecipe) -> list[dg.AssetsDefinition]:
    """The score of every feedback round, where there is more than one to tell apart."""
    rounds = rounds_of(recipe.rounds.number)
    return [round_score_asset(one) for one in rounds] if len(rounds) > 1 else []


@dg.multi_asset(
    name="gate",
    specs=[
        dg.AssetSpec(
            name,
            deps=["retrieval_scores", *EMBEDDING_DEPS, *SUITE_DEPS],
            description=description,
            group_name=group,
            kinds={kind},
            code_version="3",
            metadata=settings("evaluation", "gate", "seed"),
        )
        for name, group, kind, description in (
            (
                "quality_gate",
                "evaluation",
                "parquet",
                "Whether the finetuned checkpoint went live, and why; and every time a person overruled the gate.",
            ),
            (
                "gate_comparisons",
                "evaluation",
                "parquet",
                "The finetuned checkpoint beside the live, pretrained and untrained one and BM25 on dev and test questions.",
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
    result = run_gate(home, embedders, suites_of_the_gate(home, recipe), recipe)
    with promotion(home, log=step.log):
        if result.live is not None:
            version = result.live.commit.data_version
            require_promoted(home, version, doing="the gate judged", then="materialize quality_gate again")
        winner = winner_of(home, result)
        overruled = decisions_by_persons(home)
        with step.tables({"gate_comparisons": GATE_COMPARISONS, "quality_gate": QUALITY_GATE}) as tables:
            tables["gate_comparisons"].append(comparison_rows(result))
            tables["quality_gate"].append([*overruled, gate_row(result)])  # the newest is the last
        home.artifacts.publish(
            str(PROMOTED.checkpoint),
            winner.folder,
            Commit(
                data_version=winner.commit.data_version,
                num_rows=winner.commit.num_rows,
                provenance=step.provenance("promoted_checkpoint"),
                written_at=utc_now(),
            ),
        )
    step.log(result.decision.reason)
    step.report("quality_gate", promoted=result.decision.promote or "nothing", reason=result.decision.reason)
    step.preview("quality_gate", ["metric", "candidate_score", "live_score", "interval_low", "interval_high"])
    step.preview("gate_comparisons", ["split", "against", "role", "outcome", "difference", "p_value"])
    step.report("promoted_checkpoint", folder=dg.MetadataValue.path(str(winner.folder)))
    yield from step.results("quality_gate", "gate_comparisons", "promoted_checkpoint")


@dg.asset(
    name="index_settings",
    deps=[
        *SUITE_DEPS,
        dg.AssetDep("promoted_checkpoint"),
        dg.AssetDep([PROMOTED.name, "chunk_embeddings"], partition_mapping=EVERY_CRAWL),
    ],
    description="Score on the dev questions, bytes a vector and search time of the promoted checkpoint at each Matryoshka dim and precision; the recommended dim is the one that final_index takes.",
    group_name="evaluation",
    code_version="1",
    pool="gpu",
    metadata=settings("evaluation", "backbone", "seed"),
)
def measured_index_settings(
    context: dg.AssetExecutionContext,
    home: dg.ResourceParam[Home],
    recipe: dg.ResourceParam[PipelineRecipe],
    embedders: dg.ResourceParam[Embedders],
) -> Iterator[dg.MaterializeResult]:
    step = Step(context, home)
    suite = suites_of_the_gate(home, recipe)["dev"]
    embedder = embedders.open(PROMOTED.folder(home, embedders))
    ids, embedding_CD = current_embeddings(home, PROMOTED.name)
    # chunks whose partition is stale or quarantined are embedded here
    embedding_CD, _ = embedded_once(
        list(suite.candidates),
        list(suite.candidates.values()).__getitem__,
        embedder,
        dict(zip(ids, embedding_CD, strict=True)),
    )
    rows = index_settings(
        suite,
        embedder.embed([query.document for query in suite.queries], side="query"),
        embedding_CD,
        dims=embedder.dims,
        ndcg_depth=recipe.evaluation.ndcg_at,
        max_loss=recipe.evaluation.max_dim_loss,
    )
    with step.tables({"index_settings": INDEX_SETTINGS}) as tables:
        tables["index_settings"].append(rows)
    for row in rows:
        if row["is_recommended"]:
            step.log(
                f"{row['precision']}: {row['dim']} dims are recommended, {row['bytes_per_vector']:,} bytes a vector, "
                f"{row['metric']} {row['score']:.3f} ({row['loss']:.1%} below the best)"
            )
    step.preview("index_settings", ["dim", "precision", "score", "loss", "bytes_per_vector", "is_recommended"])
    yield from step.results("index_settings")
