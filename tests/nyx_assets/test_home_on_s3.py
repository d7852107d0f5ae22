"""The main job on an S3 store: the same tables as in a folder, a second host that has nothing left to make, and its search."""

from dataclasses import replace
from pathlib import Path

from nyx_assets.definitions import build_pipeline
from nyx_assets.main_job import run_main_job
from nyx_assets.registering import open_instance, register_deliveries
from resources.home import Home
from resources.settings import Settings


def corpus_made(settings: Settings, crawl: Path) -> dict[str, int]:
    """How many partitions of each asset of the corpus stage this host made."""
    home = Home.at(settings.home)
    home.claim(crawl)
    with open_instance(home) as instance:
        assert register_deliveries(home, instance, crawl) == ()
        pipeline = build_pipeline(settings, home)
        corpus = {name: spec for name, spec in pipeline.specs.items() if spec.group_name == "corpus"}
        report = run_main_job(replace(pipeline, specs=corpus), instance, home)
    assert report.failures == []
    return {name: asset.made for name, asset in report.by_asset.items()}


def test_the_corpus_stage_makes_the_very_tables_on_s3_that_it_makes_in_a_folder(
    small_home: Path, bucket: str, tmp_path: Path
) -> None:
    env = {"NYX_HOME": bucket, "NYX_RECIPE": "smoke"}
    one, other = (Settings.from_env(env | {"NYX_LOCAL": str(tmp_path / name)}) for name in ("one", "other"))
    crawl = small_home.parent / "crawl"
    made = corpus_made(one, crawl)
    here, there = Home.at(small_home), Home.at(one.home)
    for name in made:
        partitions = here.tables.all_partitions(name)
        assert there.tables.all_partitions(name) == partitions
        versions = [
            [commit.data_version for partition in partitions if (commit := home.tables.commit(name, partition))]
            for home in (here, there)
        ]
        assert versions[0] == versions[1], name
    pictures = {path.rpartition("/")[2].partition(".")[0] for path in there.images.fs.find(f"{bucket}/images")}
    assert pictures == set(here.tables.read("picture_signatures")["image"].to_pylist())
    assert {path.name for path in (tmp_path / "one").iterdir()}.isdisjoint({"tables", "images", "crawl.json"})
    assert set(corpus_made(other, crawl).values()) == {0}
    assert Home.at(other.home).crawl == crawl
