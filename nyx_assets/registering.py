"""Deliveries become crawl partitions that Dagster knows; used by `nyx run` and by the landings sensor."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster import DagsterInstance

from nyx_assets.corpus.deliveries import Delivery, RefusedDelivery, find_deliveries
from nyx_assets.corpus.landing import has_landed, land
from nyx_assets.materialization import DATA_VERSION_TAG
from nyx_assets.partitions import CRAWL
from resources.home import Home
from resources.tables import Commit

DAGSTER_YAML = """\
# Written once by nyx; edit it as you like.
telemetry:
  enabled: false
nux:
  enabled: false
concurrency:
  runs:
    max_concurrent_runs: 2
  pools:
    granularity: op
    default_limit: 1
"""


def prepare_dagster_home(home: Home) -> Path:
    """`<home>/dagster` with a dagster.yaml, made if it is new."""
    folder = home.root / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "dagster.yaml"
    if not config.exists():
        config.write_text(DAGSTER_YAML)
    return folder


@contextmanager
def open_instance(home: Home) -> Iterator[DagsterInstance]:
    """Dagster's records of this home: the same that the UI shows."""
    with DagsterInstance.from_config(str(prepare_dagster_home(home))) as instance:
        yield instance


def landed_event(delivery: Delivery, commit: Commit) -> dg.AssetMaterialization:
    """What Dagster is told of a landed delivery."""
    return dg.AssetMaterialization(
        "landed_crawl",
        partition=delivery.key,
        metadata={"dagster/row_count": delivery.num_rows, "files": len(delivery.files)},
        tags={DATA_VERSION_TAG: commit.data_version},
    )


def register_deliveries(home: Home, instance: DagsterInstance, crawl_folder: Path) -> tuple[RefusedDelivery, ...]:
    """Register every delivery of the folder as it stands now; returns those that were refused.

    Whoever asks for a run by hand says that the folder is complete; the sensor, which nobody asks, waits for it.
    Raises DataError if the folder is missing or has no delivery.
    """
    found = find_deliveries(crawl_folder)
    known = set(instance.get_dynamic_partitions(str(CRAWL.name)))
    instance.add_dynamic_partitions(
        str(CRAWL.name), [delivery.key for delivery in found.deliveries if delivery.key not in known]
    )
    for delivery in found.deliveries:
        if not (has_landed(home, delivery) and delivery.key in known):
            instance.report_runless_asset_event(landed_event(delivery, land(home, delivery)))
    return found.refused
