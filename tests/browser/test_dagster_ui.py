"""What a person sees of the pipeline in the Dagster UI, and what the UI's own server says of every asset."""

from pathlib import PurePosixPath
from urllib.parse import quote

import pytest

from nyx_assets.plots import WIDTH

pytestmark = pytest.mark.browser

CRAWLS = ["2026-01-atlas", "2026-02-almanac"]
FOLDERS = {"pretrained_checkpoint", "finetuned_checkpoint", "promoted_checkpoint"}
"""Assets that are folders, not tables: they have no columns."""

ASSETS = """
{ assetNodes {
    assetKey { path } groupName description kinds isPartitioned isMaterializable opVersion
    partitionStats { numPartitions numMaterialized numFailed numMaterializing }
    hasAssetChecks
    assetChecksOrError { ... on AssetChecks { checks {
        name description blocking
        executionForLatestMaterialization { status }
    } } }
    assetMaterializations(limit: 1) {
        label: partition
        metadataEntries { __typename label ... on IntMetadataEntry { intValue } ... on MarkdownMetadataEntry { mdStr }
            ... on TableSchemaMetadataEntry { schema { columns { name type } } } }
        tags { key value }
    }
} }"""

IN_SIDEBAR = "return [...document.querySelectorAll('[class*=AssetSidebarNode] [title]')].map(e => e.title)"
EXPAND_NEXT_GROUP = """
    const closed = [...document.querySelectorAll('[class*=AssetSidebarNode] [aria-label=arrow_drop_down]')]
        .find(arrow => arrow.style.transform.includes('-90deg'))
    closed?.closest('button').click()
    return !closed"""
PICTURES = """
    return [...document.querySelectorAll('[role=dialog] img, .dagster-markdown img')]
        .map(e => [e.src.slice(0, 23), e.complete ? e.naturalWidth : 0])"""


MAY_BE_EMPTY = ("rejected", "refused", "link_rot", "near_duplicates", "page_furniture", "public_examples", "altered")
"""A small crawl need not have anything for these."""


@pytest.fixture(scope="module")
def nodes(dagster):
    """Every asset by its key, as the UI's server describes it."""
    return {"/".join(node["assetKey"]["path"]): node for node in dagster.query(ASSETS)["assetNodes"]}


def test_the_graph_shows_every_asset_in_its_group(browser, dagster, nodes):
    browser.open(f"{dagster.url}/asset-groups")
    browser.wait(f"{IN_SIDEBAR}.includes('corpus')")
    browser.wait(EXPAND_NEXT_GROUP)
    groups = {node["groupName"] for node in nodes.values()}
    expected = sorted([*groups, *(PurePosixPath(name).name for name in nodes)])
    browser.wait(f"{IN_SIDEBAR}.length >= arguments[0]", len(expected))
    assert sorted(browser.run(IN_SIDEBAR)) == expected
    assert len(nodes) == 45


def test_the_graph_draws_a_box_for_each_asset_of_a_group(browser, dagster):
    browser.open(f"{dagster.url}/asset-groups?expanded={quote('global@global:mining', safe='')}")
    drawn = "return [...document.querySelectorAll('foreignObject div')].map(e => e.innerText.trim())"
    shown = browser.wait(f"const names = (() => {{ {drawn} }})(); return names.includes('negatives') && names")
    assert {"negatives", "refused_negatives"} <= set(shown)


def test_a_partitions_page_shows_every_crawl_filled(browser, dagster):
    browser.open(f"{dagster.url}/assets/chunked_corpus?view=partitions")
    browser.wait_for_words("Materialized (2)", "Missing (0)", "Failed (0)", *CRAWLS)


@pytest.mark.parametrize("asset", ["crawl_documents", "chunked_corpus"])
def test_a_preview_shows_its_pictures(browser, dagster, asset):
    browser.open(f"{dagster.url}/assets/{asset}?view=overview")
    browser.click("[Show Markdown]")
    pictures = browser.wait(f"const all = (() => {{ {PICTURES} }})(); return all.length && all.every(p => p[1]) && all")
    assert len(pictures) >= 2
    assert {source for source, _ in pictures} == {"data:image/jpeg;base64,"}
    assert max(width for _, width in pictures) == 96


@pytest.mark.parametrize(
    ("asset", "num_plots"), [("retrieval_scores", 2), ("negatives", 1), ("qa_funnel", 1), ("pretrained_checkpoint", 5)]
)
def test_plots_are_drawn_beside_what_they_show(browser, dagster, asset, num_plots):
    browser.open(f"{dagster.url}/assets/{asset}?view=overview")
    browser.click("[Show Markdown]")
    pictures = browser.wait(f"const all = (() => {{ {PICTURES} }})(); return all.length && all.every(p => p[1]) && all")
    # a checkpoint of so small a crawl has no dev score
    plots = [width for source, width in pictures if source.startswith("data:image/svg+xml")]
    assert plots == [WIDTH] * num_plots


def test_the_report_says_its_verdict_and_where_its_page_lies(browser, dagster):
    browser.open(f"{dagster.url}/assets/report?view=overview")
    browser.wait_for_words("report/nyx.html", "The tuned retriever")


def test_every_partition_of_every_asset_is_filled(nodes):
    partitioned = {name: node["partitionStats"] for name, node in nodes.items() if node["isPartitioned"]}
    assert set(partitioned) >= {"landed_crawl", "crawl_documents", "raw_qa", "promoted/chunk_embeddings"}
    full = {"numPartitions": 2, "numMaterialized": 2, "numFailed": 0, "numMaterializing": 0}
    assert {name: stats for name, stats in partitioned.items() if stats != full} == {}
    assert [name for name, node in nodes.items() if not node["assetMaterializations"]] == []


def test_every_check_is_explained_and_has_passed(nodes):
    checks = {
        (name, check["name"]): check
        for name, node in nodes.items()
        if node["hasAssetChecks"]
        for check in node["assetChecksOrError"]["checks"]
    }
    assert len(checks) >= 8
    for check in checks.values():
        assert check["blocking"], check
        assert check["description"], check
        assert check["executionForLatestMaterialization"]["status"] == "SUCCEEDED", check


def test_every_asset_says_what_it_is(nodes):
    for name, node in nodes.items():
        assert node["groupName"] != "default", name
        assert len(node["description"] or "") > 30, name
        assert node["description"].endswith("."), name
        assert node["kinds"], name
        assert node["opVersion"], name


def test_every_materialization_says_rows_columns_and_version_and_little_more(nodes):
    for name, node in nodes.items():
        [made] = node["assetMaterializations"]
        entry_by_label = {entry["label"]: entry for entry in made["metadataEntries"]}
        assert entry_by_label["dagster/row_count"]["intValue"] > 0 or name.startswith(MAY_BE_EMPTY), name
        if name not in FOLDERS:
            assert len(entry_by_label["dagster/column_schema"]["schema"]["columns"]) >= 1, name
        ours = [label for label in entry_by_label if not label.startswith("dagster/")]
        assert len(ours) <= 7, (name, ours)  # an nDCG of each retriever stands by itself, to be plotted over runs
        assert "dagster/data_version" in {tag["key"] for tag in made["tags"]}, name


def test_the_sensor_runs_and_finds_nothing_new(dagster, wait_until):
    ticks = """{ sensorOrError(sensorSelector: {
        repositoryLocationName: "nyx", repositoryName: "__repository__", sensorName: "landings"
    }) { ... on Sensor { sensorState { status ticks(limit: 1) { status skipReason error { message } } } } } }"""

    def last_tick():
        state = dagster.query(ticks)["sensorOrError"]["sensorState"]
        assert state["status"] == "RUNNING"
        return next((tick for tick in state["ticks"] if tick["status"] not in ("STARTED",)), None)

    tick = wait_until("a tick of the sensor", last_tick)
    assert tick["error"] is None
    assert tick["status"] in ("SKIPPED", "SUCCESS")
