"""A backfill as a job of Dagster: named assets made again, of named crawl partitions, with settings of its own."""

import os
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import dagster as dg
from pydantic import Field

from nyx_assets.backfilling import (
    WhichPartitions,
    backfill_lines,
    scope_of_backfill,
    stale_after,
    stale_inputs,
    stale_lines,
)
from nyx_assets.main_job import run_main_job
from nyx_assets.prompts import use_prompts
from nyx_assets.registering import make_partition_known
from resources.home import Home
from resources.settings import Settings, changed_settings, unpriced
from sensors.job_runs import Limits, PipelineWith, caps_of, metadata_or_failure, planned_metadata, told_to
from training_kernels.errors import ConfigError

JOB = "backfill"
STEP = "make_again"


class BackfillConfig(Limits):
    """What one backfill makes again, and with what."""

    assets: list[str] = Field(
        default=["raw_qa"],
        description="Assets that are made again, by name, whether or not they are current. What one function makes together "
        "with them is made again too.",
    )
    partitions: list[str] = Field(
        default=[],
        description="Crawl partitions, by name, in quotes where it is a number. Give these, or partitions_like, or all_partitions, where an asset is made by "
        "crawl partition.",
    )
    partitions_like: str = Field(
        default="", description="Crawl partitions whose names are like this, as a shell has it: 2026-*, part-0[1-3]."
    )
    all_partitions: bool = Field(default=False, description="Every crawl partition that landed and is not quarantined.")
    with_downstream: bool = Field(
        default=False,
        description="Then bring up to date what depends on what was made, and nothing else. Otherwise it shows as stale, and "
        "the next run makes it.",
    )
    settings: dict[str, str] = Field(
        default={},
        description="Settings of this run in place of those that Dagster was started with, as NYX_* variables, for instance "
        "NYX_TEACHER_MODEL, NYX_TEACHER_BASE_URL, NYX_PROMPTS (folder of prompts) or NYX_RECIPE; numbers and on/off in quotes. What was paid for before is "
        "answered from the kept replies. Samples, questions and captions made so stand in for what was there: runs with "
        "the settings of before leave them. The value of an NYX_…_API_KEY is the name of such a variable with the key in it; a "
        "server of another address does not get the key of the one before.",
    )

    @property
    def which(self) -> WhichPartitions:
        """Raises ConfigError where partitions are named in two ways."""
        return WhichPartitions(keys=tuple(self.partitions), pattern=self.partitions_like, is_all=self.all_partitions)


def backfill_job(
    home: Home,
    settings: Settings,
    pipeline_with: PipelineWith,
    *,
    run_tags: Mapping[str, Any] = MappingProxyType({}),
) -> dg.JobDefinition:
    """What `nyx backfill` does, started from the UI or over GraphQL.

    Args:
        run_tags: of every run of the job.
    """

    def made_again(config: BackfillConfig, context: dg.OpExecutionContext) -> Mapping[str, Any]:
        """What the run reports. Raises dg.Failure where something failed or a limit was reached."""
        changed = changed_settings(os.environ, config.settings)
        changed = replace(changed, caps=caps_of(config, changed, home, context.instance, context.run))
        pipeline = pipeline_with(changed)
        scope = scope_of_backfill(pipeline, home, config.assets, config.which, with_downstream=config.with_downstream)
        head = [*backfill_lines(pipeline, scope, config.assets, stale_inputs(pipeline, home, scope))]
        for line in head:
            context.log.info(line)
        if config.dry_run:
            return planned_metadata(pipeline, changed, home, scope)
        for key in sorted({place for places in scope.again.values() for place in places if place}):
            make_partition_known(context.instance, key)
        with told_to(context.log):
            report = run_main_job(pipeline, context.instance, home, scope)
        after = "\n".join(stale_lines(stale_after(pipeline_with(settings), home, scope)))
        return {**metadata_or_failure(report, config.limits), "stale after": dg.MetadataValue.md(f"```\n{after}\n```")}

    @dg.op(
        name=STEP,
        description="Makes again what was named, and what depends on it if that is wanted. Each piece is a run of its own.",
    )
    def make_again(context: dg.OpExecutionContext, config: BackfillConfig) -> None:
        try:
            context.add_output_metadata(made_again(config, context))
        except ConfigError as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        finally:
            use_prompts(settings.prompts)  # another run may follow in this process

    @dg.config_mapping
    def checked(config: BackfillConfig) -> dict[str, Any]:
        """Here, so that what makes no sense is refused before there is a run."""
        _ = config.which, changed_settings(os.environ, config.settings)
        if config.max_usd is not None and (missing := unpriced(config.settings)):
            raise ConfigError(
                f"max_usd cannot count what another model costs: put {' and '.join(missing)} into settings as well, '0' "
                "where it is free"
            )
        return {"ops": {make_again.name: {"config": config.model_dump()}}}

    @dg.job(
        name=JOB,
        description="Named assets made again, of named crawl partitions, with another teacher, prompt or recipe if wanted.",
        executor_def=dg.in_process_executor,
        config=checked,
        tags=dict(run_tags),
    )
    def backfill() -> None:
        make_again()

    return backfill
