"""The composition root: which assets there are, and which implementation stands behind each resource."""

import os
from collections.abc import Mapping
from typing import Any

import dagster as dg

from nyx_assets.catalog.assets import catalog
from nyx_assets.corpus.assets import chunked_corpus, landed_crawl, page_clusters, taken_pages
from nyx_assets.corpus.checks import CORPUS_CHECKS
from nyx_assets.evaluation.assets import gate, rag_scores, retrieval_scores
from nyx_assets.feedback.assets import feedback_preferences
from nyx_assets.feedback.checks import FEEDBACK_CHECKS
from nyx_assets.index.assets import EMBEDDING_ASSETS, final_index
from nyx_assets.index.checks import INDEX_CHECKS
from nyx_assets.main_job import Pipeline
from nyx_assets.materialization import SETTINGS_KEY, name_of
from nyx_assets.mining.assets import mined_negatives
from nyx_assets.mining.checks import MINING_CHECKS
from nyx_assets.nyxqa.assets import raw_qa, sorted_qa
from nyx_assets.nyxqa.checks import NYXQA_CHECKS
from nyx_assets.recipes import PipelineRecipe, recipe_of
from nyx_assets.records import content_id
from nyx_assets.training.assets import finetuned_checkpoint, pretrained_checkpoint, training_manifest
from resources.embedder_checkpoint import CheckpointEmbedders
from resources.gpu_inprocess import InProcessLauncher
from resources.home import Home
from resources.index_milvus import MilvusIndex
from resources.settings import ROLES, Settings
from resources.vlm_roles import VLMRole
from sensors.landings import landings_sensor
from training_kernels.recipes import train_recipe

ASSETS = [
    taken_pages,
    chunked_corpus,
    page_clusters,
    raw_qa,
    sorted_qa,
    mined_negatives,
    training_manifest,
    pretrained_checkpoint,
    feedback_preferences,
    finetuned_checkpoint,
    *EMBEDDING_ASSETS,
    retrieval_scores,
    rag_scores,
    gate,
    final_index,
    catalog,
]
CHECKS = [*CORPUS_CHECKS, *NYXQA_CHECKS, *MINING_CHECKS, *FEEDBACK_CHECKS, *INDEX_CHECKS]


SECTIONS = ("backbone", "seed", "pictures", "chunking", "qa", "mining", "feedback", "evaluation")


def resources_of(settings: Settings, home: Home) -> dict[str, Any]:
    """Every resource by the name that assets ask for."""
    recipe = recipe_of(settings)
    return {
        "home": home,
        "recipe": recipe,
        **{role: VLMRole.of(role, settings, home) for role in ROLES},
        "embedders": CheckpointEmbedders(
            cache_root=str(home.root / "backbones"), backbone=recipe.backbone, images_root=home.images.root
        ),
        "launcher": InProcessLauncher(),
        "index": MilvusIndex(settings.index_uri or str(home.root / "index" / "milvus.db")),
    }


def setting_values(recipe: PipelineRecipe, resources: Mapping[str, Any]) -> dict[str, str]:
    """What each setting name in an asset's metadata stands for, as text that changes when the setting does."""
    values = {section: repr(getattr(recipe, section)) for section in SECTIONS}
    # a training is named in the pipeline's recipe; its numbers are in a recipe of its own
    values |= {training: repr(train_recipe(getattr(recipe, training))) for training in ("pretraining", "finetuning")}
    return values | {role: resources[role].model for role in ROLES}


def build_pipeline(settings: Settings, home: Home) -> Pipeline:
    """The asset graph with everything that the settings decide."""
    resources = resources_of(settings, home)
    values = setting_values(resources["recipe"], resources)

    def with_settings(spec: dg.AssetSpec) -> dg.AssetSpec:
        """The code version of an asset covers the settings that it names, so changing one makes it stale."""
        if not (names := spec.metadata.get(SETTINGS_KEY)):
            return spec
        digest = content_id(*(values[name] for name in names.split(", ")))[:8]
        return spec.replace_attributes(code_version=f"{spec.code_version}-{digest}")

    assets = [asset.map_asset_specs(with_settings) for asset in ASSETS]
    defs = dg.Definitions(
        assets=[landed_crawl, *assets],
        asset_checks=CHECKS,
        sensors=[landings_sensor(home, settings)],
        resources=resources,
        executor=dg.in_process_executor,
    )
    order = defs.resolve_asset_graph().toposorted_asset_keys
    specs = {name_of(spec.key): spec for asset in assets for spec in asset.specs}
    return Pipeline(
        defs=defs,
        specs={name: specs[name] for key in order if (name := name_of(key)) in specs},
        resources=resources,
        siblings={name_of(key): tuple(name_of(key) for key in asset.keys) for asset in assets for key in asset.keys},
    )


settings_of_process = Settings.from_env(os.environ)
defs = build_pipeline(settings_of_process, Home.at(settings_of_process.home)).defs
