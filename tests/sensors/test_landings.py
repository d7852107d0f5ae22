"""The landings sensor: what it registers, when, and what it tells Dagster, with a real instance and real deliveries."""

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dagster import DagsterInstance

from nyx_assets.corpus import deliveries
from nyx_assets.corpus.row_counts import count_rows
from nyx_assets.main_job import Pipeline
from nyx_assets.materialization import DATA_VERSION_TAG
from nyx_assets.quarantine import release_partition, take_out
from nyx_assets.registering import open_instance, register_deliveries
from resources.home import Home
from resources.settings import Settings
from sensors import landings
from sensors.landings import landings_sensor
from tests.deliveries import OBELICS
from training_kernels.errors import ConfigError

LANDED = dg.AssetKey("landed_crawl")
NOTHING_MADE = Pipeline(defs=dg.Definitions(), specs={}, resources={}, siblings={})
"""No asset follows on a landing."""


def deliver(path: Path, *, pages: int = 3, marked: bool = False) -> None:
    """A delivery of some pages, written in one go or over an earlier one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    row = {"images": [None], "texts": ["A page."], "metadata": "[null]", "general_metadata": "{}"}
    pq.write_table(pa.Table.from_pylist([row] * pages, schema=OBELICS), path)
    if marked:
        path.with_name(f"{path.name}.done").touch()


class Remembering(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


class World:
    """A crawl folder and a home; the sensor ticks when it is told to."""

    def __init__(self, folder: Path) -> None:
        self.crawl, self.home = folder / "crawl", Home.at(folder / "home")
        self.crawl.mkdir()
        self.settings = Settings.from_env({"NYX_CRAWL": str(self.crawl)})
        self.cursor: str | None = None
        self.log = Remembering()

    def tick(self, instance: DagsterInstance) -> dict[str, str]:
        """One tick as the daemon does it; returns the data version of each delivery that it reports."""
        sensor = landings_sensor(self.home, self.settings, lambda: NOTHING_MADE)
        with dg.build_sensor_context(instance=instance, cursor=self.cursor) as context:
            context.log.addHandler(self.log)
            tick = sensor.evaluate_tick(context)
        self.skipped_because = tick.skip_message or ""
        self.cursor = tick.cursor or self.cursor
        for request in tick.dynamic_partitions_requests or []:
            instance.add_dynamic_partitions(request.partitions_def_name, request.partition_keys)
        events = [event for event in tick.asset_events if isinstance(event, dg.AssetMaterialization)]
        for event in events:
            instance.report_runless_asset_event(event)
        return {str(event.partition): (event.tags or {})[DATA_VERSION_TAG] for event in events}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as in_memory:
        yield in_memory


def registered(instance: DagsterInstance) -> set[str]:
    return set(instance.get_dynamic_partitions("crawl"))


def test_a_marked_delivery_lands_at_once(world: World, instance: DagsterInstance) -> None:
    deliver(world.crawl / "b.parquet", pages=4, marked=True)
    deliver(world.crawl / "a" / "part-0.parquet", pages=2)
    deliver(world.crawl / "a" / "part-1.parquet", pages=5)
    (world.crawl / "a" / "_SUCCESS").touch()
    assert world.tick(instance).keys() == {"a", "b"}
    assert registered(instance) == {"a", "b"}
    event = instance.get_latest_materialization_event(LANDED)
    assert event is not None
    assert instance.get_materialized_partitions(LANDED) == {"a", "b"}
    rows = world.home.tables.read("landed_crawl", partition="a").to_pylist()
    assert [(Path(row["file"]).name, row["num_rows"]) for row in rows] == [("part-0.parquet", 2), ("part-1.parquet", 5)]


def test_what_is_reported_says_how_much_landed_and_where(world: World, instance: DagsterInstance) -> None:
    deliver(world.crawl / "a" / "part-0.parquet", pages=2)
    deliver(world.crawl / "a" / "part-1.parquet", pages=5)
    (world.crawl / "a" / "_SUCCESS").touch()
    world.tick(instance)
    event = instance.get_latest_materialization_event(LANDED)
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert metadata["dagster/row_count"].value == 7
    assert metadata["files"].value == 2
    assert metadata["bytes"].value == sum(path.stat().st_size for path in (world.crawl / "a").glob("*.parquet"))
    assert metadata["folder"].value == str(world.crawl / "a")
    schema = metadata["dagster/column_schema"].value
    assert isinstance(schema, dg.TableSchema)
    assert [column.name for column in schema.columns] == ["file", "folder", "num_rows", "num_bytes", "fingerprint"]


def test_an_unmarked_delivery_lands_when_it_was_the_same_at_the_tick_before(
    world: World, instance: DagsterInstance
) -> None:
    deliver(world.crawl / "slow.parquet", pages=1)
    assert world.tick(instance) == {}
    assert registered(instance) == set()
    assert "1 waiting to be the same at the next tick, or marked complete: slow" in world.skipped_because
    deliver(world.crawl / "slow.parquet", pages=2)  # it grew
    assert world.tick(instance) == {}
    assert world.tick(instance).keys() == {"slow"}
    assert registered(instance) == {"slow"}


def test_a_growing_delivery_holds_nobody_else_up(world: World, instance: DagsterInstance) -> None:
    deliver(world.crawl / "done.parquet", marked=True)
    for pages in (1, 2, 3):
        deliver(world.crawl / "growing.parquet", pages=pages)
        assert "growing" not in world.tick(instance)
    assert registered(instance) == {"done"}


def test_json_lines_that_grow_are_opened_when_they_are_whole_and_not_at_each_tick(
    world: World, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []

    def count(path: Path) -> int:
        counted.append(path.stat().st_size)
        return count_rows(path)

    monkeypatch.setattr(deliveries, "count_rows", count)
    file = world.crawl / "growing.jsonl"
    for num_lines in (1, 2, 3):
        file.write_text('{"texts": ["A harbour."], "images": [null]}\n' * num_lines)
        assert world.tick(instance) == {}
        assert "waiting to be the same at the next tick, or marked complete: growing" in world.skipped_because
    assert counted == []
    assert world.tick(instance).keys() == {"growing"}
    assert counted == [file.stat().st_size]


def test_an_unchanged_delivery_is_never_reported_again(world: World, instance: DagsterInstance) -> None:
    deliver(world.crawl / "a.parquet", marked=True)
    assert world.tick(instance).keys() == {"a"}
    for _ in range(3):
        assert world.tick(instance) == {}
        assert world.skipped_because == "1 deliveries landed before"


def test_a_changed_delivery_is_reported_with_a_new_data_version(world: World, instance: DagsterInstance) -> None:
    deliver(world.crawl / "a.parquet", pages=3, marked=True)
    deliver(world.crawl / "same.parquet", pages=3, marked=True)
    first = world.tick(instance)
    deliver(world.crawl / "a.parquet", pages=4)
    second = world.tick(instance)
    assert second.keys() == {"a"}
    assert second["a"] != first["a"]
    record = instance.get_latest_data_version_record(LANDED, partition_key="a")
    assert record is not None
    assert record.asset_materialization is not None
    assert (record.asset_materialization.tags or {})[DATA_VERSION_TAG] == second["a"]


def test_a_refused_delivery_is_logged_with_its_reason_and_the_others_land(
    world: World, instance: DagsterInstance
) -> None:
    deliver(world.crawl / "good.parquet", marked=True)
    deliver(world.crawl / "a,b.parquet", marked=True)
    (world.crawl / "broken.parquet").write_bytes(b"no Parquet at all")
    (world.crawl / "broken.parquet.done").touch()
    assert world.tick(instance).keys() == {"good"}
    assert registered(instance) == {"good"}
    [broken, comma] = sorted(world.log.said, key=lambda line: "a,b" in line)
    assert "delivery broken is refused" in broken
    assert "cannot be read as Parquet" in broken
    assert "'a,b' cannot be a crawl key" in comma
    world.tick(instance)
    assert world.skipped_because == "1 deliveries landed before; 2 refused, see the log of the tick: a,b, broken"


def test_a_tick_takes_no_more_than_its_cap_and_the_next_ones_the_rest(
    world: World, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landings, "MAX_LANDINGS_PER_TICK", 3)
    for number in range(7):
        deliver(world.crawl / f"c{number}.parquet", marked=True)
    assert [len(world.tick(instance)) for _ in range(4)] == [3, 3, 1, 0]
    assert registered(instance) == {f"c{number}" for number in range(7)}


def test_a_tick_that_takes_too_long_ends_early_and_the_next_ones_take_the_rest(
    world: World, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landings, "MAX_SECONDS_PER_TICK", 0.0)
    for number in range(3):
        deliver(world.crawl / f"c{number}.parquet", marked=True)
    assert [len(world.tick(instance)) for _ in range(4)] == [1, 1, 1, 0]


def test_a_cursor_that_slipped_back_neither_loses_nor_repeats_a_landing(
    world: World, instance: DagsterInstance
) -> None:
    deliver(world.crawl / "a.parquet", marked=True)
    world.tick(instance)
    early = world.cursor
    deliver(world.crawl / "b.parquet", marked=True)
    world.tick(instance)
    world.tick(instance)
    world.cursor = early
    assert world.tick(instance) == {}
    world.cursor = early
    deliver(world.crawl / "b.parquet", pages=5, marked=True)
    assert world.tick(instance).keys() == {"b"}


def test_clocks_that_run_backwards_change_nothing(world: World, instance: DagsterInstance) -> None:
    deliver(world.crawl / "a.parquet")
    os.utime(world.crawl / "a.parquet", (4_000_000_000, 4_000_000_000))  # written in the year 2096
    assert world.tick(instance) == {}
    assert world.tick(instance).keys() == {"a"}
    deliver(world.crawl / "a.parquet", pages=7)
    os.utime(world.crawl / "a.parquet", (1, 1))  # and again in 1970
    assert world.tick(instance) == {}
    assert world.tick(instance).keys() == {"a"}
    assert world.tick(instance) == {}


def test_what_landed_is_forgotten_by_no_tick_that_died_before_its_cursor_was_kept(
    world: World, instance: DagsterInstance
) -> None:
    deliver(world.crawl / "a.parquet", marked=True)
    sensor = landings_sensor(world.home, world.settings, lambda: NOTHING_MADE)
    with dg.build_sensor_context(instance=instance, cursor=None) as context:
        sensor.evaluate_tick(context)  # the daemon is killed here: nothing of it is kept
    assert registered(instance) == set()
    assert world.tick(instance).keys() == {"a"}
    assert registered(instance) == {"a"}


def test_a_lost_cursor_does_no_harm(world: World, instance: DagsterInstance) -> None:
    deliver(world.crawl / "a.parquet", marked=True)
    world.tick(instance)
    world.cursor = None
    assert world.tick(instance) == {}
    assert registered(instance) == {"a"}


def test_what_landed_and_dagster_does_not_know_is_registered_again_but_not_while_it_is_quarantined(
    world: World, instance: DagsterInstance
) -> None:
    for name in ("a", "b", "c"):
        deliver(world.crawl / f"{name}.parquet", marked=True)
    world.tick(instance)
    for name in ("a", "b"):
        instance.delete_dynamic_partition("crawl", name)
    take_out(world.home, {"a": "it fails", "c": "it fails"})
    world.tick(instance)
    assert registered(instance) == {"b", "c"}
    release_partition(world.home, "a")  # on another host, or by a process that was killed then
    assert world.tick(instance) == {}
    assert registered(instance) == {"a", "b", "c"}


def test_after_records_are_lost_every_delivery_is_known_again(world: World) -> None:
    deliver(world.crawl / "a.parquet", marked=True)
    with open_instance(world.home) as instance:
        first = world.tick(instance)
    shutil.rmtree(world.home.root / "dagster")
    world.cursor = None  # it lies in the records as well
    with open_instance(world.home) as instance:
        assert world.tick(instance) == first
        assert registered(instance) == {"a"}
        assert instance.get_materialized_partitions(LANDED) == {"a"}


def test_a_run_by_hand_after_records_are_lost_reports_every_delivery_again(world: World) -> None:
    deliver(world.crawl / "a.parquet")
    with open_instance(world.home) as instance:
        register_deliveries(world.home, instance, world.crawl)
    shutil.rmtree(world.home.root / "dagster")
    with open_instance(world.home) as instance:
        # as a run leaves it that was killed after it registered the key
        instance.add_dynamic_partitions("crawl", ["a"])
        register_deliveries(world.home, instance, world.crawl)
        assert instance.get_materialized_partitions(LANDED) == {"a"}


@pytest.mark.parametrize("found", ["missing", "empty"])
def test_a_folder_without_deliveries_is_skipped_with_a_remedy_and_forgets_nothing(
    world: World, instance: DagsterInstance, found: str
) -> None:
    deliver(world.crawl / "a.parquet", marked=True)
    world.tick(instance)
    cursor = world.cursor
    shutil.rmtree(world.crawl)
    if found == "empty":
        world.crawl.mkdir()
    assert world.tick(instance) == {}
    assert str(world.crawl) in world.skipped_because
    assert "Parquet" in world.skipped_because
    assert world.cursor == cursor


def test_a_home_without_a_crawl_folder_is_skipped_with_a_remedy(world: World, instance: DagsterInstance) -> None:
    world.settings = Settings.from_env({})
    assert world.tick(instance) == {}
    assert world.skipped_because == "no crawl folder yet: set NYX_CRAWL, or run `nyx run` once"


def test_the_folder_that_the_home_is_made_from_is_watched_without_being_named(
    world: World, instance: DagsterInstance
) -> None:
    world.settings = Settings.from_env({})
    world.home.claim(world.crawl)
    deliver(world.crawl / "a.parquet", marked=True)
    assert world.tick(instance).keys() == {"a"}


def test_the_crawl_is_looked_at_as_often_as_is_said(world: World) -> None:
    settings = Settings.from_env({"NYX_HOME": str(world.home.root), "NYX_LANDING_SECONDS": "600"})
    sensor = landings_sensor(world.home, settings, lambda: NOTHING_MADE)
    assert sensor.minimum_interval_seconds == 600
    with pytest.raises(ConfigError, match="^NYX_LANDING_SECONDS must be a number of at least 5, got '1'"):
        Settings.from_env({"NYX_LANDING_SECONDS": "1"})
