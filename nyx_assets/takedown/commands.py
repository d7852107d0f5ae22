"""`nyx takedown`."""

import json
import os

import click

from nyx_assets.index_commands import IndexOf
from nyx_assets.taken_down import Target
from resources.home import Home
from resources.settings import Settings
from training_kernels.errors import ConfigError


@click.command()
@click.argument("target", metavar="URL|DOMAIN|IMAGE-SHA256|DOC-ID")
@click.option("--dry-run", is_flag=True, help="Say what would go from tables and pictures, and change nothing.")
@click.option("--json", "as_json", is_flag=True)
@click.pass_obj
def takedown(index_of: IndexOf, target: str, dry_run: bool, as_json: bool) -> None:
    """Remove pages from everything that the home holds, for good, and list the checkpoints that have seen them.

    The pages of an address, of a domain, with a picture, or of an id. It waits while `nyx run` is at work; cut off, it is
    run again.
    """
    from nyx_assets.takedown.running import plan_takedown, report_text, take_down

    settings = Settings.from_env(os.environ)
    home = Home.at(settings.home)
    if home.is_shared:
        raise ConfigError(
            f"{home.store} is shared by hosts, and each has copies of what it holds: a takedown there would be half done; "
            "copy the home into one folder, take down there, and copy it back"
        )
    if not (home.root / "tables").is_dir():
        raise ConfigError(f"{home.root} holds nothing yet; NYX_HOME names another home")
    asked = Target.of(target)
    if dry_run:
        report = plan_takedown(home, asked)
    else:
        report = take_down(
            home,
            lambda: index_of(settings, home),
            asked,
            log=lambda line: click.echo(line, err=True),
        )
    click.echo(json.dumps(report.to_json(), indent=1) if as_json else report_text(report))
