"""Deliveries become crawl partitions that Dagster knows; used by `nyx run` and by the landings sensor."""

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import dagster as dg
from dagster import DagsterInstance

from nyx_assets.automation import REFRESH
from nyx_assets.corpus.deliveries import Delivery, RefusedDelivery, find_deliveries
from nyx_assets.corpus.landing import has_landed, land, landed_rows
from nyx_assets.materialization import DATA_VERSION_TAG, column_schema, is_current, key_of, name_of
from nyx_assets.partitions import CRAWL
from nyx_assets.quarantine import is_quarantined, release_partition
from nyx_assets.quick_records import write_records_quickly
from nyx_assets.records import LANDED_CRAWL
from nyx_assets.run_processes import note_processes
from resources.crawl_store import Crawl
from resources.home import Home

console = logging.getLogger("nyx")
LANDED_CRAWL_KEY = dg.AssetKey("landed_crawl")

DAGSTER_YAML = """\
# Written once by nyx; edit it as you like.
telemetry:
  enabled: false
nux:
  enabled: false
freshness:
  enabled: true
# a run that a sensor asks for starts within a second, not within five
run_queue:
  dequeue_interval_seconds: 1
concurrency:
  runs:
    max_concurrent_runs: 2
  pools:
    granularity: op
    default_limit: 1
# a run whose process was killed is started again, at most twice, since one may bring its machine down every time; one that
# failed by itself is not
run_retries:
  enabled: true
  max_retries: 2
  retry_on_asset_or_op_failure: false
run_monitoring:
  enabled: true
"""


def prepare_dagster_home(home: Home) -> Path:
    """`<home>/dagster` with a dagster.yaml and Dagster's databases, made if it is new.

    It is filled beside its place and renamed: a database whose tables were half made when the process was killed would
    be taken for a finished one ever after.
    """
    folder = home.root / "dagster"
    with home.alone("dagster_records", log=console.info):
        if not folder.exists():
            with tempfile.TemporaryDirectory(prefix=".dagster.", dir=home.root) as draft:
                records = Path(draft) / "dagster"
                records.mkdir()
                (records / "dagster.yaml").write_text(DAGSTER_YAML)
                DagsterInstance.from_config(str(records)).dispose()
                records.rename(folder)
    return folder


@contextmanager
def open_instance(home: Home) -> Iterator[DagsterInstance]:
    """Dagster's records of this home: the same that the UI shows."""
    note_processes()
    write_records_quickly()
    with DagsterInstance.from_config(str(prepare_dagster_home(home))) as instance:
        yield instance


def landed_events(
    home: Home, instance: DagsterInstance, deliveries: Iterable[Delivery]
) -> Iterator[dg.AssetMaterialization]:
    """Take note of deliveries; yields what Dagster is to be told, nothing where its records have that very content.

    Records and tables can come apart: a run may be killed between the two, and `<home>/dagster` may be deleted.
    """
    for delivery in deliveries:
        if not has_landed(home, delivery) and is_quarantined(home, delivery.key):
            release_partition(home, delivery.key)
            console.info("crawl %s comes with other content and is out of quarantine", delivery.key)
        commit = land(home, delivery)
        record = instance.get_latest_data_version_record(LANDED_CRAWL_KEY, partition_key=delivery.key)
        known = record.asset_materialization if record else None
        if known is None or (known.tags or {}).get(DATA_VERSION_TAG) != commit.data_version:
            yield dg.AssetMaterialization(
                LANDED_CRAWL_KEY,
                partition=delivery.key,
                metadata={
                    "dagster/row_count": delivery.num_rows,
                    "files": len(delivery.files),
                    "bytes": sum(file.num_bytes for file in delivery.files),
                    "folder": dg.MetadataValue.path(delivery.place),
                    "dagster/column_schema": column_schema(LANDED_CRAWL),
                },
                tags={DATA_VERSION_TAG: commit.data_version},
            )


def untold_event(
    home: Home, instance: DagsterInstance, name: str, partition: str | None
) -> dg.AssetMaterialization | None:
    """What Dagster is to be told of a version that is stored but not in its records; None if it knows it.

    The run that made it was killed, it is another host's, or the records were lost.
    """
    commit = home.commit(name, partition)
    if commit is None:
        return None
    record = instance.get_latest_data_version_record(key_of(name), partition_key=partition)
    known = record.asset_materialization if record else None
    if known is not None and (known.tags or {}).get(DATA_VERSION_TAG) == commit.data_version:
        return None
    return dg.AssetMaterialization(
        key_of(name),
        partition=partition,
        metadata={"dagster/row_count": commit.num_rows},
        tags={DATA_VERSION_TAG: commit.data_version},
    )


def untold_of_partition(
    home: Home, instance: DagsterInstance, specs: Mapping[str, dg.AssetSpec], crawl: str
) -> Iterator[dg.AssetMaterialization]:
    """The same of what the daemon makes of a crawl partition, as far as it is current: it would be made again."""
    for name in REFRESH.keys() & specs.keys():
        event = untold_event(home, instance, name, crawl) if specs[name].partitions_def is not None else None
        if event is not None and is_current(specs[name], crawl, home):
            yield event


def untold_inputs(
    home: Home, instance: DagsterInstance, specs: Mapping[str, dg.AssetSpec]
) -> Iterator[dg.AssetMaterialization]:
    """The same of what the daemon makes partitions with and does not make, such as the promoted checkpoint.

    Only of what Dagster has never heard of: a version that it does not know would have every partition made again. What it
    makes of all partitions together is not asked for because it is missing, so it is left to the next time it is made.
    """
    made = REFRESH.keys() & specs.keys()
    inputs = {name_of(dependency.asset_key) for name in made for dependency in specs[name].deps} - made
    for name in inputs & specs.keys():
        is_unknown = specs[name].partitions_def is None and not instance.get_latest_data_version_record(key_of(name))
        event = untold_event(home, instance, name, None) if is_unknown else None
        if event is not None:
            yield event


def register_deliveries(home: Home, instance: DagsterInstance, crawl: Crawl) -> tuple[RefusedDelivery, ...]:
    """Register every delivery of a crawl, a folder or the URL of one, as it stands now; returns those that were refused.

    Whoever asks for a run by hand says that the folder is complete; the sensor, which nobody asks, waits for it.
    Raises DataError if the folder is missing or has no delivery.
    """
    found = find_deliveries(crawl, counted=partial(landed_rows, home))
    deliveries = not_quarantined(home, found.deliveries)
    known = set(instance.get_dynamic_partitions(str(CRAWL.name)))
    instance.add_dynamic_partitions(
        str(CRAWL.name), [delivery.key for delivery in deliveries if delivery.key not in known]
    )
    for event in landed_events(home, instance, deliveries):
        instance.report_runless_asset_event(event)
    return found.refused


def not_quarantined(home: Home, deliveries: Iterable[Delivery]) -> list[Delivery]:
    """Deliveries but those whose partition is out of the pipeline, and that did not change since."""
    return [one for one in deliveries if not (is_quarantined(home, one.key) and has_landed(home, one))]


def make_partition_known(instance: DagsterInstance, crawl: str) -> bool:
    """Register a partition that landed; False if it is registered."""
    if instance.has_dynamic_partition(str(CRAWL.name), crawl):
        return False
    instance.add_dynamic_partitions(str(CRAWL.name), [crawl])
    return True
