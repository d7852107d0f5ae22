"""A day with a running `dagster dev`, asked over GraphQL and seen in a browser.

Three deliveries land (a duplicate, one that comes in two parts), one of them changes, two partitions are back-filled, a
broken delivery fails alone and is mended, a failed check is told once and mended, a retraining is refused by the gate, and
questions of two partitions are written again with another prompt.
Scenes build on each other; most of their time is the daemon's own pace, and a run is a process of its own.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from benchmarks.soak import page
from nyx_assets.definitions import resources_of
from nyx_assets.query_pictures import query_embedders, query_picture_store
from nyx_assets.searching import query_document, search_live
from resources.home import Home
from resources.settings import Settings
from tests.deliveries import break_rows, deliver
from tests.nyx_assets.test_backfilling import own_prompts
from tests.webhook import Webhook, serving_webhook

pytestmark = [pytest.mark.browser, pytest.mark.long]

PATIENCE_SECONDS = 420.0
LIGHTHOUSE = "The lighthouse keeper of Ostra counts the herring boats."
ARCHIVE = 40
"""Pages of the delivery on which a retraining can be judged."""
TRAINED = ("raw_qa", "filtered_qa", "pretrained_checkpoint", "finetuned_checkpoint", "quality_gate")
CORPUS_STEP = ("crawl_documents", "rejected_documents", "link_rot")
"""Made together, by one function."""

EVENTS = """
query Events($path: [String!]!) { assetNodeOrError(assetKey: {path: $path}) { ... on AssetNode {
    assetMaterializations(limit: 400) { partition runId timestamp metadataEntries { label
        ... on IntMetadataEntry { intValue } ... on TextMetadataEntry { text }
    } }
} } }"""
CHECKS = """
query Checks($asset: AssetKeyInput!, $check: String!) { assetCheckExecutions(assetKey: $asset, checkName: $check, limit: 20) {
    status runId
} }"""
STALE = """
query Stale($asset: AssetKeyInput!) { assetNodeOrError(assetKey: $asset) { ... on AssetNode {
    harbour: staleStatus(partition: "harbour") twin: staleStatus(partition: "twin") slow: staleStatus(partition: "slow")
} } }"""
BACKFILL = """
mutation Fill($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
} }"""
STATUS = """
query Status($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"""


class Day:
    """A home, its crawl folder, and Dagster at work on both."""

    def __init__(self, folder: Path, dagster: Any, wait_until: Callable[..., Any], webhook: Webhook) -> None:
        self.home, self.crawl = Home.at(folder / "home"), folder / "crawl"
        self.dagster, self._wait, self._webhook = dagster, wait_until, webhook
        self.settings = Settings.from_env({"NYX_HOME": str(self.home.root), "NYX_RECIPE": "smoke"})
        self.num_before = self.num_live()

    @property
    def told(self) -> list[str]:
        """What the alerts said so far."""
        return self._webhook.told

    def deliver(self, key: str, *texts: str, is_whole: bool = True) -> None:
        deliver(self.crawl, key, *texts, is_whole=is_whole)

    def events(self, asset: str) -> list[dict[str, Any]]:
        """Materializations of an asset, the newest first."""
        node = self.dagster.query(EVENTS, path=asset.split("/"))["assetNodeOrError"]
        return node["assetMaterializations"]

    def made(self, asset: str, crawl: str) -> int:
        return sum(event["partition"] == crawl for event in self.events(asset))

    def facts(self, asset: str) -> dict[str, Any]:
        """What the newest materialization of an asset says of itself: numbers and short texts, by their labels."""
        entries = self.events(asset)[0]["metadataEntries"]
        return {entry["label"]: value for entry in entries for value in (entry.get("intValue", entry.get("text")),)}

    def checked(self, asset: str, check: str) -> list[str]:
        """How a check ended, the newest first."""
        asked = self.dagster.query(CHECKS, asset={"path": asset.split("/")}, check=check)
        return [execution["status"] for execution in asked["assetCheckExecutions"]]

    def wait(self, what: str, find: Callable[[], Any]) -> Any:
        return self._wait(what, find, seconds=PATIENCE_SECONDS)

    def indexed(self, crawl: str) -> set[str]:
        """Pages of a crawl in the live index."""
        resources = resources_of(self.settings, self.home)
        query = query_document("a page", (), query_picture_store(), limits=resources["recipe"].pictures)
        with closing(resources["index"]) as index:
            embedders = query_embedders(self.home, resources["recipe"])
            hits = search_live(self.home, index, embedders, query, top_k=50, where={"crawl": crawl})
        return {hit["url"] for hit in hits}

    def live(self) -> dict[str, Any]:
        """The live version of the index, by its row in the table."""
        (row,) = [row for row in self.home.tables.read("final_index").to_pylist() if row["is_live"]]
        return row

    def num_live(self) -> int:
        return self.live()["num_chunks"]

    def failed_run(self) -> str:
        """The newest run that failed; "" if none did."""
        return next((run["runId"] for run in self.dagster.runs() if run["status"] == "FAILURE"), "")

    def end_of(self, run_id: str) -> str:
        """What a run ended with."""
        ended = ("SUCCESS", "FAILURE", "CANCELED")
        self.wait(f"the end of run {run_id}", lambda: self.dagster.status_of(run_id) in ended)
        return self.dagster.status_of(run_id)

    def picture_of_one_crawl(self) -> tuple[Path, str]:
        """The file of a picture that only one crawl shows, and that crawl."""
        shown = self.home.tables.query(
            "SELECT segment.image AS digest, any_value(crawl) AS crawl FROM (SELECT unnest(segments) AS segment, crawl "
            "FROM crawl_documents) WHERE digest IS NOT NULL GROUP BY digest HAVING count(DISTINCT crawl) = 1 ORDER BY digest"
        ).to_pylist()
        return Path(self.home.images.path(shown[0]["digest"])), shown[0]["crawl"]

    def see(self, browser: Any, page: str, picture: Path, *words: str) -> None:
        """Wait until a page of the UI says all of these words, and keep a picture of it.

        The page is left again: one that is open asks its server all the time.
        """
        browser.open(f"{self.dagster.url}/{page}")
        browser.wait_for_words(*words)
        browser.picture(picture)
        browser.open("about:blank")


@pytest.fixture(scope="module")
def day(
    small_home: Path,
    tmp_path_factory: pytest.TempPathFactory,
    serve_dagster: Callable[..., Any],
    wait_until: Callable[..., Any],
) -> Iterator[Day]:
    folder = tmp_path_factory.mktemp("day")
    shutil.copytree(small_home, folder / "home")
    shutil.copytree(small_home.parent / "crawl", folder / "crawl")
    (folder / "home" / "crawl.json").unlink()  # it is made from this folder from now on
    with serving_webhook() as webhook:
        crawl = str(folder / "crawl")
        env = {"NYX_CRAWL": crawl, "NYX_LANDING_SECONDS": "10", "NYX_ALERT_WEBHOOK": webhook.url}
        with serve_dagster(folder / "home", folder / "log", **env) as dagster:
            yield Day(folder, dagster, wait_until, webhook)


def test_three_deliveries_land_and_are_searchable_and_none_is_trained_on(
    day: Day, browser: Any, tmp_path: Path
) -> None:
    day.deliver("harbour", LIGHTHOUSE)
    day.deliver("twin", LIGHTHOUSE)  # a duplicate
    day.deliver("slow", "Half of it.", is_whole=False)  # nobody marks it, and it stays the same for a while
    day.wait("all three in the live index", lambda: day.num_live() == day.num_before + 3)
    assert day.indexed("harbour") == {"https://harbour.example/0"}
    assert not {crawl for name in TRAINED for crawl in ("harbour", "twin", "slow") if day.made(name, crawl)}
    day.wait("the index in Dagster's records", lambda: day.facts("final_index").get("chunks") == day.num_before + 3)
    day.see(browser, "assets/landed_crawl?view=partitions", tmp_path / "landed.png", "landed_crawl", "Materialized (5)")
    shown = ("recall_at_10", str(day.num_before + 3))
    day.see(browser, "assets/final_index?view=events", tmp_path / "searchable.png", *shown)


def test_the_rest_of_a_delivery_comes_later_and_it_is_made_again_alone(day: Day) -> None:
    before = day.made("chunked_corpus", "harbour")
    day.deliver("slow", "Half of it.", "The other half.", is_whole=False)
    day.wait("both pages of slow", lambda: day.num_live() == day.num_before + 4)
    assert len(day.indexed("slow")) == 2
    assert day.made("chunked_corpus", "harbour") == before
    assert day.made("landed_crawl", "slow") >= 2


def test_a_backfill_makes_two_partitions_by_name_and_no_other(day: Day, browser: Any, tmp_path: Path) -> None:
    before = {crawl: day.made("chunked_corpus", crawl) for crawl in ("harbour", "twin", "slow")}
    params = {"assetSelection": [{"path": ["chunked_corpus"]}], "partitionNames": ["harbour", "twin"]}
    answer = day.dagster.query(BACKFILL, params=params)["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer
    backfill = answer["backfillId"]
    done = lambda: day.dagster.query(STATUS, id=backfill)["partitionBackfillOrError"]["status"]  # noqa: E731
    day.wait("the end of the backfill", lambda: done() not in ("REQUESTED", "CANCELING"))
    assert done() == "COMPLETED_SUCCESS"
    after = {crawl: day.made("chunked_corpus", crawl) for crawl in before}
    assert after["slow"] == before["slow"]
    assert min(after["harbour"] - before["harbour"], after["twin"] - before["twin"]) >= 1
    day.see(browser, f"runs/b/{backfill}", tmp_path / "backfill.png", "100% completed", "chunked_corpus")


def test_a_broken_delivery_fails_alone_and_is_mended_by_delivering_it_again(
    day: Day, browser: Any, tmp_path: Path
) -> None:
    file = day.crawl / "wreck" / "part-0.parquet"
    file.parent.mkdir()
    day.deliver("wreck", *(f"Timber {number}" for number in range(50)), is_whole=False)
    break_rows(file)
    (file.parent / "_SUCCESS").touch()
    failed = day.wait("the failed run", day.failed_run)
    day.see(browser, f"runs/{failed}", tmp_path / "broken.png", "Failure", "crawl_documents")
    day.deliver("wreck", "Salvaged timber.")
    day.wait("the wreck in the live index", lambda: day.num_live() == day.num_before + 5)
    (told,) = [text for text in day.told if "part-0.parquet" in text]
    assert "crawl_documents of partition wreck failed" in told
    assert day.made("crawl_documents", "wreck") == 1


def test_a_failed_check_is_told_once_and_passes_when_its_partition_is_made_again(
    day: Day, browser: Any, tmp_path: Path
) -> None:
    (lost, crawl) = day.picture_of_one_crawl()
    content = lost.read_bytes()
    lost.unlink()
    asset, check = "crawl_documents", "every_picture_is_stored"
    assert day.end_of(day.dagster.launch(checks={asset: check}, partition=crawl)) == "FAILURE"
    assert (
        day.home.tables.quarantine_reason(asset, crawl)
        == f"{check}: picture {lost.stem} is missing in {lost.parents[1]}"
    )
    told = lambda: [text for text in day.told if check in text]  # noqa: E731
    day.wait("the alert", told)
    assert f"{asset} of partition {crawl} is quarantined, its check {check} failed" in told()[0]
    assert day.checked(asset, check)[0] == "FAILED"
    day.see(browser, f"assets/{asset}?view=checks", tmp_path / "failed_check.png", check, asset)

    assert day.end_of(day.dagster.launch(assets=CORPUS_STEP, checks={asset: check}, partition=crawl)) == "SUCCESS"
    assert day.home.tables.quarantine_reason(asset, crawl) is None
    assert lost.read_bytes() == content
    assert len(told()) == 1
    assert day.num_live() == day.num_before + 5, "nothing else followed"
    assert day.checked(asset, check)[0] == "SUCCEEDED"
    day.see(browser, f"assets/{asset}?view=checks", tmp_path / "mended_check.png", check, asset)


def test_a_retraining_that_is_no_better_is_refused_and_what_is_live_stays(
    day: Day, browser: Any, tmp_path: Path
) -> None:
    day.deliver("archive", *(page(number)["texts"][0] for number in range(ARCHIVE)))  # enough for dev questions
    day.wait("the archive in the live index", lambda: day.num_live() == day.num_before + 5 + ARCHIVE)
    live = day.live()
    assert day.end_of(day.dagster.launch(job="retrain")) == "SUCCESS"
    assert all(day.made(name, "harbour") for name in ("raw_qa", "filtered_qa")), "it asked about what had landed"
    assert len(day.events("finetuned_checkpoint")) > 1
    (row,) = day.home.tables.read("quality_gate").to_pylist()
    assert (row["promoted"], row["live_before"], row["decided_by"]) == (False, live["checkpoint"], "gate")
    assert row["candidate"] != live["checkpoint"]
    assert day.live()["checkpoint"] == live["checkpoint"]
    assert day.indexed("wreck") == {"https://wreck.example/0"}
    facts = day.facts("quality_gate")
    assert facts["promoted"] == "nothing"
    assert facts["reason"].startswith("the candidate is not shown to be better than what is live: ndcg@10 on dev: ")
    day.see(browser, "assets/quality_gate?view=events", tmp_path / "refused.png", facts["reason"][:30], "nothing")
    clusters = day.home.tables.query(
        "SELECT crawl, cluster FROM page_clusters JOIN crawl_documents USING (doc_id)"
    ).to_pylist()
    (first, second) = [{row["cluster"] for row in clusters if row["crawl"] == key} for key in ("harbour", "twin")]
    assert first == second, "the duplicate was seen: both pages stand in one split"
    assert day.facts("page_clusters")["pages_of_the_largest"] >= 2


def test_questions_of_two_partitions_are_written_again_with_another_prompt_from_the_launchpad(
    day: Day, browser: Any, tmp_path: Path
) -> None:
    before = {crawl: day.made("raw_qa", crawl) for crawl in ("harbour", "twin", "slow")}
    fresh = dict.fromkeys(before, "FRESH")
    assert day.dagster.query(STALE, asset={"path": ["filtered_qa"]})["assetNodeOrError"] == fresh
    config = {"partitions": ["harbour", "twin"], "settings": {"NYX_PROMPTS": str(own_prompts(tmp_path))}}
    run = day.dagster.launch(job="backfill", config=config)
    assert day.end_of(run) == "SUCCESS"
    after = {crawl: day.made("raw_qa", crawl) for crawl in before}
    assert after["slow"] == before["slow"]
    assert all(after[crawl] > before[crawl] for crawl in ("harbour", "twin"))
    stale = {"harbour": "STALE", "twin": "STALE", "slow": "FRESH"}
    assert day.dagster.query(STALE, asset={"path": ["filtered_qa"]})["assetNodeOrError"] == stale
    day.see(browser, f"runs/{run}", tmp_path / "written_again.png", "make_again", "Success")


def test_the_partitions_page_shows_the_day(day: Day, browser: Any, tmp_path: Path) -> None:
    shown = ("Materialized (7)", "Missing (0)", "Failed (0)")
    day.see(browser, "assets/chunked_corpus?view=partitions", tmp_path / "partitions.png", *shown)
