"""`nyx quarantine`: crawl partitions that failed for good, and their way back."""

import json
import os
from dataclasses import asdict

import click

from resources.home import Home
from resources.settings import Settings
from training_kernels.errors import ConfigError


@click.group("quarantine")
def quarantine_commands() -> None:
    """Crawl partitions that failed too often and are left out of index and training."""


@quarantine_commands.command("list")
@click.option("--json", "as_json", is_flag=True)
def list_quarantined(as_json: bool) -> None:
    """Which partitions are out, and why."""
    from nyx_assets.quarantine import quarantine_lines, quarantined_partitions

    partitions = quarantined_partitions(Home.at(Settings.from_env(os.environ).home))
    if as_json:
        click.echo(json.dumps([asdict(one) for one in partitions], indent=1))
        return
    click.echo("\n".join(quarantine_lines(partitions)) or "no crawl partition is quarantined")


@quarantine_commands.command("release")
@click.argument("crawl")
def release(crawl: str) -> None:
    """Let the partition CRAWL in again: the next run, or the daemon, makes what is missing of it."""
    from nyx_assets.quarantine import LANDED, quarantined_partitions, release_partition
    from nyx_assets.registering import make_partition_known, open_instance

    home = Home.at(Settings.from_env(os.environ).home)
    is_released = release_partition(home, crawl)
    if is_released or home.input_version(LANDED, crawl):
        with open_instance(home) as instance:  # a release that was killed here, or was another host's, is completed so
            is_released |= make_partition_known(instance, crawl)
    if not is_released:
        known = ", ".join(one.crawl for one in quarantined_partitions(home)) or "none"
        raise ConfigError(f"crawl {crawl!r} is not quarantined; quarantined: {known}")
    click.echo(f"crawl {crawl} is released; `nyx run` or the daemon makes what is missing of it")
