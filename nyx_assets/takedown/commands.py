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
    run again. Where hosts share the home, the other hosts remove it from what they have of their own at their next
    `nyx takedown` or `nyx run`.
    """
    from nyx_assets.takedown.running import plan_takedown, report_text, take_down
    from nyx_assets.takedown.this_host import catch_up

    settings = Settings.from_env(os.environ)
    home = Home.at(settings.home)
    if not home.tables.assets():
        raise ConfigError(f"{home} holds nothing yet; NYX_HOME names another home")
    asked = Target.of(target)

    def log(line: str) -> None:
        click.echo(line, err=True)

    if dry_run:
        report = plan_takedown(home, asked)
    else:
        catch_up(home, lambda: index_of(settings, home), log=log)
        report = take_down(home, lambda: index_of(settings, home), asked, log=log)
    click.echo(json.dumps(report.to_json(), indent=1) if as_json else report_text(report))
