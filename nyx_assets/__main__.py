"""The command `nyx`: run the main job, search, evaluate, and see how things stand."""

import json
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nyx_assets.command_line import CRAWL_OPTION, CrawlArgument, Refusal, home_of, with_crawl
from nyx_assets.disk_trouble import trouble_of_home
from nyx_assets.evaluation.commands import promote
from nyx_assets.explaining.commands import explain
from nyx_assets.index_commands import index_commands
from nyx_assets.main_job_commands import backfill, plan, run, status
from nyx_assets.quarantine_commands import quarantine_commands
from nyx_assets.report.commands import report as report_command
from nyx_assets.takedown.commands import takedown
from resources.crawl_store import Crawl
from resources.home import Home
from resources.settings import Settings
from training_kernels.errors import DataError, IndexUnavailable, NyxError

if TYPE_CHECKING:
    from nyx_assets.doctor.findings import Finding


class Commands(click.Group):
    """Commands whose own errors end with their message instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except NyxError as error:
            raise Refusal(str(error)) from error
        except Exception as error:
            if (trouble := trouble_of_home(error, os.environ)) is None:
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
@CRAWL_OPTION
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

    settings = with_crawl(Settings.from_env(os.environ), crawl)
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
    home = home_of(settings)
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
    from nyx_assets.prompts import use_prompts
    from nyx_assets.query_pictures import query_embedders, query_picture_store
    from nyx_assets.recipes import recipe_of
    from resources.embedder_sentence_transformers import SentenceTransformersEmbedder
    from resources.images import FolderImageStore
    from resources.vlm_roles import VLMRole

    settings = Settings.from_env(os.environ)
    home, recipe = home_of(settings), recipe_of(settings)
    use_prompts(settings.prompts)
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
@click.argument("crawl", type=CrawlArgument())
@click.option("--json", "as_json", is_flag=True)
def validate(crawl: Crawl, as_json: bool) -> None:
    """Say what a run would refuse of CRAWL, which may be a URL, one line a problem; nothing is written and nothing fetched.

    Exit status 0 only if there is no problem.
    """
    from nyx_assets.corpus.validating import problems_of
    from nyx_assets.recipes import recipe_of

    num_problems = 0
    for problem in problems_of(crawl, recipe_of(Settings.from_env(os.environ)).pictures):
        click.echo(json.dumps(asdict(problem), ensure_ascii=False) if as_json else str(problem))
        num_problems += 1
    if num_problems:
        sys.exit(1)
    if not as_json:
        click.echo(f"{crawl}: no problem")


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

    settings = with_crawl(Settings.from_env(os.environ), crawl)
    home = home_of(settings)
    if isinstance(crawl, Path) and not crawl.is_dir():
        raise click.BadParameter(f"Directory '{crawl}' does not exist.", param_hint="'--crawl'")
    if settings.crawl is not None:
        home.claim(settings.crawl)
    click.echo(prepare_dagster_home(home))


def _foreseen_bytes(settings: Settings, home: Home) -> float:
    """What the next run is likely to write at most; 0 where it is not known which pages it is to read."""
    from nyx_assets.definitions import build_pipeline
    from nyx_assets.planned_run import plan_of

    crawl = settings.crawl or home.crawl
    if crawl is None or (isinstance(crawl, Path) and not crawl.is_dir()):
        return 0.0
    try:
        ahead = plan_of(build_pipeline(settings, home), settings, home, crawl)
    except DataError:  # another line says what is wrong with the crawl
        return 0.0
    return ahead.bytes_of_tables.high + ahead.total("disk_bytes").high


def _index_of(settings: Settings, home: Home) -> Any:
    """The index that the settings name, for commands that may not know the composition root."""
    from nyx_assets.definitions import resources_of

    return resources_of(settings, home)["index"]


main.context_settings["obj"] = _index_of
main.add_command(run)
main.add_command(backfill)
main.add_command(plan)
main.add_command(status)
main.add_command(index_commands)
main.add_command(takedown)
main.add_command(promote)
main.add_command(quarantine_commands)
main.add_command(report_command)
main.add_command(explain)


if __name__ == "__main__":
    main()
