"""A day with a running `dagster dev`: what lands is searchable, a subset is back-filled, a failed check is told and mended.

It takes a minute or two on a quiet machine, most of it the daemon's own pace (a look into the folder every 30 seconds).
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nyx_assets.definitions import resources_of
from nyx_assets.query_pictures import query_embedders, query_picture_store
from nyx_assets.searching import query_document, search_live
from resources.home import Home
from resources.settings import Settings

pytestmark = pytest.mark.browser

OBELICS = pa.schema(
    [
        ("images", pa.list_(pa.string())),
        ("texts", pa.list_(pa.string())),
        ("metadata", pa.string()),
        ("general_metadata", pa.string()),
    ]
)
PATIENCE_SECONDS = 420.0

EVENTS = """
query Events($path: [String!]!) { assetNodeOrError(assetKey: {path: $path}) { ... on AssetNode {
    assetMaterializations(limit: 400) { partition runId timestamp }
} } }"""
BACKFILL = """
mutation Fill($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
} }"""
STATUS = """
query Status($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"""
RUNS = """
{ runsOrError(limit: 200) { ... on Runs { results { runId jobName status tags { key value } } } } }"""


class Day:
    """A home, its crawl folder, and Dagster at work on both."""

    def __init__(self, folder: Path, dagster: Any, wait_until: Callable[..., Any]) -> None:
        self.home, self.crawl, self.dagster, self._wait = (
            Home.at(folder / "home"),
            folder / "crawl",
            dagster,
            wait_until,
        )
        self.settings = Settings.from_env({"NYX_HOME": str(self.home.root), "NYX_RECIPE": "smoke"})

    def deliver(self, key: str, *texts: str, is_whole: bool = True) -> None:
        """A delivery of one page a text; marked whole, or left to be seen unchanged twice."""
        (self.crawl / key).mkdir(exist_ok=True)
        rows = [
            {
                "images": [None],
                "texts": [text],
                "metadata": "[null]",
                "general_metadata": json.dumps({"url": f"https://{key}.example/{number}"}),
            }
            for number, text in enumerate(texts)
        ]
        pq.write_table(pa.Table.from_pylist(rows, schema=OBELICS), self.crawl / key / "part-0.parquet")
        if is_whole:
            (self.crawl / key / "_SUCCESS").touch()

    def events(self, asset: str) -> list[dict[str, Any]]:
        """Materializations of an asset, the newest first."""
        node = self.dagster.query(EVENTS, path=asset.split("/"))["assetNodeOrError"]
        return node["assetMaterializations"]

    def made(self, asset: str, crawl: str) -> int:
        return sum(event["partition"] == crawl for event in self.events(asset))

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

    def num_live(self) -> int:
        """Chunks in the live version of the index, by the table."""
        (row,) = [row for row in self.home.tables.read("final_index").to_pylist() if row["is_live"]]
        return row["num_chunks"]

    def runs(self) -> list[dict[str, Any]]:
        return self.dagster.query(RUNS)["runsOrError"]["results"]


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
    with serve_dagster(folder / "home", folder / "log", NYX_CRAWL=str(folder / "crawl")) as dagster:
        yield Day(folder, dagster, wait_until)


def test_a_day_of_landings_a_backfill_and_a_repair(day: Day, browser: Any, tmp_path: Path) -> None:
    browser.open("about:blank")  # a page that is open asks its server all the time
    num_chunks = day.num_live()
    day.deliver("harbour", "The lighthouse keeper of Ostra counts the herring boats.")
    day.deliver("twin", "The lighthouse keeper of Ostra counts the herring boats.")  # a duplicate
    day.deliver(
        "slow", "Half of it.", is_whole=False
    )  # a part of it; nobody marks it, and it stays the same for a while
    day.wait("all three in the live index", lambda: day.num_live() == num_chunks + 3)
    assert day.indexed("harbour") == {"https://harbour.example/0"}

    # the rest of the slow one comes, and nobody marks it
    day.deliver("slow", "Half of it.", "The other half.", is_whole=False)
    day.wait("both pages of slow", lambda: day.num_live() == num_chunks + 4)
    assert len(day.indexed("slow")) == 2

    # a backfill of two partitions by name
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

    # a delivery that is broken fails alone; delivered again it is mended, and search finds it
    file = day.crawl / "wreck" / "part-0.parquet"
    file.parent.mkdir()
    day.deliver("wreck", *(f"Timber {number}" for number in range(50)), is_whole=False)
    whole = file.read_bytes()
    file.write_bytes(whole[:4] + bytes(200) + whole[204:])
    (file.parent / "_SUCCESS").touch()
    day.wait("the failed run", lambda: any(run["status"] == "FAILURE" for run in day.runs()))
    day.deliver("wreck", "Salvaged timber.")
    day.wait("the wreck in the live index", lambda: day.num_live() == num_chunks + 5)

    trained = ("raw_qa", "filtered_qa", "pretrained_checkpoint", "finetuned_checkpoint", "quality_gate")
    assert not {crawl for name in trained for crawl in ("harbour", "twin", "slow") if day.made(name, crawl)}
    browser.open(f"{day.dagster.url}/assets/chunked_corpus?view=partitions")
    browser.wait("return document.body.innerText.includes('Materialized (6)')")
    browser.picture(tmp_path / "partitions.png")
    assert "Missing (0)" in browser.text()
