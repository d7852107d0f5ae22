"""The corpus stage as the main job runs it: every kind of delivery, and a landing that computes only its own."""

import threading
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from nyx_assets.corpus.assets import taken_pages
from nyx_assets.corpus.deliveries import find_deliveries
from nyx_assets.corpus.landing import land
from nyx_assets.definitions import build_pipeline
from nyx_assets.main_job import run_main_job
from nyx_assets.materialization import Step
from nyx_assets.partitions import CRAWL
from nyx_assets.recipes import tiny
from nyx_assets.registering import open_instance, register_deliveries
from nyx_assets.taken_down import Takedown, keep_takedown
from resources.fetching import NotFetched
from resources.home import Home
from resources.leases import Leases
from resources.settings import Settings
from resources.stores import SharedHome

TEXTS = [f"The {name} gate of the {name} harbour opens at noon on every {name} day of the year." for name in "abcde"]


@pytest.fixture
def run(tmp_path):
    """Runs the corpus stage over a crawl folder; returns how many partitions of each asset were made."""
    settings = Settings.from_env({"NYX_HOME": str(tmp_path / "home")})
    home = Home.at(settings.home)

    def run(crawl: Path) -> dict[str, int]:
        with open_instance(home) as instance:
            assert register_deliveries(home, instance, crawl) == ()
            pipeline = build_pipeline(settings, home)
            corpus = {name: spec for name, spec in pipeline.specs.items() if spec.group_name == "corpus"}
            report = run_main_job(replace(pipeline, specs=corpus), instance, home)
        assert report.failures == []
        return {name: asset.made for name, asset in report.by_asset.items()}

    return run, home


def test_a_landing_computes_its_own_signatures_only_and_joins_the_clusters_of_what_came_before(
    run, tmp_path, row, write_parquet, picture
):
    run, home = run
    crawl = tmp_path / "crawl"
    picture(crawl / "images" / "a.png")
    rows = [
        row((None, text), ("images/a.png", None), url=f"https://s.org/{number}")
        for number, text in enumerate(TEXTS[:2])
    ]
    write_parquet(crawl / "one.parquet", [*rows[:1], row((None, TEXTS[1]), url="https://s.org/1")])
    (crawl / "two").mkdir()
    (crawl / "two" / "page.md").write_text(f"# Other\n\n{TEXTS[2]}\n")
    made = run(crawl)
    assert (made["page_signatures"], made["chunk_signatures"], made["page_clusters"]) == (2, 2, 1)
    assert len({one["cluster"] for one in home.tables.read("page_clusters").to_pylist()}) == 3
    assert set(run(crawl).values()) == {0}

    write_parquet(crawl / "three.parquet", [row((None, TEXTS[1].upper()), url="https://elsewhere.org/x")])
    made = run(crawl)
    assert (made["page_signatures"], made["picture_signatures"], made["chunk_signatures"]) == (1, 1, 1)
    assert (made["near_duplicates"], made["page_clusters"]) == (1, 1)
    clusters = home.tables.query(
        "SELECT url, cluster FROM page_clusters JOIN crawl_documents USING (doc_id)"
    ).to_pylist()
    cluster_by_url = {one["url"]: one["cluster"] for one in clusters}
    assert cluster_by_url["https://elsewhere.org/x"] == cluster_by_url["https://s.org/1"]
    assert len(set(cluster_by_url.values())) == 3
    near = home.tables.read("near_duplicates").to_pylist()
    assert sorted((one["kind"], one["method"]) for one in near) == [("chunk", "equal")] * 2 + [("page", "equal")] * 2


def test_a_page_that_is_taken_down_while_a_host_waits_for_its_turn_is_not_taken_in(
    bucket: str, tmp_path, row, write_parquet, monkeypatch
):
    write_parquet(
        tmp_path / "crawl" / "one.parquet",
        [row((None, text), url=f"https://s.org/{number}") for number, text in enumerate(TEXTS[:2])],
    )
    place = SharedHome(store=bucket, local=tmp_path / "here", has_index_server=False)
    home = replace(Home.at(place), leases=Leases(f"{bucket}/leases", seconds=5))
    other = Home.at(replace(place, local=tmp_path / "there"))
    (delivery,) = find_deliveries(tmp_path / "crawl").deliveries
    land(home, delivery)
    waits, begun = threading.Event(), threading.Event()
    monkeypatch.setattr(Step, "log", lambda step, message: waits.set() if message.startswith("waiting") else None)

    def work_and_take_down() -> None:
        with other.held("link_rot, rejected_documents, crawl_documents of one", log=print):
            begun.set()
            assert waits.wait(60)
            request = Takedown(kind="url", value="https://s.org/1", asked_at="now", is_done=False)
            keep_takedown(other, request)

    working = threading.Thread(target=work_and_take_down)
    working.start()
    assert begun.wait(30)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(str(CRAWL.name), ["one"])
        resources = {"home": home, "recipe": tiny(), "web_pictures": NotFetched()}
        assert dg.materialize([taken_pages], instance=instance, resources=resources, partition_key="one").success
    working.join()
    assert home.tables.read("crawl_documents")["url"].to_pylist() == ["https://s.org/0"]
    rejected = home.tables.read("rejected_documents").to_pylist()
    assert [(one["reference"], one["rule"]) for one in rejected] == [("https://s.org/1", "taken_down")]
