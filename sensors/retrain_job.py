"""The main job as a job of Dagster, with what a person may want of one run in its launchpad."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from types import MappingProxyType
from typing import Any

import dagster as dg
from pydantic import Field

from nyx_assets.backfilling import scope_until
from nyx_assets.main_job import JobReport, Pipeline, run_main_job
from nyx_assets.planned_run import plan_of
from nyx_assets.planning import plan_text
from nyx_assets.scope import Scope
from resources.home import Home
from resources.settings import Settings
from resources.vlm_budget import Caps
from resources.vlm_roles import budget_of

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


class RetrainConfig(dg.Config):
    """What one run of the job does; as it stands, everything that is missing or stale."""

    only_until: Stage = Field(
        default=Stage.everything,
        description="Stop after this stage: corpus (near copies known), questions (filtered), negatives (and the training "
        "manifest), pretraining, feedback, finetuning, gate (decided what is promoted), or everything, which also brings "
        "the index, the scores and the report up to date. What comes after stays as it is.",
    )
    max_calls: int | None = Field(
        default=None,
        ge=0,
        description="Most calls to paid VLMs that this run may make, 0 or more; 0: only what was answered before. At the "
        "limit the run ends, keeps every reply, and the next one goes on from there. Not set: NYX_MAX_CALLS alone counts.",
    )
    max_usd: float | None = Field(
        default=None,
        ge=0,
        description="Most US dollars that this run may spend, 0 or more, by the prices of NYX_<ROLE>_USD_PER_MILLION_…; as "
        "max_calls. Not set: NYX_MAX_USD alone counts.",
    )
    dry_run: bool = Field(
        default=False,
        description="Make nothing and ask nothing: only write to the run's metadata what would be made and why, and what it "
        "would cost.",
    )

    @property
    def limits(self) -> str:
        """The limits of this run as a person gave them; "" if there is none."""
        given = {"max_calls": self.max_calls, "max_usd": self.max_usd}
        return ", ".join(f"{name} {value}" for name, value in given.items() if value is not None)


def run_pod_tags(k8s_steps: Mapping[str, Any] | None) -> dict[str, Any]:
    """Tags for the pod of a run of the job, which does all of its work itself: it trains, embeds and scores there.

    Args:
        k8s_steps: the configuration of dagster-k8s' executor. What it says of the job's one step, or else of every step,
            holds for the pod.
    """
    if k8s_steps is None:
        return {}
    pod = k8s_steps.get("per_step_k8s_config", {}).get(STEP) or k8s_steps.get("step_k8s_config")
    return {"dagster-k8s/config": pod} if pod else {}


def retrain_job(
    home: Home,
    settings: Settings,
    pipeline_under: Callable[[Caps], Pipeline],
    *,
    run_tags: Mapping[str, Any] = MappingProxyType({}),
) -> dg.JobDefinition:
    """What `nyx run` does with what landed, started from the UI, over GraphQL or by itself.

    Args:
        pipeline_under: the asset graph under some caps; asked for when the job runs, since the job is a part of it.
        run_tags: of every run of the job.
    """

    @dg.op(
        name=STEP,
        description="Makes what is missing or stale: questions, negatives, checkpoints, gate, index. Each piece is a run of its own.",
    )
    def bring_everything_up_to_date(context: dg.OpExecutionContext, config: RetrainConfig) -> None:
        pipeline = pipeline_under(caps_of(config, settings, home))
        is_all = config.only_until is Stage.everything
        scope = (
            Scope(reach=dict.fromkeys(pipeline.specs)) if is_all else scope_until(pipeline, [config.only_until.value])
        )
        if config.dry_run:
            context.add_output_metadata(_planned(pipeline, settings, home, scope))
            return
        with _told_to(context.log):
            report = run_main_job(pipeline, context.instance, home, None if is_all else scope)
        context.add_output_metadata(_metadata_or_failure(report, config.limits))

    @dg.config_mapping
    def checked(config: RetrainConfig) -> dict[str, Any]:
        """Here, so that a number out of its bounds is refused before there is a run."""
        given = {"only_until": config.only_until.name, "max_calls": config.max_calls, "max_usd": config.max_usd}
        return {"ops": {bring_everything_up_to_date.name: {"config": {**given, "dry_run": config.dry_run}}}}

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


def caps_of(config: RetrainConfig, settings: Settings, home: Home) -> Caps:
    """The caps of the home, and under them those of this run from what is spent now."""
    caps = settings.caps
    if not config.limits:
        return caps
    spent = budget_of(settings, home).spent_by_all()
    if config.max_calls is not None:
        caps = replace(caps, max_calls=min(caps.max_calls, spent.calls + config.max_calls))
    if config.max_usd is not None:
        caps = replace(caps, max_usd=min(caps.max_usd, spent.usd + config.max_usd))
    return caps


def _planned(pipeline: Pipeline, settings: Settings, home: Home, scope: Scope) -> dict[str, Any]:
    crawl = settings.crawl or home.crawl
    if crawl is None:
        raise dg.Failure("no crawl folder yet: set NYX_CRAWL, or run `nyx run` once", allow_retries=False)
    plan = plan_of(pipeline, settings, home, crawl, scope)
    return {
        "calls": round(plan.total("calls").likely),
        "usd": round(plan.total("usd").likely, 4),
        "to make": sum(one.outlook == "will" for one in plan.work),
        "to make if what they read changes": sum(one.outlook == "may" for one in plan.work),
        "plan": dg.MetadataValue.md(f"```\n{plan_text(plan)}\n```"),
    }


def _metadata_or_failure(report: JobReport, limits: str) -> Mapping[str, Any]:
    """What the run reports; raises dg.Failure if a cap stopped it or something failed."""
    made = {name: asset.made for name, asset in report.by_asset.items() if asset.made}
    metadata: dict[str, Any] = {"made": dg.MetadataValue.json(made), "seconds": round(report.seconds, 1)}
    faults = [*report.failures]
    if report.stopped_by_cap:
        faults.insert(
            0,
            f"{f'limits of this run: {limits}, from what was spent before; ' if limits else ''}{report.stopped_by_cap}",
        )
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise dg.Failure(
            f"{faults[0]}{more}; what it did not touch is done, and the next run goes on from here",
            metadata={**metadata, "failures": dg.MetadataValue.md("\n".join(f"- {fault}" for fault in faults))},
            allow_retries=False,
        )
    return metadata


@contextmanager
def _told_to(log: logging.Logger) -> Iterator[None]:
    """The pipeline's own lines go to a log of Dagster as well."""
    console = logging.getLogger("nyx")
    handler = _Forward(log)
    level = console.level
    console.addHandler(handler)
    console.setLevel(logging.INFO)
    try:
        yield
    finally:
        console.removeHandler(handler)
        console.setLevel(level)


class _Forward(logging.Handler):
    """Says to one log what is said to another."""

    def __init__(self, log: logging.Logger) -> None:
        super().__init__()
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        self.log.log(record.levelno, record.getMessage())
