"""Training: the barrier that says what a training run is made of, and the two checkpoints behind it."""

from collections.abc import Iterator

import dagster as dg

from nyx_assets.materialization import Step, settings
from nyx_assets.partitions import EVERY_CRAWL
from nyx_assets.recipes import PipelineRecipe
from nyx_assets.records import TRAINING_MANIFEST
from nyx_assets.training.examples import feedback_examples, nyxqa_examples
from nyx_assets.training.manifest import manifest_rows, require_unchanged
from nyx_assets.training.runs import trained_checkpoint
from resources.embedder import Embedders
from resources.gpu import Launcher
from resources.home import Home


@dg.asset(
    deps=[
        dg.AssetDep("chunked_corpus", partition_mapping=EVERY_CRAWL),
        dg.AssetDep("filtered_qa", partition_mapping=EVERY_CRAWL),
        "negatives",
    ],
    description="The barrier before training: every table partition that a run is made of, with rows and content version.",
    group_name="training",
    kinds={"parquet"},
    code_version="1",
)
def training_manifest(
    context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]
) -> Iterator[dg.MaterializeResult]:
    step = Step(context, home)
    with step.tables({"training_manifest": TRAINING_MANIFEST}) as tables:
        tables["training_manifest"].append(manifest_rows(home))
    step.preview("training_manifest", ["input", "crawl", "num_rows", "data_version"])
    yield from step.results("training_manifest")


@dg.asset(
    deps=["training_manifest"],
    description="Adapter or weights after training on NyxQA with hard negatives; Matryoshka InfoNCE.",
    group_name="training",
    kinds={"torch"},
    code_version="1",
    pool="gpu",
    metadata=settings("backbone", "pretraining", "mining", "seed"),
)
def pretrained_checkpoint(
    context: dg.AssetExecutionContext,
    home: dg.ResourceParam[Home],
    recipe: dg.ResourceParam[PipelineRecipe],
    launcher: dg.ResourceParam[Launcher],
    embedders: dg.ResourceParam[Embedders],
) -> Iterator[dg.MaterializeResult]:
    step = Step(context, home)
    require_unchanged(home)
    report = trained_checkpoint(
        step.home,
        "pretrained_checkpoint",
        *nyxqa_examples(home, negatives_per_query=recipe.mining.keep),
        training_recipe=recipe.pretraining,
        start_from=embedders.untrained(),
        seed=recipe.seed,
        launcher=launcher,
        provenance=step.provenance("pretrained_checkpoint"),
        log=step.log,
    )
    step.report("pretrained_checkpoint", **report)
    yield from step.results("pretrained_checkpoint")


@dg.asset(
    deps=["pretrained_checkpoint", dg.AssetDep("feedback_preferences", partition_mapping=EVERY_CRAWL)],
    description="The pretrained checkpoint after training on what the generator could and could not answer from.",
    group_name="training",
    kinds={"torch"},
    code_version="1",
    pool="gpu",
    metadata=settings("backbone", "finetuning", "feedback", "seed"),
)
def finetuned_checkpoint(
    context: dg.AssetExecutionContext,
    home: dg.ResourceParam[Home],
    recipe: dg.ResourceParam[PipelineRecipe],
    launcher: dg.ResourceParam[Launcher],
) -> Iterator[dg.MaterializeResult]:
    step = Step(context, home)
    report = trained_checkpoint(
        step.home,
        "finetuned_checkpoint",
        *feedback_examples(home),
        training_recipe=recipe.finetuning,
        start_from=str(home.artifacts.require("pretrained_checkpoint").folder),
        seed=recipe.seed,
        launcher=launcher,
        provenance=step.provenance("finetuned_checkpoint"),
        log=step.log,
    )
    step.report("finetuned_checkpoint", **report)
    yield from step.results("finetuned_checkpoint")
