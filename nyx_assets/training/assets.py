"""Training: the barrier that says what a training run is made of, and the two checkpoints behind it."""

from collections import Counter
from collections.abc import Iterator

import dagster as dg

from nyx_assets.materialization import Step, key_of, settings
from nyx_assets.partitions import EVERY_CRAWL
from nyx_assets.recipes import PipelineRecipe
from nyx_assets.records import FEEDBACK_ROUNDS, PUBLIC_EXAMPLES, REFUSED_PUBLIC_EXAMPLES, TRAINING_MANIFEST
from nyx_assets.rounds import Round, rounds_of, rows_of, stopped_before
from nyx_assets.training.choosing import best_round, published_again
from nyx_assets.training.dev_examples import dev_examples
from nyx_assets.training.examples import feedback_examples, joint_examples, pretraining_examples
from nyx_assets.training.leak_guard import HeldOutOf
from nyx_assets.training.manifest import manifest_rows, require_unchanged
from nyx_assets.training.mixture import Refused, mixed
from nyx_assets.training.runs import trained_checkpoint
from resources.embedder import Embedders
from resources.gpu import Launcher
from resources.home import Home
from resources.public_sets import PublicSets

FINETUNED_CHECKPOINT = "finetuned_checkpoint"


@dg.multi_asset(
    name="public_training_sets",
    specs=[
        dg.AssetSpec(
            name,
            deps=[
                dg.AssetDep("filtered_qa", partition_mapping=EVERY_CRAWL),
                dg.AssetDep("chunked_corpus", partition_mapping=EVERY_CRAWL),
                dg.AssetDep("picture_signatures", partition_mapping=EVERY_CRAWL),
            ],
            description=description,
            code_version="3",
            metadata=settings("mixture", "public_sets", "pictures", "seed"),
        )
        for name, description in (
            ("public_examples", "Examples drawn from the public sets of NYX_PUBLIC_SETS; empty where it is not set."),
            (
                "refused_public_examples",
                "A row of a public set that is no example, lacks its picture, marks other than as many places as it has pictures, "
                "or leaks a held-out split, with the reason.",
            ),
        )
    ],
    group_name="training",
)
def public_training_sets(
    context: dg.AssetExecutionContext,
    home: dg.ResourceParam[Home],
    recipe: dg.ResourceParam[PipelineRecipe],
    public_sets: dg.ResourceParam[PublicSets],
    held_out: dg.ResourceParam[HeldOutOf],
) -> Iterator[dg.MaterializeResult]:
    step = Step(context, home)
    counts: dict[str, Counter[str]] = {"examples": Counter(), "refused": Counter()}
    schemas = {"refused_public_examples": REFUSED_PUBLIC_EXAMPLES, "public_examples": PUBLIC_EXAMPLES}
    with step.tables(schemas) as tables:
        for one in mixed(
            public_sets,
            home.images,
            recipe=recipe.mixture,
            limits=recipe.pictures,
            seed=recipe.seed,
            leak_guard=held_out(home).leaks,
        ):
            if isinstance(one, Refused):
                tables["refused_public_examples"].append([one.to_row()])
                counts["refused"][one.rule] += 1
            else:
                tables["public_examples"].append([one.to_row()])
                counts["examples"][one.source] += 1
    step.report("public_examples", by_set=dict(counts["examples"]), mixture=recipe.mixture.name)
    step.report("refused_public_examples", rules=dict(counts["refused"].most_common()))
    yield from step.results("public_examples", "refused_public_examples")


@dg.asset(
    deps=[
        dg.AssetDep("chunked_corpus", partition_mapping=EVERY_CRAWL),
        dg.AssetDep("filtered_qa", partition_mapping=EVERY_CRAWL),
        "negatives",
        "near_duplicates",
        "public_examples",
    ],
    description="The barrier before training: every table partition that a run is made of, with rows and content version.",
    group_name="training",
    kinds={"parquet"},
    code_version="2",
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
    description="Adapter or weights after training on NyxQA with hard negatives and on public sets; Matryoshka InfoNCE.",
    group_name="training",
    kinds={"torch"},
    code_version="2",
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
    embedders.release()
    report = trained_checkpoint(
        step.home,
        "pretrained_checkpoint",
        pretraining_examples(home, negatives_per_query=recipe.mining.keep),
        dev=dev_examples(home),
        training_recipe=recipe.pretraining,
        start_from=embedders.untrained(),
        seed=recipe.seed,
        launcher=launcher,
        provenance=step.provenance("pretrained_checkpoint"),
        log=step.log,
    )
    step.report("pretrained_checkpoint", **report | {"curves": dg.MetadataValue.md(report["curves"])})
    yield from step.results("pretrained_checkpoint")


FINETUNED_DESCRIPTION = (
    "The checkpoint after training on what the generator could and could not answer from: the pretrained one further, or "
    "by recipe the backbone on everything together."
)


def finetuning_asset(one: Round, recipe: PipelineRecipe) -> dg.AssetsDefinition:
    """The checkpoint of a round: `finetuned_checkpoint` if it is the only one, else `round_<n>/checkpoint`."""
    is_only = recipe.rounds.number == 1
    name = FINETUNED_CHECKPOINT if is_only else one.checkpoint
    earlier = rounds_of(one.number - 1)
    trained_on = [*earlier, one] if recipe.rounds.preferences == "joined" else [one]

    @dg.asset(
        key=key_of(name),
        deps=[
            "training_manifest",
            "pretrained_checkpoint",
            *(dg.AssetDep(key_of(each.preferences), partition_mapping=EVERY_CRAWL) for each in trained_on),
            *(key_of(asset) for each in earlier[-1:] for asset in (each.checkpoint, each.score)),
        ],
        description=FINETUNED_DESCRIPTION if is_only else f"{FINETUNED_DESCRIPTION} Feedback round {one.number}.",
        group_name="training",
        kinds={"torch"},
        code_version="3",
        pool="gpu",
        metadata=settings("backbone", "finetuning", "finetuning_from", "feedback", "rounds", "seed"),
    )
    def finetuned_checkpoint(
        context: dg.AssetExecutionContext,
        home: dg.ResourceParam[Home],
        recipe: dg.ResourceParam[PipelineRecipe],
        launcher: dg.ResourceParam[Launcher],
        embedders: dg.ResourceParam[Embedders],
    ) -> Iterator[dg.MaterializeResult]:
        step = Step(context, home)
        if stopped := stopped_before(home, one):
            step.log(f"not trained: {stopped}")
            published_again(home, one.before.checkpoint, name, step.provenance(name))
            step.report(name, reason=stopped)
            yield from step.results(name)
            return
        pretrained = home.artifacts.require("pretrained_checkpoint").folder
        tables = [each.preferences for each in trained_on]
        goes_on_from_round = recipe.rounds.preferences == "replacing" and one.number > 1
        if recipe.finetuning_from == "base":
            require_unchanged(home)
            training = joint_examples(home, tables, negatives_per_query=recipe.mining.keep)
            start_from = embedders.untrained()
        elif goes_on_from_round:
            training = feedback_examples(home, tables)
            start_from = str(home.artifacts.require(one.before.checkpoint).folder)
        else:
            training, start_from = feedback_examples(home, tables), str(pretrained)
        embedders.release()
        report = trained_checkpoint(
            step.home,
            name,
            training,
            dev=dev_examples(home),
            training_recipe=recipe.finetuning,
            start_from=start_from,
            seed=recipe.seed,
            launcher=launcher,
            provenance=step.provenance(name),
            log=step.log,
            beside={"pretrained": pretrained},
            kept_under=FINETUNED_CHECKPOINT,  # so that a round is trained once, whatever number of rounds the recipe has
        )
        step.report(name, **report | {"curves": dg.MetadataValue.md(report["curves"])})
        yield from step.results(name)

    return finetuned_checkpoint


def chosen_round_asset(recipe: PipelineRecipe) -> dg.AssetsDefinition:
    """`finetuned_checkpoint` of several rounds, and `feedback_rounds`, which says why it is that one."""
    rounds = rounds_of(recipe.rounds.number)

    @dg.multi_asset(
        name="chosen_round",
        specs=[
            dg.AssetSpec(
                name,
                deps=[key_of(asset) for one in rounds for asset in (one.checkpoint, one.score)],
                description=description,
                group_name="training",
                kinds={kind},
                code_version="1",
                metadata=settings("rounds"),
            )
            for name, kind, description in (
                (
                    "feedback_rounds",
                    "parquet",
                    "Each feedback round that took place: dev score, gain with its interval, calls and cost, and whether its checkpoint was chosen.",
                ),
                (FINETUNED_CHECKPOINT, "torch", "The checkpoint of the feedback round with the best dev score."),
            )
        ],
    )
    def chosen_round(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> Iterator[dg.MaterializeResult]:
        step = Step(context, home)
        rows = [row for one in rounds for row in rows_of(home, one)]
        chosen = best_round(rows)
        with step.tables({"feedback_rounds": FEEDBACK_ROUNDS}) as tables:
            tables["feedback_rounds"].append(row | {"is_chosen": row["round"] == chosen} for row in rows)
        published_again(home, Round(chosen).checkpoint, FINETUNED_CHECKPOINT, step.provenance(FINETUNED_CHECKPOINT))
        step.log(f"round {chosen} of {len(rows)} is the best on the dev questions")
        step.report(FINETUNED_CHECKPOINT, round=chosen, rounds=len(rows))
        step.preview("feedback_rounds", ["round", "dev_score", "gain", "calls", "cost_usd", "reason", "is_chosen"])
        yield from step.results("feedback_rounds", FINETUNED_CHECKPOINT)

    return chosen_round


def finetuning_assets(recipe: PipelineRecipe) -> list[dg.AssetsDefinition]:
    """The checkpoint of every feedback round of a recipe, and the one of them that counts."""
    made = [finetuning_asset(one, recipe) for one in rounds_of(recipe.rounds.number)]
    return made if recipe.rounds.number == 1 else [*made, chosen_round_asset(recipe)]
