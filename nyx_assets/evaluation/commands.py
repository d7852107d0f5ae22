"""`nyx promote`."""

import json
import os

import click

from resources.home import Home
from resources.settings import Settings


@click.command()
@click.argument("checkpoint")
@click.option("--reason", required=True, help="Why the gate is overruled; it is kept in quality_gate.")
@click.option("--json", "as_json", is_flag=True)
def promote(checkpoint: str, reason: str, as_json: bool) -> None:
    """Make CHECKPOINT the promoted one, whatever the gate said.

    CHECKPOINT is pretrained, finetuned, or the data version of a checkpoint that a version of the index was made with.
    """
    from nyx_assets.evaluation.overriding import promote as make_promoted
    from nyx_assets.evaluation.overriding import promotion_text

    home = Home.at(Settings.from_env(os.environ).home)
    row = make_promoted(home, checkpoint, reason=reason, log=lambda line: click.echo(line, err=True))
    click.echo(json.dumps(row, indent=1) if as_json else promotion_text(row))
