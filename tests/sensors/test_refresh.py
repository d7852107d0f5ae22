"""What a landing brings about by itself: the conditions as the daemon evaluates them, real runs, and a search at the end."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import dagster as dg
import pytest
from dagster import DagsterInstance
from dagster import DagsterRunStatus as RunStatus
from dagster._core.asset_graph_view.asset_graph_view import AssetGraphView
from dagster._core.definitions.automation_tick_evaluation_context import build_run_requests_with_backfill_policies
from dagster._core.definitions.events import AssetKeyPartitionKey
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_START_TAG

from nyx_assets.automation import REFRESH, REFRESH_TAGS, made_from
from nyx_assets.definitions import build_pipeline, resources_of
from nyx_assets.materialization import DATA_VERSION_TAG, key_of
from nyx_assets.partitions import CRAWL
from nyx_assets.quarantine import quarantined_partitions
from nyx_assets.query_pictures import query_embedders, query_picture_store
from nyx_assets.records import RAW_QA
from nyx_assets.registering import open_instance
from nyx_assets.retraining import change_since_training
from nyx_assets.searching import query_document, search_live
from resources.home import Home
from resources.settings import Settings
from sensors.failures import failures_sensor
from sensors.landings import landings_sensor
from sensors.retrain_job import retrain_job
from sensors.retraining import NOTHING_NEW, retraining_schedules, retraining_sensor
from tests.deliveries import break_rows, count_one_more_page, deliver
from tests.webhook import Webhook, serving_webhook
from training_kernels.errors import ConfigError

Requested = dict[str, set[str | None]]


class Daemon:
    """Ticks of both sensors and the runs that they ask for, one after the other in this process."""

    def __init__(self, home: Path, crawl: Path, instance: DagsterInstance, **env: str) -> None:
        self.crawl, self.instance, self.home = crawl, instance, Home.at(home)
        self.settings = Settings.from_env(
            {"NYX_HOME": str(home), "NYX_CRAWL": str(crawl), "NYX_RECIPE": "smoke", **env}
        )
        self.pipeline = build_pipeline(self.settings, self.home)
        self.defs = self.pipeline.defs
        self.landing_cursor: str | None = None
        self.refresh_cursor: Any = None

    def land(self) -> None:
        """The landings sensor sees the folder twice, so that what is not marked is taken as well."""
        for _ in range(2):
            self.landing_tick()

    def landing_tick(self) -> None:
        with dg.build_sensor_context(instance=self.instance, cursor=self.landing_cursor) as context:
            tick = landings_sensor(self.home, self.settings, lambda: self.pipeline).evaluate_tick(context)
        self.landing_cursor = tick.cursor or self.landing_cursor
        for request in tick.dynamic_partitions_requests or []:
            self.instance.add_dynamic_partitions(request.partitions_def_name, request.partition_keys)
        for event in tick.asset_events:
            self.instance.report_runless_asset_event(event)

    def tick(self, *, is_time_for_retries: bool = False) -> Requested:
        """What the refresh sensor asks for now; the times of its crons come when they are called."""
        # the daemon reads the keys once a tick, Dagster's tester hundreds of times
        read_once = mock.patch.object(
            self.instance, "get_dynamic_partitions", cache(self.instance.get_dynamic_partitions)
        )
        due = datetime.now(UTC) + timedelta(days=is_time_for_retries or -1)
        crons = mock.patch.object(AssetGraphView, "compute_previous_cron_tick", return_value=due)
        with read_once, crons:
            result = dg.evaluate_automation_conditions(self.defs, self.instance, cursor=self.refresh_cursor)
        self.refresh_cursor = result.cursor
        requested: Requested = {}
        for name in REFRESH:
            partitioned = self.defs.resolve_asset_graph().get(key_of(name)).partitions_def is not None
            keys = result.get_requested_partitions(key_of(name))
            if keys:
                requested[name] = set(keys) if partitioned else {None}
        return requested

    def run(self, requested: Requested) -> list[dg.ExecuteInProcessResult]:
        """The runs that the daemon starts for this: ranges of partitions, or one run if it is one partition of each.

        The failures sensor hears of each that fails.
        """
        job = self.defs.resolve_implicit_global_asset_job_def()
        results = []
        for request in self.requests_for(requested):
            first = request.tags.get(ASSET_PARTITION_RANGE_START_TAG)
            is_one = all(len(keys) == 1 for keys in requested.values())
            result = job.execute_in_process(
                instance=self.instance,
                partition_key=first if is_one else None,
                asset_selection=request.asset_selection,
                tags={} if is_one else dict(request.tags),
                raise_on_error=False,
            )
            if not result.success:
                self.hear_of(result)
            results.append(result)
        return results

    def requests_for(self, requested: Requested) -> Sequence[dg.RunRequest]:
        """How Dagster itself cuts it up: assets of the same partitions together, each stretch of neighbours a run."""
        wanted = [AssetKeyPartitionKey(key_of(name), partition) for name in requested for partition in requested[name]]
        with partition_loading_context(dynamic_partitions_store=self.instance):
            return build_run_requests_with_backfill_policies(
                wanted, self.defs.resolve_asset_graph(), dynamic_partitions_store=self.instance
            )

    def hear_of(self, failed: dg.ExecuteInProcessResult) -> None:
        sensor = failures_sensor(self.home, self.settings, lambda: self.pipeline)
        sensor(
            dg.build_run_status_sensor_context(
                sensor_name="failures",
                dagster_event=failed.get_run_failure_event(),
                dagster_instance=self.instance,
                dagster_run=failed.dagster_run,
            ).for_run_failure()
        )

    def settle(self, *, most_ticks: int = 8, is_time_for_retries: bool = False) -> list[Requested]:
        """Ticks and runs until nothing more is asked for; what was asked for, tick by tick. Retries are at the first."""
        asked = []
        for number in range(most_ticks):
            if not (requested := self.tick(is_time_for_retries=is_time_for_retries and number == 0)):
                return asked
            asked.append(requested)
            self.run(requested)
        raise AssertionError(f"still at work after {most_ticks} ticks: {asked}")

    def found(self, text: str, *, crawl: str) -> list[str]:
        """Pages of a crawl that search finds in the live index."""
        recipe = resources_of(self.settings, self.home)["recipe"]
        query = query_document(text, (), query_picture_store(), limits=recipe.pictures)
        with closing(resources_of(self.settings, self.home)["index"]) as index:
            embedders = query_embedders(self.home, recipe)
            hits = search_live(self.home, index, embedders, query, top_k=50, where={"crawl": crawl})
        return [hit["url"] for hit in hits]


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    with serving_webhook() as server:
        yield server


@pytest.fixture(scope="module")
def world(small_home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A home that was trained once, and its crawl folder."""
    folder = tmp_path_factory.mktemp("refresh")
    shutil.copytree(small_home, folder / "home")
    shutil.copytree(small_home.parent / "crawl", folder / "crawl")
    return folder / "home", folder / "crawl"


@pytest.fixture(scope="module")
def daemon(world: tuple[Path, Path], webhook: Webhook) -> Iterator[Daemon]:
    """A daemon that has seen the home as it is, and found nothing to do."""
    home, crawl = world
    with open_instance(Home.at(home)) as instance:
        daemon = Daemon(home, crawl, instance, NYX_ALERT_WEBHOOK=webhook.url)
        daemon.land()
        assert daemon.settle() == []
        yield daemon


OF_A_PARTITION = {"crawl_documents", "rejected_documents", "link_rot", "chunked_corpus", "promoted/chunk_embeddings"}


def asked_for(asked: list[Requested]) -> Requested:
    """By asset: partitions that were asked for, over all ticks."""
    total: Requested = {}
    for requested in asked:
        for name, keys in requested.items():
            total[name] = total.get(name, set()) | keys
    return total


def retraining(daemon: Daemon) -> dg.JobDefinition:
    return retrain_job(daemon.home, daemon.settings, lambda settings: daemon.pipeline)


def test_the_retraining_job_is_the_main_job(daemon: Daemon) -> None:
    (daemon.home.root / "catalog.duckdb").unlink(missing_ok=True)
    result = retraining(daemon).execute_in_process(instance=daemon.instance)
    assert result.success
    assert (daemon.home.root / "catalog.duckdb").is_file()
    made = result.get_step_success_events()[0]
    assert made.step_key == "bring_everything_up_to_date"


def test_a_landing_is_searchable_and_trains_nothing(daemon: Daemon) -> None:
    trained = daemon.home.artifacts.require("promoted_checkpoint").commit
    deliver(daemon.crawl, "harbour", "The lighthouse keeper of Ostra counts the herring boats.")
    deliver(daemon.crawl, "orchard", "Quinces ripen late beside the northern wall.")
    daemon.land()
    asked = daemon.settle()
    assert asked_for(asked) == {
        **{name: {"harbour", "orchard"} for name in OF_A_PARTITION}, "final_index": {None}, "catalog": {None},
    }  # fmt: skip
    assert asked[0].keys() == OF_A_PARTITION
    assert daemon.found("herring boats", crawl="harbour") == ["https://harbour.example/0"]
    assert daemon.found("quinces", crawl="orchard") == ["https://orchard.example/0"]
    assert daemon.home.artifacts.require("promoted_checkpoint").commit == trained
    assert not {"harbour", "orchard"} & set(daemon.home.tables.partitions("raw_qa"))
    assert daemon.settle() == []


def test_a_changed_delivery_is_made_again_alone(daemon: Daemon) -> None:
    deliver(daemon.crawl, "meadow", "Before the flood the meadow was dry.")
    deliver(daemon.crawl, "heath", "Heather burns in spring.")
    daemon.land()
    daemon.settle()
    deliver(daemon.crawl, "meadow", "After the flood the meadow was a lake.", "Herons came to it.")
    daemon.land()
    asked = asked_for(daemon.settle())
    assert asked == {**{name: {"meadow"} for name in OF_A_PARTITION}, "final_index": {None}, "catalog": {None}}
    assert len(daemon.found("herons", crawl="meadow")) == 2


def test_the_same_content_again_ends_at_its_documents(daemon: Daemon) -> None:
    file = deliver(daemon.crawl, "mill", "The mill stands still.")
    daemon.land()
    daemon.settle()
    versions = daemon.home.tables.read("final_index").to_pylist()
    os.utime(file, (1, 1))
    daemon.land()
    assert asked_for(daemon.settle()).keys() <= {"crawl_documents", "rejected_documents", "link_rot"}
    assert daemon.home.tables.read("final_index").to_pylist() == versions
    daemon.land()
    assert daemon.settle() == []


def test_what_fails_in_a_run_of_many_holds_nobody_up_and_is_quarantined_in_the_end(
    daemon: Daemon, webhook: Webhook
) -> None:
    """One delivery cannot be read, so the step fails, and the checks are not run that would find fault with another."""
    break_rows(deliver(daemon.crawl, "wreck", *(f"Timber {number} of a wreck." for number in range(50))))
    good = {"shore": "Dunes move inland.", "tide": "The tide turns at six.", "xebec": "A xebec has three masts."}
    for crawl, text in {**good, "reef": "The reef has one page."}.items():
        deliver(daemon.crawl, crawl, text)
    daemon.land()
    count_one_more_page(daemon.home, "reef")
    asked = daemon.settle()
    assert asked[0] == {name: {*good, "wreck", "reef"} for name in OF_A_PARTITION}
    assert len(daemon.requests_for(asked[0])) == 1
    held_up = {"chunked_corpus", "promoted/chunk_embeddings"}
    assert {name: asked[1].get(name) for name in held_up} == {name: set(good) for name in held_up}
    assert not (OF_A_PARTITION - held_up) & asked[1].keys()
    assert asked_for(asked[2:]) == {"final_index": {None}, "catalog": {None}}, (
        "what failed is not asked for at every tick"
    )
    assert daemon.found("dunes", crawl="shore") == ["https://shore.example/0"]
    assert daemon.found("masts", crawl="xebec") == ["https://xebec.example/0"]
    of_step, of_check = sorted(message["text"] for message in webhook.posted)
    assert of_step.startswith("crawl_documents failed: Failure: 1 of 5 partitions failed, e.g. wreck: ")
    assert of_check.startswith("crawl_documents of partition reef is quarantined, its check every_page_is")

    for _ in range(2):
        retried = daemon.settle(is_time_for_retries=True)
        assert {key for name in OF_A_PARTITION for key in retried[0][name]} == {"wreck", "reef"}
        assert asked_for(retried[1:]).keys() <= {"final_index", "catalog"}
    assert [one.crawl for one in quarantined_partitions(daemon.home)] == ["reef", "wreck"]
    told = [message["text"] for message in webhook.posted[2:]]
    assert len([text for text in told if "quarantined after 3 attempts at crawl_documents" in text]) == 2
    assert len(set(told)) == len(told), "the same failure is told once"
    assert not daemon.instance.has_dynamic_partition("crawl", "wreck")
    assert daemon.settle(is_time_for_retries=True) == []
    daemon.landing_cursor = None  # a lost cursor does not let it in
    daemon.land()
    assert not daemon.instance.has_dynamic_partition("crawl", "wreck")

    deliver(daemon.crawl, "wreck", "A wreck, delivered whole.")
    deliver(daemon.crawl, "reef", "The reef has one page.", "It has one more.")
    daemon.land()
    daemon.settle()
    assert quarantined_partitions(daemon.home) == []
    assert daemon.found("wreck", crawl="wreck") == ["https://wreck.example/0"]
    assert len(daemon.found("reef", crawl="reef")) == 2, "a check that passes now is not taken for the one that failed"
    assert daemon.settle(is_time_for_retries=True) == []


def test_of_two_checks_of_a_table_the_one_that_finds_a_fault_is_told(daemon: Daemon, webhook: Webhook) -> None:
    deliver(daemon.crawl, "atoll", "An atoll is a ring.")
    daemon.land()
    count_one_more_page(daemon.home, "atoll")
    num_told = len(webhook.posted)
    daemon.settle()
    (told,) = (message["text"] for message in webhook.posted[num_told:])
    assert told.startswith("crawl_documents of partition atoll is quarantined, its check every_page_is")
    deliver(daemon.crawl, "atoll", "An atoll is a ring of coral.")
    daemon.land()
    daemon.settle()
    assert daemon.found("coral", crawl="atoll") == ["https://atoll.example/0"]


def test_what_fails_by_itself_after_its_input_was_made_is_tried_once_more_and_not_at_every_tick() -> None:
    @dg.asset(deps=["landed"], partitions_def=CRAWL, automation_condition=made_from("landed", is_first=True))
    def documents() -> None: ...

    @dg.asset(deps=[documents], partitions_def=CRAWL, automation_condition=made_from("documents"))
    def chunks() -> None:
        raise ValueError("no end of a page")

    defs, cursor, asked = dg.Definitions([dg.AssetSpec("landed", partitions_def=CRAWL), documents, chunks]), None, []
    with DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(str(CRAWL.name), ["a"])
        instance.report_runless_asset_event(dg.AssetMaterialization("landed", partition="a"))
        for minute in range(5):
            at = datetime(2026, 11, 21, 12, 1 + minute, tzinfo=UTC)
            tick = dg.evaluate_automation_conditions(defs, instance, cursor=cursor, evaluation_time=at)
            cursor = tick.cursor
            keys = [name for name in ("documents", "chunks") if tick.get_requested_partitions(key_of(name))]
            asked.append(keys)
            if keys:
                defs.resolve_implicit_global_asset_job_def().execute_in_process(
                    instance=instance, partition_key="a", asset_selection=[*map(key_of, keys)], raise_on_error=False
                )
    assert asked == [["documents", "chunks"], ["chunks"], [], [], []]


def test_no_index_is_asked_for_before_there_is_a_checkpoint(tmp_path: Path) -> None:
    def made(name: str, partition: str | None) -> None:
        tags = {DATA_VERSION_TAG: "1"}
        instance.report_runless_asset_event(dg.AssetMaterialization(key_of(name), partition=partition, tags=tags))

    (tmp_path / "crawl").mkdir()
    with DagsterInstance.ephemeral() as instance:
        daemon = Daemon(tmp_path / "home", tmp_path / "crawl", instance)
        deliver(daemon.crawl, "creek", "The creek is dry.")
        daemon.land()
        assert daemon.tick().keys() == OF_A_PARTITION - {"promoted/chunk_embeddings"}
        for name in OF_A_PARTITION - {"promoted/chunk_embeddings"}:
            made(name, "creek")
        assert daemon.tick() == {}
        assert daemon.tick(is_time_for_retries=True) == {}
        made("promoted_checkpoint", None)
        made("promoted/chunk_embeddings", "creek")
        assert daemon.tick().keys() == {"final_index"}


@pytest.mark.parametrize("refresh_looks_first", [True, False])
def test_after_dagsters_records_are_lost_nothing_is_made_again_and_what_lands_is_made(
    small_home: Path, tmp_path: Path, refresh_looks_first: bool
) -> None:
    shutil.copytree(small_home, tmp_path / "home")
    shutil.copytree(small_home.parent / "crawl", tmp_path / "crawl")
    with DagsterInstance.ephemeral() as instance:
        daemon = Daemon(tmp_path / "home", tmp_path / "crawl", instance)
        if refresh_looks_first:
            assert daemon.tick() == {}
        for _ in range(4):
            daemon.landing_tick()
            assert daemon.tick() == {}
        assert set(instance.get_dynamic_partitions(str(CRAWL.name))) == {"2026-01-atlas", "2026-02-almanac"}
        assert daemon.tick(is_time_for_retries=True) == {}
        deliver(daemon.crawl, "cove", "The cove has a jetty.")
        daemon.land()
        assert asked_for(daemon.settle()) == {
            **{name: {"cove"} for name in OF_A_PARTITION}, "final_index": {None}, "catalog": {None},
        }  # fmt: skip


def retraining_tick(daemon: Daemon, **env: str) -> tuple[list[str], str]:
    """Run keys that the retraining sensor asks for, and why it asks for none."""
    settings = Settings.from_env({"NYX_HOME": str(daemon.home.root), "NYX_RECIPE": "smoke", **env})
    with dg.build_sensor_context(instance=daemon.instance) as context:
        tick = retraining_sensor(daemon.home, settings, retraining(daemon)).evaluate_tick(context)
    return [str(request.run_key) for request in tick.run_requests or []], tick.skip_message or ""


def test_a_retraining_is_due_when_enough_is_new_and_never_twice_for_the_same_content(daemon: Daemon) -> None:
    assert retraining_tick(daemon) == ([], "no retraining is started by itself: set NYX_RETRAIN=on, or use `nyx run`")
    deliver(daemon.crawl, "marsh", "Sedge grows in the marsh.", "Snipe breed in it.")
    daemon.land()
    daemon.settle()
    change = change_since_training(daemon.home)
    assert "marsh" in change.crawls
    assert not {"2026-01-atlas", "2026-02-almanac"} & set(change.crawls), "what was trained on is no change"
    assert 0 < change.share < 0.9
    keys, why = retraining_tick(daemon, NYX_RETRAIN="on", NYX_RETRAIN_SHARE="0.9")
    assert keys == []
    assert f"{change.num_pages} pages" in why
    (by_share,), _ = retraining_tick(daemon, NYX_RETRAIN="on", NYX_RETRAIN_SHARE="0.01")
    assert retraining_tick(daemon, NYX_RETRAIN="on", NYX_RETRAIN_SHARE="0.9", NYX_RETRAIN_PAGES="2") == ([by_share], "")
    deliver(daemon.crawl, "fen", "Reeds stand in the fen.")
    daemon.land()
    daemon.settle()
    assert retraining_tick(daemon, NYX_RETRAIN="on", NYX_RETRAIN_SHARE="0.01")[0] != [by_share]


AT_NIGHT = {"NYX_RETRAIN": "on", "NYX_RETRAIN_CRON": "0 3 * * *", "NYX_RETRAIN_TIMEZONE": "Europe/Berlin"}


def schedule_tick(daemon: Daemon) -> tuple[list[dg.RunRequest], str]:
    """What the schedule asks for at a due time, and why it asks for nothing."""
    settings = Settings.from_env({"NYX_HOME": str(daemon.home.root), "NYX_RECIPE": "smoke", **AT_NIGHT})
    [schedule] = retraining_schedules(daemon.home, settings, retraining(daemon))
    with dg.build_schedule_context(daemon.instance, datetime(2026, 11, 21, 2, 0, tzinfo=UTC)) as context:
        tick = schedule.evaluate_tick(context)
    return list(tick.run_requests or []), tick.skip_message or ""


class Tomorrow(datetime):
    """The clock of the day after."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Tomorrow":
        return super().now(tz) + timedelta(days=1)


def run_until(stage: str, daemon: Daemon, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
    return retraining(daemon).execute_in_process(
        run_config={"only_until": stage}, instance=daemon.instance, tags=dict(request.tags), raise_on_error=False
    )


def write_questions_again(daemon: Daemon, *, without: int = 0) -> None:
    """As a backfill does, with as many questions less."""
    rows = daemon.home.tables.read("raw_qa", partition="2026-01-atlas")
    commit = daemon.home.commit("raw_qa", "2026-01-atlas")
    assert commit is not None
    with daemon.home.tables.write("raw_qa", RAW_QA, partition="2026-01-atlas", provenance=commit.provenance) as table:
        table.append(rows.slice(without).to_pylist())


def test_questions_that_were_written_again_are_a_change_and_the_same_questions_are_none(daemon: Daemon) -> None:
    before = change_since_training(daemon.home)
    assert "2026-01-atlas" not in before.crawls
    write_questions_again(daemon)
    assert change_since_training(daemon.home) == before
    write_questions_again(daemon, without=1)
    assert change_since_training(daemon.home).crawls == ("2026-01-atlas", *before.crawls)


@pytest.mark.long
def test_at_its_time_anything_that_is_new_is_trained_on_once_and_the_same_content_starts_nothing(
    daemon: Daemon,
) -> None:
    write_questions_again(daemon, without=1)
    keys, why = retraining_tick(daemon, **AT_NIGHT)
    assert keys == []  # before its time nothing starts
    assert why.endswith("one starts at anything at 0 3 * * * (Europe/Berlin)")

    # landings come in at that very moment: the due time is kept, and used when they are through
    landing = daemon.instance.add_run(dg.DagsterRun("__ASSET_JOB", tags=REFRESH_TAGS, status=RunStatus.STARTED))
    assert schedule_tick(daemon)[1].startswith("landings are still coming in; so far: ")
    assert retraining_tick(daemon, **AT_NIGHT)[1].startswith("landings are still coming in; so far: ")
    daemon.instance.report_run_failed(landing)
    [kept], _ = retraining_tick(daemon, **AT_NIGHT)
    assert retraining_tick(daemon, **AT_NIGHT)[0] == []  # it is used up

    # at the next one the run is as the schedule asks for it, under the name that the sensor has for the same content
    [request], _ = schedule_tick(daemon)
    assert request.run_key == kept
    assert run_until("negatives", daemon, request).success
    assert change_since_training(daemon.home).num_trained_chunks == 0, "what is listed and not trained on is new"
    assert run_until("pretraining", daemon, request).success
    unfinished = change_since_training(daemon.home)
    assert unfinished.is_unfinished
    assert "2026-02-almanac" in unfinished.crawls, "all of it, until the training came to its end"
    assert schedule_tick(daemon)[1].startswith("this was tried today and failed: ")
    with mock.patch("sensors.retraining.datetime", Tomorrow):
        assert len(schedule_tick(daemon)[0]) == 1
    assert run_until("finetuning", daemon, request).success
    assert change_since_training(daemon.home) == unfinished, "no gate has judged it"
    assert run_until("gate", daemon, request).success
    assert change_since_training(daemon.home).crawls == ()
    trained = daemon.home.artifacts.require("pretrained_checkpoint").commit
    assert schedule_tick(daemon) == ([], NOTHING_NEW)
    assert retraining_tick(daemon, **AT_NIGHT) == ([], NOTHING_NEW)
    assert run_until("pretraining", daemon, request).success  # asked for in the same moment
    assert daemon.home.artifacts.require("pretrained_checkpoint").commit == trained

    # what was tried and failed is tried again tomorrow, whoever asks
    write_questions_again(daemon, without=1)
    [request], _ = schedule_tick(daemon)
    daemon.instance.add_run(dg.DagsterRun("retrain", tags=dict(request.tags), status=RunStatus.FAILURE))
    assert schedule_tick(daemon)[1].startswith("this was tried today and failed: ")
    assert retraining_tick(daemon, NYX_RETRAIN="on", NYX_RETRAIN_SHARE="0")[1].startswith("this was tried today")


def test_a_time_that_is_none_is_refused_when_the_pipeline_is_loaded(daemon: Daemon) -> None:
    for cron in ("0 3 * *", "61 3 * * *", "every night"):
        settings = Settings.from_env({**AT_NIGHT, "NYX_HOME": str(daemon.home.root), "NYX_RETRAIN_CRON": cron})
        with pytest.raises(ConfigError, match="^NYX_RETRAIN_CRON must be five fields as cron writes them"):
            build_pipeline(settings, daemon.home)
    assert build_pipeline(daemon.settings, daemon.home).defs.schedules == []
