"""What the commands share: the crawl and the home that they are given, and how a refusal is told."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from resources.crawl_store import Crawl, crawl_at, crawl_text
from resources.home import Home
from resources.settings import Settings
from training_kernels.errors import ConfigError


class Refusal(click.ClickException):
    """An error that a person can act on: one line, exit status 1."""


class CrawlArgument(click.ParamType):
    """A folder, or the URL of one in a store."""

    name = "folder or URL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Crawl:
        return crawl_at(value) if isinstance(value, str) else value


CRAWL_OPTION = click.option(
    "--crawl",
    type=CrawlArgument(),
    help="Crawl folder, or URL of one (s3://…); default: the one of this home, else a bundled sample.",
)


def with_crawl(settings: Settings, crawl: Crawl | None) -> Settings:
    """Settings for a crawl folder given on the command line.

    Where no NYX_HOME is set and the default home belongs to another crawl, the home is `nyx_home-<crawl folder>`.
    """
    if crawl is None:
        return settings
    settings = replace(settings, crawl=crawl)
    owner = Home.at(settings.home).crawl
    default = settings.home
    is_another = owner is not None and crawl_text(owner) != crawl_text(crawl)
    if is_another and not os.environ.get("NYX_HOME") and isinstance(default, Path):
        return replace(settings, home=default.with_name(f"{default.name}-{crawl_text(crawl).rpartition('/')[2]}"))
    return settings


def home_of(settings: Settings) -> Home:
    """The home that the settings name. Raises ConfigError if something else is in its place."""
    home = Home.at(settings.home)
    if home.root.exists() and not home.root.is_dir():
        raise ConfigError(f"NYX_HOME must be a folder, or a place for one, got the file {home.root}; name another")
    return home
