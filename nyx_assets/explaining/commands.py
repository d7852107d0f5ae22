"""`nyx explain`."""

import json
import os

import click

from resources.home import Home
from resources.settings import Settings
from training_kernels.errors import ConfigError


@click.command()
@click.argument("asked", metavar="ID")
@click.option("--json", "as_json", is_flag=True)
def explain(asked: str, as_json: bool) -> None:
    """Where ID comes from and what was made of it: page, pictures, prompt, model, cost, checkpoints, index versions.

    ID is that of a page, chunk, question, picture, VLM request, preference (QUESTION/RANK), wrong answer
    (QUESTION@RETRIEVER; of a right one, its request), index version, vector (VERSION/CHUNK) or checkpoint.
    """
    from nyx_assets.explaining.gathering import explained
    from nyx_assets.explaining.naming import subject_of
    from nyx_assets.explaining.reading import bring_records
    from nyx_assets.explaining.telling import explanation_text
    from nyx_assets.recipes import recipe_of

    settings = Settings.from_env(os.environ)
    home = Home.at(settings.home)
    if not home.tables.all_partitions("landed_crawl"):
        raise ConfigError(f"{home} holds nothing yet; NYX_HOME names another home")
    bring_records(home)
    explanation = explained(home, recipe_of(settings), asked, subject_of(home, asked))
    if as_json:
        click.echo(json.dumps(explanation.to_json(), indent=1, ensure_ascii=False))
    else:
        click.echo(explanation_text(explanation))
