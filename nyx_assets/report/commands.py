"""`nyx report`: the page, written again from what is stored."""

import os
import webbrowser
from pathlib import Path

import click

from resources.home import Home
from resources.settings import Settings
from training_kernels.errors import ConfigError


@click.command()
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write. Default: report/nyx.html in the home.",
)
@click.option("--open", "is_opened", is_flag=True, help="Show it in the browser.")
def report(out: Path | None, is_opened: bool) -> None:
    """Write one HTML page: is the tuned retriever better, and what is it made of.

    It holds its pictures and plots, needs no network and runs no script. Nothing is computed anew: what is missing is
    named on the page.
    """
    from nyx_assets.recipes import recipe_of
    from nyx_assets.report.writing import write_report

    settings = Settings.from_env(os.environ)
    home = Home.at(settings.home)
    if not home.is_shared and not home.root.is_dir():
        raise ConfigError(f"{home.root} does not exist yet: start with `nyx run`, or set NYX_HOME")
    place = (out or home.report_file).absolute()
    write_report(home, place, recipe=recipe_of(settings).name)
    click.echo(place)
    if is_opened:
        webbrowser.open(place.as_uri())
