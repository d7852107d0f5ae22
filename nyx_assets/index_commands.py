"""`nyx index`: which versions of the index there are, and which one answers searches."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import click

from resources.home import Home
from resources.settings import Settings
from resources.vector_index import VectorIndex
from training_kernels.errors import IndexUnavailable

IndexOf = Callable[[Settings, Home], VectorIndex]
"""How the command line opens the index that the settings name; it is handed to the commands by click."""

AS_JSON = click.option("--json", "as_json", is_flag=True)


@click.group(name="index")
def index_commands() -> None:
    """List the versions of the index, and choose the one that answers searches."""


@index_commands.command(name="list")
@AS_JSON
@click.pass_obj
def list_versions(index_of: IndexOf, as_json: bool) -> None:
    """Every version that is kept, the one built last first."""
    from nyx_assets.index_versions import version_rows

    with _open_index(index_of) as (home, index):
        rows = version_rows(home, index)
    _say(rows, as_json)


@index_commands.command()
@click.argument("version")
@AS_JSON
@click.pass_obj
def swap(index_of: IndexOf, version: str, as_json: bool) -> None:
    """Answer searches from VERSION, with the checkpoint that it was made with."""
    from nyx_assets.index_versions import swap as make_live

    with _open_index(index_of) as (home, index), home.alone("index", log=_waiting):
        rows = make_live(home, index, version, log=_waiting)
    _say(rows, as_json)


@index_commands.command()
@AS_JSON
@click.pass_obj
def rollback(index_of: IndexOf, as_json: bool) -> None:
    """Answer searches from the version that was live before this one, with its own checkpoint."""
    from nyx_assets.index_versions import rollback as go_back

    with _open_index(index_of) as (home, index), home.alone("index", log=_waiting):
        rows = go_back(home, index, log=_waiting)
    _say(rows, as_json)


@contextmanager
def _open_index(index_of: IndexOf) -> Iterator[tuple[Home, VectorIndex]]:
    """The home and its index, as the settings name them."""
    settings = Settings.from_env(os.environ)
    home = Home.at(settings.home)
    if not home.is_shared and not (home.root / "index").is_dir():
        raise IndexUnavailable(f"{home.root} has no index yet: make one with `nyx run`")
    with closing(index_of(settings, home)) as index:
        yield home, index


def _waiting(line: str) -> None:
    click.echo(line, err=True)


def _say(rows: Sequence[dict[str, Any]], as_json: bool) -> None:
    click.echo(json.dumps(rows, indent=1) if as_json else versions_text(rows))


def versions_text(rows: Sequence[dict[str, Any]]) -> str:
    """Versions for a person, one a line."""
    return "\n".join(
        f"{'live  ' if row['is_live'] else '      '}{row['version']}  {row['num_chunks']:,} chunks, {row['dim']} dims, "
        f"{row['index_type']} {row['precision']} {row['metric']}, recall@10 {row['recall_at_10']:.3f}, built "
        f"{row['built_at']}, checkpoint {row['checkpoint_folder']}, crawls {', '.join(row['crawls'])}"
        for row in rows
    )
