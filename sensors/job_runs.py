"""What the jobs of the launchpad share: what a person may limit, and how a run is planned, told and reported."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import dagster as dg
from dagster._core.storage.tags import RETRY_NUMBER_TAG
from pydantic import Field

from nyx_assets.main_job import JobReport, Pipeline
from nyx_assets.planned_run import plan_of
from nyx_assets.planning import plan_text
from nyx_assets.scope import Scope
from resources.home import Home
from resources.settings import Settings
from resources.vlm_budget import Caps
from resources.vlm_roles import budget_of

FAULTS_KEY = "nyx/faults"
"""Metadata of the failure of a job: what a person is told, each a message of its own."""
PipelineWith = Callable[[Settings], Pipeline]
"""The asset graph under some settings; asked for when a job runs, since the jobs are a part of it."""


class Limits(dg.Config):
    """What one run may spend, and whether it is only planned."""

    max_calls: int | None = Field(
        default=None,
        ge=0,
        description="Most calls to paid VLMs that this run may make, 0 or more; 0: only what was answered before. At the "
        "limit the run ends, keeps every reply, and the next one goes on from there; one that Dagster starts again in its place "
        "counts with it. Not set: NYX_MAX_CALLS alone counts.",
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


def run_pod_tags(k8s_steps: Mapping[str, Any] | None, step: str) -> dict[str, Any]:
    """Tags for the pod of a run of a job, which does all of its work itself: it trains, embeds and scores there.

    Args:
        k8s_steps: the configuration of dagster-k8s' executor. What it says of the job's one step, or else of every step,
            holds for the pod.
        step: the name of that step.
    """
    if k8s_steps is None:
        return {}
    pod = k8s_steps.get("per_step_k8s_config", {}).get(step) or k8s_steps.get("step_k8s_config")
    return {"dagster-k8s/config": pod} if pod else {}


def caps_of(config: Limits, settings: Settings, home: Home, instance: dg.DagsterInstance, run: dg.DagsterRun) -> Caps:
    """The caps of the home, and under them those of this run.

    They count from what was spent when the run began, or the first one in whose place it was started.
    """
    caps = settings.caps
    if not config.limits:
        return caps
    before = _spent_before(settings, home, instance, run)
    if config.max_calls is not None:
        caps = replace(caps, max_calls=min(caps.max_calls, before["calls"] + config.max_calls))
    if config.max_usd is not None:
        caps = replace(caps, max_usd=min(caps.max_usd, before["usd"] + config.max_usd))
    return caps


def _spent_before(settings: Settings, home: Home, instance: dg.DagsterInstance, run: dg.DagsterRun) -> dict[str, float]:
    """What the home had spent when a run began, kept in Dagster's records for what is started in its place."""
    is_retry = RETRY_NUMBER_TAG in run.tags  # by the daemon; what a person starts again begins anew
    key = f"nyx/spent_before/{run.root_run_id if is_retry else run.run_id}"
    kept = instance.daemon_cursor_storage
    if noted := kept.get_cursor_values({key}).get(key):
        return json.loads(noted)
    spent = budget_of(settings, home).spent_by_all()
    before = {"calls": spent.calls, "usd": spent.usd}
    kept.set_cursor_values({key: json.dumps(before)})
    return before


def planned_metadata(pipeline: Pipeline, settings: Settings, home: Home, scope: Scope) -> dict[str, Any]:
    """What a run would make and why, and what it would cost. Raises dg.Failure where there is no crawl yet."""
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


def metadata_or_failure(report: JobReport, limits: str) -> Mapping[str, Any]:
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
            metadata={
                **metadata,
                "failures": dg.MetadataValue.md("\n".join(f"- {fault}" for fault in faults)),
                FAULTS_KEY: dg.MetadataValue.json(faults),
            },
            allow_retries=False,
        )
    return metadata


@contextmanager
def told_to(log: logging.Logger) -> Iterator[None]:
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
