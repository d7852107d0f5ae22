"""A crawl in a store, from the landing to the tables: late, partial, changed and removed deliveries on a real S3 server."""

import gzip
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import fsspec
import pytest
import s3fs
from dagster import DagsterInstance

from nyx_assets.corpus import deliveries
from nyx_assets.corpus.row_counts import count_stored_rows
from nyx_assets.definitions import build_pipeline
from nyx_assets.materialization import key_of
from nyx_assets.registering import register_deliveries
from resources.crawl_store import CrawlStore
from resources.home import Home
from resources.settings import Settings
from sample_crawl import generate
from sensors import landings
from sensors.landings import landings_sensor
from tests.sensors.test_landings import NOTHING_MADE, Remembering

LANDED = dg.AssetKey("landed_crawl")
MADE = ("crawl_documents", "rejected_documents", "link_rot")


class Host:
    """A home, the crawl that it is made from, and Dagster's records in the memory."""

    def __init__(self, folder: Path, crawl: str, instance: DagsterInstance) -> None:
        self.home, self.instance, self.cursor = Home.at(folder), instance, None
        self.log = Remembering()
        self.settings = Settings.from_env({"NYX_HOME": str(folder), "NYX_CRAWL": crawl, "NYX_RECIPE": "smoke"})

    def tick(self) -> set[str]:
        """One tick of the sensor as the daemon does it; the keys that landed."""
        with dg.build_sensor_context(instance=self.instance, cursor=self.cursor) as context:
            context.log.addHandler(self.log)
            tick = landings_sensor(self.home, self.settings, lambda: NOTHING_MADE).evaluate_tick(context)
        self.said = tick.skip_message or ""
        self.cursor = tick.cursor or self.cursor
        for request in tick.dynamic_partitions_requests or []:
            self.instance.add_dynamic_partitions(request.partitions_def_name, request.partition_keys)
        for event in tick.asset_events:
            assert isinstance(event, dg.AssetMaterialization)
            self.instance.report_runless_asset_event(event)
        return {str(event.partition) for event in tick.asset_events}

    def make(self, first: str, last: str) -> dg.ExecuteInProcessResult:
        """One run over partitions from first to last, as a backfill starts it."""
        job = build_pipeline(self.settings, self.home).defs.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance,
            asset_selection=[key_of(name) for name in MADE],
            tags={"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last},
            raise_on_error=False,
        )

    def versions(self, name: str) -> dict[str, str]:
        return {
            crawl: commit.data_version
            for crawl in self.home.tables.partitions(name)
            if crawl is not None and (commit := self.home.tables.commit(name, crawl))
        }


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as in_memory:
        yield in_memory


@pytest.fixture
def s3(s3_server: None) -> Any:
    return fsspec.filesystem("s3", use_listings_cache=False)


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three deliveries with pictures that they share."""
    return generate(tmp_path_factory.mktemp("crawl") / "crawl", num_pages=12, num_partitions=3)


def put(s3: Any, folder: Path, url: str) -> list[str]:
    """Uploads a crawl without its marks; returns the keys."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.endswith("._SUCCESS"):
            s3.pipe_file(f"{url}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return sorted(path.stem for path in folder.glob("*.parquet"))


def test_what_lands_from_a_store_becomes_the_very_tables_of_a_folder_and_what_is_removed_fails_alone(
    crawl: Path, bucket: str, s3: Any, tmp_path: Path, instance: DagsterInstance
) -> None:
    one, two, three = put(s3, crawl, bucket)
    host = Host(tmp_path / "home", bucket, instance)
    assert host.tick() == set()
    assert f"3 waiting to be the same at the next tick, or marked complete: {one}, {two}, {three}" in host.said
    assert host.tick() == {one, two, three}
    assert host.tick() == set()
    assert host.said == "3 deliveries landed before"
    event = instance.get_latest_materialization_event(LANDED)
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["folder"].value == bucket
    s3.rm_file(f"{bucket}/{two}.parquet")
    result = host.make(one, three)
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    assert failed.step_failure_data.error is not None
    assert f"{bucket}/{two}.parquet is not there any more" in str(failed.step_failure_data)
    assert instance.get_materialized_partitions(key_of("crawl_documents")) == {one, three}
    s3.pipe_file(f"{bucket}/{two}.parquet", (crawl / f"{two}.parquet").read_bytes())
    assert host.tick() == set(), "it is what landed"
    assert host.make(two, two).success
    with DagsterInstance.ephemeral() as other:
        here = Host(tmp_path / "here", str(crawl), other)
        register_deliveries(here.home, other, crawl)
        assert here.make(one, three).success
        for name in MADE:
            assert host.versions(name) == here.versions(name), name
        assert sum(host.home.tables.num_rows("crawl_documents", key) for key in (one, two, three)) > 0
    pictures = [{path.name for path in (tmp_path / name / "images").rglob("*.*")} for name in ("home", "here")]
    assert pictures[0] == pictures[1] != set()


def test_late_partial_and_changed_deliveries_land_when_they_are_whole(
    crawl: Path, bucket: str, s3: Any, tmp_path: Path, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(tmp_path / "home", bucket, instance)
    files = [path.read_bytes() for path in sorted(crawl.glob("*.parquet"))]
    s3.pipe_file(f"{bucket}/whole/part-0.parquet", files[0])
    s3.pipe_file(f"{bucket}/whole/_SUCCESS", b"")
    s3.pipe_file(f"{bucket}/late/part-0.parquet", files[0])
    s3.pipe_file(f"{bucket}/torn.parquet", files[1][:-9])
    assert host.tick() == {"whole"}
    assert host.log.said == [], "what is not complete is not opened"
    s3.pipe_file(f"{bucket}/late/part-1.parquet", files[1])
    assert host.tick() == set()
    assert "1 refused, see the log of the tick: torn" in host.said
    assert ["delivery torn is refused" in line for line in host.log.said] == [True]
    assert host.tick() == {"late"}
    assert [row["file"] for row in host.home.tables.read("landed_crawl", partition="late").to_pylist()] == [
        f"{bucket}/late/part-0.parquet",
        f"{bucket}/late/part-1.parquet",
    ]
    s3.pipe_file(f"{bucket}/torn.parquet", files[1])
    s3.pipe_file(f"{bucket}/whole/part-0.parquet", files[2])
    assert host.tick() == {"whole"}, "it is marked; what was torn is waited for"
    before = host.versions("landed_crawl")
    assert host.tick() == {"torn"}
    s3.pipe_file(f"{bucket}/torn.parquet", files[1])
    assert host.tick() == set(), "the same content, written again"
    assert host.versions("landed_crawl") == host.versions("landed_crawl") | before
    monkeypatch.setattr(landings, "MAX_LANDINGS_PER_TICK", 3)
    for number in range(40):
        s3.pipe_file(f"{bucket}/more-{number:02}/part.parquet", files[0])
        s3.pipe_file(f"{bucket}/more-{number:02}/_SUCCESS", b"")
    assert host.tick() == {"more-00", "more-01", "more-02"}
    shutil.rmtree(host.home.root / "tables")
    s3.rm(bucket, recursive=True)
    assert host.tick() == set()
    assert f"{bucket} holds no delivery" in host.said


def test_deliveries_that_are_slow_to_be_refused_hold_nobody_up_and_are_opened_once(
    crawl: Path, bucket: str, s3: Any, tmp_path: Path, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landings, "MAX_SECONDS_PER_TICK", 0.0)
    opened: list[str] = []

    def count(store: CrawlStore, name: str, num_bytes: int) -> int:
        opened.append(name)
        return count_stored_rows(store, name, num_bytes)

    monkeypatch.setattr(deliveries, "count_stored_rows", count)
    bad = [f"bad-{number:02}.jsonl.gz" for number in range(20)]
    for name in [*bad, "good.jsonl.gz"]:
        content = gzip.compress(b'{"texts": ["A harbour."], "images": [null]}\n')
        s3.pipe_file(f"{bucket}/{name}", content[:-9] if name in bad else content)
        s3.pipe_file(f"{bucket}/{name}.done", b"")
    host = Host(tmp_path / "home", bucket, instance)
    assert [host.tick() for _ in range(3)] == [set(), {"good"}, set()]
    assert sorted(opened) == [*bad, "good.jsonl.gz"]
    assert "20 refused, see the log of the tick" in host.said
    reasons = [line for line in host.log.said if "delivery bad-00 is refused" in line]
    assert len(reasons) == 3
    assert f"{bucket}/bad-00.jsonl.gz cannot be read" in reasons[2]
    s3.pipe_file(f"{bucket}/bad-00.jsonl.gz", content)
    assert host.tick() == {"bad-00"}


def test_what_a_store_withheld_is_asked_for_again_though_it_did_not_change(
    crawl: Path, bucket: str, s3: Any, tmp_path: Path, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.pipe_file(f"{bucket}/one.parquet", next(crawl.glob("*.parquet")).read_bytes())
    s3.pipe_file(f"{bucket}/one.parquet.done", b"")
    host = Host(tmp_path / "home", bucket, instance)
    ask = s3fs.S3FileSystem._call_s3

    async def withheld(self: Any, method: str, *arguments: Any, **options: Any) -> Any:
        if method == "get_object":
            raise PermissionError(13, "Forbidden")
        return await ask(self, method, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(s3fs.S3FileSystem, "_call_s3", withheld)
        assert host.tick() == set()
    assert "one.parquet cannot be used: PermissionError" in host.log.said[0]
    assert host.tick() == {"one"}
