"""The composition root: which assets there are, and which implementation stands behind each resource."""

import os
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from operator import attrgetter
from typing import Any

import dagster as dg

from nyx_assets.automation import REFRESH, refresh_sensor
from nyx_assets.captions.assets import caption_embeddings_asset, chunk_captions
from nyx_assets.captions.checks import caption_checks
from nyx_assets.catalog.assets import catalog_over
from nyx_assets.corpus.assets import (
    chunked_corpus,
    clustered_pages,
    landed_crawl,
    near_duplicates,
    signed_chunks,
    signed_pages,
    taken_pages,
)
from nyx_assets.corpus.checks import CORPUS_CHECKS
from nyx_assets.evaluation.assets import (
    altered_queries,
    gate,
    measured_index_settings,
    rag_evaluation,
    retrieval_evaluation,
    round_score_assets,
)
from nyx_assets.evaluation.checks import (
    EVALUATION_CHECKS,
    HELD_OUT,
    guarded_suites,
    nyxqa_questions,
    picture_hashes,
    questions_of,
    suites_fingerprint,
)
from nyx_assets.feedback.assets import feedback_checks, preferences_assets
from nyx_assets.index.assets import EMBEDDING_ASSETS, final_index, round_embeddings
from nyx_assets.index.checks import INDEX_CHECKS, round_embedding_checks
from nyx_assets.main_job import Pipeline
from nyx_assets.materialization import FILE_KEY, SETTINGS_KEY, name_of
from nyx_assets.mining.assets import mined_negatives_asset
from nyx_assets.mining.checks import MINING_CHECKS
from nyx_assets.nyxqa.assets import raw_qa, sampled_chunks, sorted_qa_asset
from nyx_assets.nyxqa.checks import NYXQA_CHECKS
from nyx_assets.prompts import prompt_versions, use_prompts
from nyx_assets.quick_records import write_records_quickly
from nyx_assets.recipes import PipelineRecipe, recipe_of
from nyx_assets.report.assets import report_over
from nyx_assets.retrievers import UNTRAINED
from nyx_assets.run_processes import note_processes
from nyx_assets.setting_notes import settings_digest
from nyx_assets.training.assets import (
    finetuning_assets,
    pretrained_checkpoint,
    public_training_sets,
    training_manifest,
)
from nyx_assets.training.leak_guard import HeldOut
from resources.devices import FOLDER as DEVICES_FOLDER
from resources.devices import Devices
from resources.embedder import Embedder
from resources.embedder_checkpoint import CheckpointEmbedders
from resources.embedder_endpoint import EmbeddingsServer
from resources.embedder_sentence_transformers import SentenceTransformersEmbedder
from resources.fetching import NOT_FETCHED, FetchedPictures, WebPictures
from resources.gpu import Launcher
from resources.gpu_inprocess import InProcessLauncher
from resources.gpu_torchrun import TorchrunLauncher
from resources.home import Home
from resources.index_milvus import MilvusIndex
from resources.public_sets import PublicSets
from resources.settings import ROLES, Settings
from resources.vlm_roles import VLMRole
from sensors import backfill_job, retrain_job
from sensors.alerts import alerts_sensor
from sensors.failures import failures_sensor
from sensors.job_runs import run_pod_tags
from sensors.killed_runs import killed_runs_sensor
from sensors.landings import landings_sensor
from sensors.retraining import retraining_schedules, retraining_sensor
from training_kernels.errors import ConfigError
from training_kernels.recipes import train_recipe


def assets_of(recipe: PipelineRecipe) -> list[dg.AssetsDefinition]:
    """Every asset that we make; what two of them read and wait for is the recipe's to say."""
    assets = [
        taken_pages,
        chunked_corpus,
        signed_pages,
        signed_chunks,
        chunk_captions,
        near_duplicates,
        clustered_pages,
        sampled_chunks,
        raw_qa,
        sorted_qa_asset(recipe.qa.round_trip),
        mined_negatives_asset(recipe.mining),
        public_training_sets,
        training_manifest,
        pretrained_checkpoint,
        *preferences_assets(recipe),
        *finetuning_assets(recipe),
        *EMBEDDING_ASSETS,
        *round_embeddings(recipe),
        caption_embeddings_asset(recipe.captions),
        *round_score_assets(recipe),
        altered_queries,
        retrieval_evaluation,
        rag_evaluation,
        gate,
        measured_index_settings,
        final_index,
    ]
    assets.append(report_over(spec for asset in assets for spec in asset.specs))
    return [*assets, catalog_over([landed_crawl, *(spec for asset in assets for spec in asset.specs)])]


def checks_of(recipe: PipelineRecipe) -> list[dg.AssetChecksDefinition]:
    """Every check of assets_of."""
    return [
        *CORPUS_CHECKS,
        *NYXQA_CHECKS,
        *MINING_CHECKS,
        *feedback_checks(recipe),
        *caption_checks(recipe),
        *EVALUATION_CHECKS,
        *INDEX_CHECKS,
        *round_embedding_checks(recipe),
    ]


SECTIONS = (
    "backbone",
    "seed",
    "pictures",
    "chunking",
    "deduplication",
    "qa.sampling",
    "qa.writing",
    "qa.checks",
    "qa.round_trip",
    "qa.blocked_domains",
    "qa.dev_share",
    "qa.test_share",
    "mining",
    "mixture",
    "feedback",
    "rounds",
    "finetuning_from",
    "captions",
    "evaluation",
    "gate",
    "index",
)


OWNER_BY_GROUP = {
    **dict.fromkeys(("corpus", "captions", "nyxqa", "mining", "catalog"), "team:data"),
    **dict.fromkeys(("training", "feedback"), "team:training"),
    **dict.fromkeys(("index", "evaluation"), "team:retrieval"),
}
"""Who is asked about an asset, as the UI shows it; a group without an owner does not load."""

FRESHNESS = dict.fromkeys(
    ("landed_crawl", "final_index"),
    dg.FreshnessPolicy.time_window(fail_window=timedelta(days=7), warn_window=timedelta(days=2)),
)
"""Choice: crawls land daily or weekly; an index that nothing has changed for a week is worth a look, and so is a crawl of
which nothing has landed."""


def resources_of(settings: Settings, home: Home) -> dict[str, Any]:
    """Every resource by the name that assets and the main job ask for."""
    recipe, devices = recipe_of(settings), Devices(home.root / DEVICES_FOLDER)
    return {
        "home": home,
        "devices": devices,
        "recipe": recipe,
        **{role: VLMRole.of(role, settings, home) for role in ROLES},
        "further_generators": VLMRole.further_generators(settings, home),
        "embedders": CheckpointEmbedders(
            cache_root=str(home.root / "backbones"),
            backbone=recipe.backbone,
            images_root=home.images.root,
            vision_cache_bytes=settings.vision_cache_bytes,
            take_device=devices.take,
        ),
        "foreign_embedders": {
            "sentence-transformers": partial(_library_embedder, devices),
            "endpoint": _ServedEmbedders(settings, home),
        },
        "public_sets": PublicSets(settings.public_sets),
        "held_out": _held_out,
        "web_pictures": _web_pictures(settings, recipe, home),
        "launcher": _launcher(settings, devices),
        "index": MilvusIndex(settings.index_uri or str(home.root / "index" / "milvus.db")),
    }


def _launcher(settings: Settings, devices: Devices) -> Launcher:
    """In the process of the asset, or one process a device."""
    if settings.train_processes == 1 and settings.train_nodes == 1:
        return InProcessLauncher(devices.take)
    return TorchrunLauncher(
        settings.train_processes, settings.train_nodes, settings.train_rendezvous, devices=devices.for_processes
    )


def _k8s_steps(settings: Settings) -> dict[str, Any] | None:
    """What NYX_K8S_STEPS says of the pods of steps; None where steps have none."""
    if settings.k8s_steps is None:
        return None
    import yaml

    try:
        return yaml.safe_load(settings.k8s_steps.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"NYX_K8S_STEPS={settings.k8s_steps} must be a YAML file: {error}") from None


def _executor(k8s_steps: dict[str, Any] | None) -> dg.ExecutorDefinition:
    """Steps in the process of their run, or each in a pod of its own."""
    if k8s_steps is None:
        return dg.in_process_executor
    from dagster_k8s import k8s_job_executor

    return k8s_job_executor.configured(k8s_steps, name="k8s_steps")


def _web_pictures(settings: Settings, recipe: PipelineRecipe, home: Home) -> WebPictures:
    if settings.web is None:
        return NOT_FETCHED
    return FetchedPictures(settings.web, recipe.fetching, log_root=str(home.root / "fetch"))


def _held_out(home: Home) -> HeldOut:
    """What no_suite_stands_in_training guards: NyxQA's held-out splits, and the suites in the home."""
    suites = {suite.name: questions_of(suite) for suite in guarded_suites(home)}
    return HeldOut({"nyxqa": nyxqa_questions(home, HELD_OUT), **suites}, picture_hashes(home))


def _library_embedder(devices: Devices, model: str, /, *, asset: str, partition: str | None) -> Embedder:
    """A model of sentence-transformers; it asks nobody, so nothing is entered under the asset."""
    devices.take()
    return SentenceTransformersEmbedder.load(model)


class _ServedEmbedders:
    """The embeddings server of the settings, by the name of its model."""

    def __init__(self, settings: Settings, home: Home) -> None:
        self._settings, self._home = settings, home
        self._server: EmbeddingsServer | None = None

    def __call__(self, model: str, /, *, asset: str, partition: str | None) -> Embedder:
        """Raises ConfigError if the settings name no server for this model."""
        configured = self._settings.embedder
        if configured is None or configured.model != model:
            raise ConfigError(
                f"endpoint:{model} needs NYX_EMBEDDER_BASE_URL, and NYX_EMBEDDER_MODEL={model}, got {configured}"
            )
        self._server = self._server or EmbeddingsServer(self._settings, self._home)
        return self._server.for_step(asset, partition)


def setting_values(recipe: PipelineRecipe, resources: Mapping[str, Any]) -> dict[str, str]:
    """What each setting name in an asset's metadata stands for, as text that changes when the setting does."""
    values = {name: repr(attrgetter(name)(recipe)) for name in SECTIONS}
    # a training is named in the pipeline's recipe; its numbers are in a recipe of its own
    values |= {training: repr(train_recipe(getattr(recipe, training))) for training in ("pretraining", "finetuning")}
    if recipe.finetuning_from == "base":  # the mined negatives are trained on once more
        values["finetuning_from"] += repr(recipe.mining)
    # a prompt that says something else is another setting: what was asked with it is asked again
    values["qa.writing"] += prompt_versions("nyx_assets.nyxqa", "write_")
    values["captions"] += prompt_versions("nyx_assets.captions")
    answering = prompt_versions("nyx_assets.rag")
    values["qa.checks"] += prompt_versions("nyx_assets.nyxqa") + answering
    judge_of_negatives = f"{resources['judge'].model} {answering}" if recipe.mining.judge == "vlm" else ""
    values["web_pictures"] = resources["web_pictures"].setting
    guarded = suites_fingerprint(resources["home"])  # a new suite may be leaked by what was drawn before
    values["public_sets"] = f"{resources['public_sets'].fingerprint()} {guarded}"
    values["mining"] += f" {recipe.backbone if recipe.mining.miner == UNTRAINED.name else ''} {judge_of_negatives}"
    values["qa.round_trip"] += f" {recipe.backbone if recipe.qa.round_trip.retriever == UNTRAINED.name else ''}"
    values |= {role: resources[role].model for role in ROLES}
    values["generator"] += answering
    values["further_generators"] = ", ".join(one.model for one in resources["further_generators"]) + answering
    return values


def build_pipeline(settings: Settings, home: Home) -> Pipeline:
    """The asset graph with everything that the settings decide."""
    use_prompts(settings.prompts)
    resources = resources_of(settings, home)
    values = setting_values(resources["recipe"], resources)

    def with_settings(spec: dg.AssetSpec) -> dg.AssetSpec:
        """The code version of an asset covers the settings that it names, so changing one makes it stale."""
        if home.is_shared and settings.index_uri is None and name_of(spec.key) == "final_index":
            spec = spec.merge_attributes(metadata={FILE_KEY: "index/milvus.db"})  # each host has one of its own
        spec = spec if spec.kinds else spec.replace_attributes(kinds={"parquet"})  # what says nothing else is a table
        spec = spec.replace_attributes(
            automation_condition=REFRESH.get(name_of(spec.key)),
            owners=[OWNER_BY_GROUP[str(spec.group_name)]],
            freshness_policy=FRESHNESS.get(name_of(spec.key)),
        )
        if not (names := spec.metadata.get(SETTINGS_KEY)):
            return spec
        digest = settings_digest(values, names.split(", "))
        return spec.replace_attributes(code_version=f"{spec.code_version}-{digest}")

    assets = [
        asset
        for asset in dg.with_source_code_references(
            [asset.map_asset_specs(with_settings) for asset in assets_of(resources["recipe"])]
        )
        if isinstance(asset, dg.AssetsDefinition)
    ]

    def pipeline_of() -> Pipeline:
        return pipeline

    def pipeline_with(changed: Settings) -> Pipeline:
        return pipeline if changed == settings else build_pipeline(changed, home)

    landings = landed_crawl.replace_attributes(
        owners=[OWNER_BY_GROUP[str(landed_crawl.group_name)]], freshness_policy=FRESHNESS.get(name_of(landed_crawl.key))
    )
    k8s_steps = _k8s_steps(settings)
    retrain = retrain_job.retrain_job(home, settings, pipeline_with, run_tags=run_pod_tags(k8s_steps, retrain_job.STEP))
    backfill = backfill_job.backfill_job(
        home, settings, pipeline_with, run_tags=run_pod_tags(k8s_steps, backfill_job.STEP)
    )
    defs = dg.Definitions(
        assets=[landings, *assets],
        asset_checks=checks_of(resources["recipe"]),
        jobs=[retrain, backfill],
        schedules=retraining_schedules(home, settings, retrain),
        sensors=[
            landings_sensor(home, settings, pipeline_of),
            refresh_sensor(),
            retraining_sensor(home, settings, retrain),
            failures_sensor(home, settings, pipeline_of),
            alerts_sensor(home, settings),
            killed_runs_sensor(home),
        ],
        resources=resources,
        executor=_executor(k8s_steps),
    )
    order = defs.resolve_asset_graph().toposorted_asset_keys
    specs = {name_of(spec.key): spec for asset in assets for spec in asset.specs}
    pipeline = Pipeline(
        defs=defs,
        specs={name: specs[name] for key in order if (name := name_of(key)) in specs},
        resources=resources,
        max_attempts=settings.max_attempts,
        siblings={name_of(key): tuple(name_of(key) for key in asset.keys) for asset in assets for key in asset.keys},
        setting_values=values,
        give_device_back=resources["devices"].give_back,
    )
    return pipeline


note_processes()
write_records_quickly()  # run workers and the code server load this file, and report to Dagster
settings_of_process = Settings.from_env(os.environ)
defs = build_pipeline(settings_of_process, Home.at(settings_of_process.home)).defs
