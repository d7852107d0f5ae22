"""The commands of the main job: run it, make named partitions again, say what it would do, and how things stand."""

import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nyx_assets.command_line import CRAWL_OPTION, Refusal, home_of, with_crawl
from resources.crawl_store import Crawl
from resources.home import Home
from resources.settings import Settings
from training_kernels.errors import NyxError

if TYPE_CHECKING:
    from nyx_assets.main_job import JobReport

SAMPLE = "sample_crawl"
SAMPLE_PAGES = 120
"""Choice: enough held-out pages to tell retrievers apart, few enough that `make demo` takes minutes."""
STOPPED_BY_CAP = 3
"""Exit status of a run that a cap on calls, tokens or money has stopped."""


@click.command()
@CRAWL_OPTION
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def run(crawl: Crawl | None, as_json: bool) -> None:
    """Bring everything up to date: register deliveries, make what is new or stale, report.

    Exit status 0 only if every delivery was taken and every asset is current; 3 if a cap on calls, tokens or money
    stopped it, 1 for any other failure.
    """
    from nyx_assets.definitions import build_pipeline, resources_of
    from nyx_assets.evaluation.checks import share_suites
    from nyx_assets.main_job import run_main_job
    from nyx_assets.planned_run import plan_of
    from nyx_assets.planning import plan_text
    from nyx_assets.registering import open_instance, register_deliveries
    from nyx_assets.reporting import job_report_json, job_report_text
    from nyx_assets.takedown.this_host import catch_up

    _show_progress(sys.stderr if as_json else sys.stdout)
    settings = with_crawl(Settings.from_env(os.environ), crawl)
    home = home_of(settings)
    made_from = _crawl_of(settings, home)
    _claim(home, made_from)
    console = logging.getLogger("nyx")
    console.info("home %s, crawl %s, recipe %s", home, made_from, settings.recipe)
    catch_up(home, lambda: resources_of(settings, home)["index"], log=console.info)
    share_suites(home)  # before the settings are read, whose fingerprint of them is the same on all hosts
    with open_instance(home) as instance:
        refused = register_deliveries(home, instance, made_from)
        pipeline = build_pipeline(settings, home)
        report = run_main_job(pipeline, instance, home)
    report.failures[:0] = [f"delivery {one.key} was refused: {one.reason}" for one in refused]
    click.echo(
        json.dumps(job_report_json(report, home), indent=1) if as_json else job_report_text(report, home, pipeline)
    )
    exit_of(report, lambda: plan_text(plan_of(pipeline, settings, home, made_from)))


@click.command()
@click.argument("assets", metavar="ASSET...", nargs=-1, required=True)
@click.option("--partitions", metavar="A,B", default="", help="Crawl partitions, by name.")
@click.option("--partitions-like", metavar="GLOB", default="", help="Crawl partitions whose names are like '2026-*'.")
@click.option("--all-partitions", is_flag=True, help="Every crawl partition.")
@click.option(
    "--with-downstream", is_flag=True, help="Then bring up to date what depends on what was made, and nothing else."
)
@click.option("--dry-run", is_flag=True, help="Only say what would be made and what it would cost.")
@click.option("--json", "as_json", is_flag=True, help="Print the report, or the plan, as JSON.")
def backfill(
    assets: tuple[str, ...],
    partitions: str,
    partitions_like: str,
    all_partitions: bool,
    with_downstream: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make each ASSET again, of some crawl partitions, whether or not it is current; nothing else is made.

    With other settings, such as NYX_TEACHER_MODEL or NYX_RECIPE, what was paid for before is still answered from the
    kept replies. Samples, questions and captions made so stand in for what was there: `nyx run` with the settings of
    before leaves them, and makes what depends on them. Exit status as that of `nyx run`.
    """
    from nyx_assets.backfilling import (
        WhichPartitions,
        backfill_json,
        backfill_lines,
        scope_of_backfill,
        stale_after,
        stale_inputs,
        stale_lines,
    )
    from nyx_assets.definitions import build_pipeline
    from nyx_assets.evaluation.checks import share_suites
    from nyx_assets.main_job import run_main_job
    from nyx_assets.planned_run import plan_of
    from nyx_assets.planning import plan_json, plan_text
    from nyx_assets.registering import make_partition_known, open_instance
    from nyx_assets.reporting import job_report_json, job_report_text

    settings = Settings.from_env(os.environ)
    home = home_of(settings)
    if not home.is_shared and not home.root.is_dir():
        raise Refusal(f"{home.root} does not exist yet: start with `nyx run`")
    keys = tuple(key for part in partitions.split(",") if (key := part.strip()))
    which = WhichPartitions(keys=keys, pattern=partitions_like, is_all=all_partitions)
    if (made_from := settings.crawl or home.crawl) is None:
        raise Refusal(f"nothing has landed in {home} yet: start with `nyx run`, or set NYX_CRAWL to its crawl folder")
    if not dry_run:
        share_suites(home)
    pipeline = build_pipeline(settings, home)
    scope = scope_of_backfill(pipeline, home, assets, which, with_downstream=with_downstream)
    stale = stale_inputs(pipeline, home, scope)
    head = backfill_json(pipeline, scope, assets) | {"stale_inputs": stale}
    for line in () if as_json else backfill_lines(pipeline, scope, assets, stale):
        click.echo(line)
    if dry_run:
        ahead = plan_of(pipeline, settings, home, made_from, scope)
        click.echo(json.dumps(head | plan_json(ahead), indent=1) if as_json else f"\n{plan_text(ahead)}")
        return
    _show_progress(sys.stderr if as_json else sys.stdout)
    with open_instance(home) as instance:
        for key in sorted({place for places in scope.again.values() for place in places if place}):
            make_partition_known(instance, key)
        report = run_main_job(pipeline, instance, home, scope)
    after = stale_after(pipeline, home, scope)
    if as_json:
        click.echo(json.dumps(head | job_report_json(report, home) | {"stale_after": after}, indent=1))
    else:
        click.echo("\n".join([job_report_text(report, home, pipeline), "", *stale_lines(after)]))
    exit_of(report, lambda: plan_text(plan_of(pipeline, settings, home, made_from, scope)))


@click.command()
@CRAWL_OPTION
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan(crawl: Crawl | None, as_json: bool) -> None:
    """What `nyx run` would make and why, and what it would ask of VLMs: calls, tokens, money, hours, disk.

    Asks nothing and writes nothing.
    """
    from nyx_assets.definitions import build_pipeline
    from nyx_assets.planned_run import plan_of
    from nyx_assets.planning import plan_json, plan_text

    settings = with_crawl(Settings.from_env(os.environ), crawl)
    home = Home.at(settings.home)
    made_from = settings.crawl or home.crawl
    with tempfile.TemporaryDirectory() as scratch:
        if made_from is None:
            from sample_crawl import generate

            made_from = generate(Path(scratch) / SAMPLE, num_pages=SAMPLE_PAGES)
        ahead = plan_of(build_pipeline(settings, home), settings, home, made_from)
    click.echo(json.dumps(plan_json(ahead), indent=1) if as_json else plan_text(ahead))


@click.command()
@click.option("--json", "as_json", is_flag=True)
def status(as_json: bool) -> None:
    """What is made, what is stale, what is missing, what is live, and which pictures on the web are lost."""
    from nyx_assets.corpus.links import link_rot_text
    from nyx_assets.definitions import build_pipeline
    from nyx_assets.nyxqa.funnel import funnel_text
    from nyx_assets.planning import spending_text
    from nyx_assets.registering import open_instance
    from nyx_assets.reporting import status_rows, status_text
    from resources.vlm_roles import budget_of

    settings = Settings.from_env(os.environ)
    home = home_of(settings)
    if not home.is_shared and not home.root.is_dir():
        raise Refusal(f"{home.root} does not exist yet: start with `nyx run`")
    with open_instance(home) as instance:
        rows = status_rows(build_pipeline(settings, home), instance, home)
    click.echo(json.dumps(rows, indent=1) if as_json else status_text(rows, home))
    if not as_json:
        budget = budget_of(settings, home)
        click.echo(f"{spending_text(budget.spent_by_all(), budget.elsewhere())}; {settings.caps}")
    if not as_json and (funnel := funnel_text(home)):
        click.echo(f"\n{funnel}")
    if not as_json and (lost := link_rot_text(home)):
        click.echo(f"\n{lost}")


def exit_of(report: "JobReport", left_to_do: Callable[[], str]) -> None:
    """End with the exit status of a main job; of one that a cap stopped, say what is left to do."""
    if report.stopped_by_cap:
        click.echo(f"\nStopped: {report.stopped_by_cap}\n\nWhat is left to do:", err=True)
        try:
            click.echo(left_to_do(), err=True)
        except NyxError as error:
            click.echo(f"not known: {error}", err=True)
        sys.exit(STOPPED_BY_CAP)
    if report.failures:
        sys.exit(1)


def _show_progress(stream: Any) -> None:
    """Print the pipeline's own lines as they come."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    console = logging.getLogger("nyx")
    console.handlers, console.propagate = [handler], False
    console.setLevel(logging.INFO)


def _claim(home: Home, crawl: Crawl) -> None:
    """Make the home that of a crawl. A folder without a delivery, a slip of the pen, is refused before that."""
    from nyx_assets.corpus.deliveries import require_deliveries

    if home.crawl is None:
        require_deliveries(crawl)
    home.claim(crawl)


def _crawl_of(settings: Settings, home: Home) -> Crawl:
    """The crawl to run on; the bundled sample is generated on first use."""
    if settings.crawl is not None:
        return settings.crawl
    if home.crawl is not None:
        return home.crawl
    from sample_crawl import generate

    folder = home.root / SAMPLE
    if not folder.is_dir():
        home.root.mkdir(parents=True, exist_ok=True)
        generate(folder, num_pages=SAMPLE_PAGES)
    return folder
