"""The command `nyx`: run the main job, search, evaluate, and see how things stand."""

import json
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nyx_assets.disk_trouble import disk_trouble
from nyx_assets.evaluation.commands import promote
from nyx_assets.explaining.commands import explain
from nyx_assets.index_commands import index_commands
from nyx_assets.quarantine_commands import quarantine_commands
from nyx_assets.report.commands import report as report_command
from nyx_assets.takedown.commands import takedown
from resources.crawl_store import Crawl, crawl_at, crawl_text
from resources.home import Home
from resources.settings import Settings
from training_kernels.errors import ConfigError, DataError, IndexUnavailable, NyxError

if TYPE_CHECKING:
    from nyx_assets.doctor.findings import Finding
    from nyx_assets.main_job import JobReport


class CrawlArgument(click.ParamType):
    """A folder, or the URL of one in a store."""

    name = "folder or URL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Crawl:
        return crawl_at(value) if isinstance(value, str) else value


SAMPLE = "sample_crawl"
SAMPLE_PAGES = 120
"""Choice: enough held-out pages to tell retrievers apart, few enough that `make demo` takes minutes."""
STOPPED_BY_CAP = 3
"""Exit status of a run that a cap on calls, tokens or money has stopped."""


class Refusal(click.ClickException):
    """An error that a person can act on: one line, exit status 1."""


class Commands(click.Group):
    """Commands whose own errors end with their message instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except NyxError as error:
            raise Refusal(str(error)) from error
        except Exception as error:
            if (trouble := disk_trouble(error, Path(os.environ.get("NYX_HOME") or "nyx_home").absolute())) is None:
                raise
            raise Refusal(trouble) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Nyx: from a web crawl to a mixed-modal retriever.

    Everything is stored under NYX_HOME (default: nyx_home here). Settings are environment variables; see README.md.
    """
    # what this process does is the user's to see, not every library's
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    # started in the background by a script, SIGINT is ignored; Dagster would have SIGTERM ignored as well, and nothing
    # but kill -9 would end a run
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # torch's threads sleep while they wait; spinning, they took the cores from whatever else ran here (training beside
    # other load was 3.5 times slower)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@main.command()
@click.option(
    "--crawl",
    type=CrawlArgument(),
    help="Crawl folder, or URL of one (s3://…); default: the one of this home, else a bundled sample.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def run(crawl: Crawl | None, as_json: bool) -> None:
    """Bring everything up to date: register deliveries, make what is new or stale, report.

    Exit status 0 only if every delivery was taken and every asset is current; 3 if a cap on calls, tokens or money
    stopped it, 1 for any other failure.
    """
    from nyx_assets.definitions import build_pipeline
    from nyx_assets.main_job import run_main_job
    from nyx_assets.planned_run import plan_of
    from nyx_assets.planning import plan_text
    from nyx_assets.registering import open_instance, register_deliveries
    from nyx_assets.reporting import job_report_json, job_report_text
    from nyx_assets.takedown.this_host import catch_up

    _show_progress(sys.stderr if as_json else sys.stdout)
    settings = _with_crawl(Settings.from_env(os.environ), crawl)
    home = _home(settings)
    folder = _crawl_folder(settings, home)
    _claim(home, folder)
    console = logging.getLogger("nyx")
    console.info("home %s, crawl %s, recipe %s", home, folder, settings.recipe)
    catch_up(home, lambda: _index_of(settings, home), log=console.info)
    with open_instance(home) as instance:
        refused = register_deliveries(home, instance, folder)
        pipeline = build_pipeline(settings, home)
        report = run_main_job(pipeline, instance, home)
    report.failures[:0] = [f"delivery {one.key} was refused: {one.reason}" for one in refused]
    click.echo(
        json.dumps(job_report_json(report, home), indent=1) if as_json else job_report_text(report, home, pipeline)
    )
    _exit_of(report, lambda: plan_text(plan_of(pipeline, settings, home, folder)))


@main.command()
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
    from nyx_assets.main_job import run_main_job
    from nyx_assets.planned_run import plan_of
    from nyx_assets.planning import plan_json, plan_text
    from nyx_assets.registering import make_partition_known, open_instance
    from nyx_assets.reporting import job_report_json, job_report_text

    settings = Settings.from_env(os.environ)
    home = _home(settings)
    if not home.is_shared and not home.root.is_dir():
        raise Refusal(f"{home.root} does not exist yet: start with `nyx run`")
    keys = tuple(key for part in partitions.split(",") if (key := part.strip()))
    which = WhichPartitions(keys=keys, pattern=partitions_like, is_all=all_partitions)
    if (folder := settings.crawl_folder or home.crawl_folder) is None:
        raise Refusal(f"nothing has landed in {home} yet: start with `nyx run`, or set NYX_CRAWL to its crawl folder")
    pipeline = build_pipeline(settings, home)
    scope = scope_of_backfill(pipeline, home, assets, which, with_downstream=with_downstream)
    stale = stale_inputs(pipeline, home, scope)
    head = backfill_json(pipeline, scope, assets) | {"stale_inputs": stale}
    for line in () if as_json else backfill_lines(pipeline, scope, assets, stale):
        click.echo(line)
    if dry_run:
        ahead = plan_of(pipeline, settings, home, folder, scope)
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
    _exit_of(report, lambda: plan_text(plan_of(pipeline, settings, home, folder, scope)))


@main.command()
@click.option(
    "--crawl",
    type=CrawlArgument(),
    help="Crawl folder, or URL of one (s3://…); default: the one of this home, else a bundled sample.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan(crawl: Crawl | None, as_json: bool) -> None:
    """What `nyx run` would make and why, and what it would ask of VLMs: calls, tokens, money, hours, disk.

    Asks nothing and writes nothing.
    """
    from nyx_assets.definitions import build_pipeline
    from nyx_assets.planned_run import plan_of
    from nyx_assets.planning import plan_json, plan_text

    settings = _with_crawl(Settings.from_env(os.environ), crawl)
    home = Home.at(settings.home)
    folder = settings.crawl_folder or home.crawl_folder
    with tempfile.TemporaryDirectory() as scratch:
        if folder is None:
            from sample_crawl import generate

            folder = generate(Path(scratch) / SAMPLE, num_pages=SAMPLE_PAGES)
        ahead = plan_of(build_pipeline(settings, home), settings, home, folder)
    click.echo(json.dumps(plan_json(ahead), indent=1) if as_json else plan_text(ahead))


@main.command()
@click.option(
    "--crawl",
    type=CrawlArgument(),
    help="Crawl folder, or URL of one (s3://…); default: the one of this home, else a bundled sample.",
)
@click.option("--no-calls", is_flag=True, help="Ask no server.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(crawl: Crawl | None, no_calls: bool, as_json: bool) -> None:
    """Is everything there and well: versions, GPU, disk, locks, records, index, servers? One line a check.

    Each configured server is asked once, for a word about a small picture; what that may cost is said before. Exit status
    1 if anything is bad.
    """
    from nyx_assets.definitions import resources_of
    from nyx_assets.doctor.endpoints import examine_endpoints, most_spent, probe_picture
    from nyx_assets.doctor.examining import examine, is_well, moment_text
    from nyx_assets.doctor.findings import findings_json
    from nyx_assets.recipes import recipe_of

    settings = _with_crawl(Settings.from_env(os.environ), crawl)
    home = Home.at(settings.home)
    found = []

    def tell(findings: Iterable["Finding"]) -> None:
        for finding in findings:
            found.append(finding)
            if not as_json:
                click.echo(str(finding))

    tell(
        examine(
            settings,
            home,
            lambda: resources_of(settings, home)["index"],
            needed_bytes=lambda: _foreseen_bytes(settings, home),
        )
    )
    with tempfile.TemporaryDirectory() as scratch:
        pictures = Path(scratch)
        picture = probe_picture(pictures, recipe_of(settings).pictures)
        if not no_calls and (most := most_spent(settings, pictures, picture)).calls:
            click.echo(f"asking {most.calls} servers once each; at most {most}", err=True)
        tell(examine_endpoints(settings, home, pictures, picture, moment=moment_text(), asks=not no_calls))
    if as_json:
        click.echo(json.dumps(findings_json(found), indent=1, ensure_ascii=False))
    if not is_well(found):
        sys.exit(1)


@main.command()
@click.argument("text", required=False, default="")
@click.option(
    "--image",
    "images",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="A picture to search with; may be given again.",
)
@click.option("--top-k", default=5, show_default=True, type=click.IntRange(1, 1000))
@click.option("--crawl", help="Only chunks of this crawl partition.")
@click.option("--modality", type=click.Choice(["text", "image", "mixed"]), help="Only chunks of this modality.")
@click.option("--language", help="Only chunks of pages in this language, as their delivery names it.")
@click.option("--source", help="Only chunks of pages of this host, without www.")
@click.option("--hybrid", is_flag=True, help="Fuse the ranking by embeddings with BM25.")
@click.option("--json", "as_json", is_flag=True)
def search(text: str, images: tuple[Path, ...], top_k: int, hybrid: bool, as_json: bool, **where: str | None) -> None:
    """Search the live index with TEXT, with pictures, or with both."""
    from contextlib import closing

    from nyx_assets.definitions import resources_of
    from nyx_assets.query_pictures import query_embedders, query_picture_store
    from nyx_assets.searching import query_document, search_live, search_text

    if not text.strip() and not images:
        raise click.UsageError("give TEXT, --image FILE, or both")
    settings = Settings.from_env(os.environ)
    home = _home(settings)
    resources = resources_of(settings, home)
    recipe = resources["recipe"]
    query = query_document(text, images, query_picture_store(), limits=recipe.pictures)
    filters = {name: value for name, value in where.items() if value}
    embedders = query_embedders(home, recipe)
    if not home.is_shared and not (home.root / "index").is_dir():
        raise IndexUnavailable(f"{home.root} has no index to search yet: make one with `nyx run`")
    with closing(resources["index"]) as index:
        results = search_live(home, index, embedders, query, top_k=top_k, where=filters, hybrid=hybrid)
    click.echo(json.dumps(results, indent=1, ensure_ascii=False) if as_json else search_text(results))


@main.command()
@click.option(
    "--suite",
    required=True,
    help="Folder with corpus.jsonl, queries.jsonl and qrels.tsv; or a published benchmark under NYX_SUITES: hotpotqa, "
    "2wikimultihopqa, musique, bamboogle, mmqa, scienceqa, mmeb:SUBSET, or qa_lines:FILE.",
)
@click.option(
    "--retriever",
    required=True,
    help="bm25, untrained, pretrained, finetuned, promoted, or sentence-transformers:MODEL, which reads texts only.",
)
@click.option(
    "--trec",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also write the ranking and the golds to this folder, as trec_eval reads them.",
)
@click.option(
    "--answers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Also have the generators answer N of the questions, each with nothing, with the golds and with what was found: "
    "3 N calls a generator, kept, counted and capped as those of a run.",
)
@click.option("--json", "as_json", is_flag=True)
def evaluate(suite: str, retriever: str, trec: Path | None, answers: int | None, as_json: bool) -> None:
    """Measure a retriever on anybody's test set, or on a published one; and by --answers what it is good for."""
    from contextlib import ExitStack

    from nyx_assets.evaluation.suite_answers import answers_text
    from nyx_assets.evaluation.suite_runs import evaluate_suite, scores_text
    from nyx_assets.query_pictures import query_embedders, query_picture_store
    from nyx_assets.recipes import recipe_of
    from resources.embedder_sentence_transformers import SentenceTransformersEmbedder
    from resources.images import FolderImageStore
    from resources.vlm_roles import VLMRole

    settings = Settings.from_env(os.environ)
    home, recipe = _home(settings), recipe_of(settings)
    with ExitStack() as stack:
        store, roles = query_picture_store(), []
        if answers is not None:  # pictures go to the process that makes the calls, so they lie on the disk meanwhile
            store = FolderImageStore(stack.enter_context(tempfile.TemporaryDirectory()))
            of_suite = replace(home, images=store)
            roles = [
                VLMRole.of("generator", settings, of_suite),
                *VLMRole.further_generators(settings, of_suite),
            ]
        for role in roles:
            stack.callback(role.close)
        made = evaluate_suite(
            home,
            query_embedders(home, recipe, store),
            store,
            suite,
            retriever,
            recipe,
            published=settings.suites,
            foreign={"sentence-transformers": SentenceTransformersEmbedder.load},
            trec=trec,
            generators=[role.for_step("evaluate", None) for role in roles],
            max_answers=answers or 0,
        )
    if made.answers is None:
        click.echo(json.dumps(made.rows, indent=1) if as_json else scores_text(made.rows))
    elif as_json:
        click.echo(json.dumps({"retrieval": made.rows, **asdict(made.answers)}, indent=1))
    else:
        click.echo(f"{scores_text(made.rows)}\n\n{answers_text(made.answers)}")


@main.command()
@click.argument("crawl_folder", type=CrawlArgument())
@click.option("--json", "as_json", is_flag=True)
def validate(crawl_folder: Crawl, as_json: bool) -> None:
    """Say what a run would refuse of CRAWL_FOLDER, which may be a URL, one line a problem; nothing is written and nothing fetched.

    Exit status 0 only if there is no problem.
    """
    from nyx_assets.corpus.validating import problems_of
    from nyx_assets.recipes import recipe_of

    num_problems = 0
    for problem in problems_of(crawl_folder, recipe_of(Settings.from_env(os.environ)).pictures):
        click.echo(json.dumps(asdict(problem), ensure_ascii=False) if as_json else str(problem))
        num_problems += 1
    if num_problems:
        sys.exit(1)
    if not as_json:
        click.echo(f"{crawl_folder}: no problem")


@main.command()
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
    home = _home(settings)
    if not home.is_shared and not home.root.is_dir():
        raise Refusal(f"{home.root} does not exist yet: start with `nyx run`")
    with open_instance(home) as instance:
        rows = status_rows(build_pipeline(settings, home), instance, home)
    click.echo(json.dumps(rows, indent=1) if as_json else status_text(rows, home))
    if not as_json:
        budget = budget_of(settings, home)
        click.echo(spending_text(budget.spent_by_all(), budget.elsewhere()))
    if not as_json and (funnel := funnel_text(home)):
        click.echo(f"\n{funnel}")
    if not as_json and (lost := link_rot_text(home)):
        click.echo(f"\n{lost}")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "export_format",
    required=True,
    type=click.Choice(["hf", "beir", "mmeb", "swift"]),
    help="Hugging Face data set; BEIR, TREC and suite; MMEB rows; ms-swift rows.",
)
@click.option(
    "--split",
    type=click.Choice(["train", "dev", "test"]),
    help="Only this split. Default: all for hf, test for beir, train for the others.",
)
@click.option("--json", "as_json", is_flag=True)
def export(folder: Path, export_format: Any, split: str | None, as_json: bool) -> None:
    """Write NyxQA to FOLDER, which must not exist, for other tools."""
    from nyx_assets.export.exporting import export as export_nyxqa

    settings = Settings.from_env(os.environ)
    report = export_nyxqa(Home.at(settings.home), folder, export_format, split)
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=1))
        return
    rows = ", ".join(f"{number:,} {name}" for name, number in report.rows.items())
    click.echo(f"{report.folder}: {rows}; {report.pictures:,} pictures")
    if report.has_stand_ins:
        click.echo(
            "warning: pairs were written by the offline stand-in, no model; see README.md in the folder", err=True
        )


@main.command()
@click.option("--crawl", type=CrawlArgument(), help="Crawl folder to watch, or URL of one (s3://…).")
def dagster_home(crawl: Crawl | None) -> None:
    """Print the folder to use as DAGSTER_HOME, made ready for the UI and the daemon; NYX_HOME is the folder above it."""
    from nyx_assets.registering import prepare_dagster_home

    settings = _with_crawl(Settings.from_env(os.environ), crawl)
    home = _home(settings)
    if isinstance(crawl, Path) and not crawl.is_dir():
        raise click.BadParameter(f"Directory '{crawl}' does not exist.", param_hint="'--crawl'")
    if settings.crawl_folder is not None:
        home.claim(settings.crawl_folder)
    click.echo(prepare_dagster_home(home))


def _exit_of(report: "JobReport", left_to_do: Callable[[], str]) -> None:
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


def _foreseen_bytes(settings: Settings, home: Home) -> float:
    """What the next run is likely to write at most; 0 where it is not known which pages it is to read."""
    from nyx_assets.definitions import build_pipeline
    from nyx_assets.planned_run import plan_of

    folder = settings.crawl_folder or home.crawl_folder
    if folder is None or (isinstance(folder, Path) and not folder.is_dir()):
        return 0.0
    try:
        ahead = plan_of(build_pipeline(settings, home), settings, home, folder)
    except DataError:  # another line says what is wrong with the crawl
        return 0.0
    return ahead.bytes_of_tables.high + ahead.total("disk_bytes").high


def _show_progress(stream: Any) -> None:
    """Print the pipeline's own lines as they come."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    console = logging.getLogger("nyx")
    console.handlers, console.propagate = [handler], False
    console.setLevel(logging.INFO)


def _with_crawl(settings: Settings, crawl: Crawl | None) -> Settings:
    """Settings for a crawl folder given on the command line.

    Where no NYX_HOME is set and the default home belongs to another crawl, the home is `nyx_home-<crawl folder>`.
    """
    if crawl is None:
        return settings
    settings = replace(settings, crawl_folder=crawl)
    owner = Home.at(settings.home).crawl_folder
    default = settings.home
    is_another = owner is not None and crawl_text(owner) != crawl_text(crawl)
    if is_another and not os.environ.get("NYX_HOME") and isinstance(default, Path):
        return replace(settings, home=default.with_name(f"{default.name}-{crawl_text(crawl).rpartition('/')[2]}"))
    return settings


def _home(settings: Settings) -> Home:
    """The home that the settings name. Raises ConfigError if something else is in its place."""
    home = Home.at(settings.home)
    if home.root.exists() and not home.root.is_dir():
        raise ConfigError(f"NYX_HOME must be a folder, or a place for one, got the file {home.root}; name another")
    return home


def _claim(home: Home, crawl_folder: Crawl) -> None:
    """Make the home that of a crawl folder. A folder without a delivery, a slip of the pen, is refused before that."""
    from nyx_assets.corpus.deliveries import require_deliveries

    if home.crawl_folder is None:
        require_deliveries(crawl_folder)
    home.claim(crawl_folder)


def _crawl_folder(settings: Settings, home: Home) -> Crawl:
    """The crawl to run on; the bundled sample is generated on first use."""
    if settings.crawl_folder is not None:
        return settings.crawl_folder
    if home.crawl_folder is not None:
        return home.crawl_folder
    from sample_crawl import generate

    folder = home.root / SAMPLE
    if not folder.is_dir():
        home.root.mkdir(parents=True, exist_ok=True)
        generate(folder, num_pages=SAMPLE_PAGES)
    return folder


def _index_of(settings: Settings, home: Home) -> Any:
    """The index that the settings name, for commands that may not know the composition root."""
    from nyx_assets.definitions import resources_of

    return resources_of(settings, home)["index"]


main.context_settings["obj"] = _index_of
main.add_command(index_commands)
main.add_command(takedown)
main.add_command(promote)
main.add_command(quarantine_commands)
main.add_command(report_command)
main.add_command(explain)


if __name__ == "__main__":
    main()
