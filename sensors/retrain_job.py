"""The main job as a job of Dagster, with what a person may want of one run in its launchpad."""

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from types import MappingProxyType
from typing import Any

import dagster as dg
from pydantic import Field

from nyx_assets.backfilling import scope_until
from nyx_assets.main_job import run_main_job
from nyx_assets.scope import Scope
from resources.home import Home
from resources.settings import Settings
from sensors.job_runs import Limits, PipelineWith, caps_of, metadata_or_failure, planned_metadata, told_to

JOB = "retrain"
STEP = "bring_everything_up_to_date"


class Stage(Enum):
    """Where a run may stop, each with the last asset that it makes."""

    corpus = "page_clusters"
    questions = "filtered_qa"
    negatives = "training_manifest"
    pretraining = "pretrained_checkpoint"
    feedback = "feedback_preferences"
    finetuning = "finetuned_checkpoint"
    gate = "promoted_checkpoint"
    everything = ""


class RetrainConfig(Limits):
    """What one run of the job does; as it stands, everything that is missing or stale."""

    only_until: Stage = Field(
        default=Stage.everything,
        description="Stop after this stage: corpus (near copies known), questions (filtered), negatives (and the training "
        "manifest), pretraining, feedback, finetuning, gate (decided what is promoted), or everything, which also brings "
        "the index, the scores and the report up to date. What comes after stays as it is.",
    )


def retrain_job(
    home: Home,
    settings: Settings,
    pipeline_with: PipelineWith,
    *,
    run_tags: Mapping[str, Any] = MappingProxyType({}),
) -> dg.JobDefinition:
    """What `nyx run` does with what landed, started from the UI, over GraphQL or by itself.

    Args:
        run_tags: of every run of the job.
    """

    @dg.op(
        name=STEP,
        description="Makes what is missing or stale: questions, negatives, checkpoints, gate, index. Each piece is a run of its own.",
    )
    def bring_everything_up_to_date(context: dg.OpExecutionContext, config: RetrainConfig) -> None:
        pipeline = pipeline_with(replace(settings, caps=caps_of(config, settings, home, context.instance, context.run)))
        is_all = config.only_until is Stage.everything
        scope = (
            Scope(reach=dict.fromkeys(pipeline.specs)) if is_all else scope_until(pipeline, [config.only_until.value])
        )
        if config.dry_run:
            context.add_output_metadata(planned_metadata(pipeline, settings, home, scope))
            return
        with told_to(context.log):
            report = run_main_job(pipeline, context.instance, home, None if is_all else scope)
        context.add_output_metadata(metadata_or_failure(report, config.limits))

    @dg.config_mapping
    def checked(config: RetrainConfig) -> dict[str, Any]:
        """Here, so that a number out of its bounds is refused before there is a run."""
        given = config.model_dump() | {"only_until": config.only_until.name}
        return {"ops": {bring_everything_up_to_date.name: {"config": given}}}

    @dg.job(
        name=JOB,
        description="Questions, training, the gate and the index of everything that landed; what is current is left as it is.",
        executor_def=dg.in_process_executor,
        config=checked,
        tags=dict(run_tags),
    )
    def retrain() -> None:
        bring_everything_up_to_date()

    return retrain
