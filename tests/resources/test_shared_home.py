"""A home on S3 that hosts share: what one makes the other reads, whole, and what has to be locked stays on its host."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb
import fsspec
import pyarrow as pa
import pytest

from resources.catalog import FILE, build_catalog
from resources.home import Home
from resources.images import PictureRefused
from resources.settings import Settings
from resources.stores import SharedHome, readable_by
from resources.tables import Commit, Provenance
from resources.vlm import Reply
from resources.vlm_folders import ledger_in
from resources.vlm_ledger import Ledger
from resources.vlm_roles import replies_of
from sample_crawl import generate
from training_kernels.errors import ConfigError, IncompleteArtifact

NUMBERS = pa.schema([("x", pa.int64())])
ORIGIN = Provenance(code_version="1")
WEIGHTS = Commit(data_version="w1", num_rows=4, provenance=ORIGIN, written_at="2026-11-01T00:00:00+00:00")
PATIENT_WRITER = """
import sys
sys.path[:0] = sys.argv[3:]
import pyarrow as pa
from resources.tables import ParquetTables, Provenance
tables = ParquetTables(sys.argv[1], drafts=sys.argv[2])
with tables.write("pages", pa.schema([("x", pa.int64())]), partition="c", provenance=Provenance(code_version="2")) as table:
    table.append({"x": x} for x in range(100_000))
    print("writing", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def hosts(bucket: str, tmp_path: Path) -> tuple[Home, Home]:
    """One home as two hosts have it."""
    places = [SharedHome(store=bucket, local=tmp_path / name, has_index_server=True) for name in ("one", "other")]
    return Home.at(places[0]), Home.at(places[1])


def breaking() -> Iterator[int]:
    yield 3
    raise RuntimeError("it broke")


def write(home: Home, asset: str, partition: str | None, values: Iterable[int]) -> None:
    with home.tables.write(asset, NUMBERS, partition=partition, provenance=ORIGIN) as table:
        table.append({"x": value} for value in values)


def complete_folder(home: Home, name: str, content: str, *, weights: str = ".") -> Path:
    folder = home.artifacts.folder("pretrained_checkpoint", name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_text(content)
    (folder / "manifest.json").write_text(json.dumps({"weights": weights, "files": content}))
    return folder


def reply_to(digest: str) -> Reply:
    return Reply(
        text="four", model="m", request_digest=digest, input_tokens=3, output_tokens=1, cost_usd=2.0,
        latency_seconds=1.0, finish_reason="stop", is_stand_in=False,
    )  # fmt: skip


def test_a_killed_writer_leaves_nothing_in_the_store_and_a_draft_that_its_host_sweeps(
    hosts: tuple[Home, Home], bucket: str
) -> None:
    one, other = hosts
    write(one, "pages", "c", [1, 2])
    arguments = [one.tables.root, str(one.root / "drafts"), *sys.path]
    writer = subprocess.Popen(
        [sys.executable, "-c", PATIENT_WRITER, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    assert one.tables.sweep() == []
    writer.kill()
    writer.communicate()
    assert other.tables.read("pages", partition="c")["x"].to_pylist() == [1, 2]
    assert [path.rpartition("/")[2] for path in one.tables.fs.find(bucket)] == ["part-0.parquet"]
    (draft,) = (one.root / "drafts").iterdir()
    assert one.tables.sweep() == [str(draft)]


def test_a_writer_that_fails_leaves_the_table_that_was_there(hosts: tuple[Home, Home]) -> None:
    one, other = hosts
    write(one, "pages", "c", [1, 2])
    with pytest.raises(RuntimeError, match="broke"):
        write(other, "pages", "c", breaking())
    assert one.tables.read("pages", partition="c")["x"].to_pylist() == [1, 2]
    assert list((other.root / "drafts").iterdir()) == []


def test_a_picture_and_a_reply_of_one_host_are_there_on_the_other(hosts: tuple[Home, Home], tmp_path: Path) -> None:
    from nyx_assets.recipes import nyx_paper

    one, other = hosts
    generate(tmp_path / "crawl", num_pages=4, num_partitions=1)
    data = next((tmp_path / "crawl" / "images").rglob("*.jpg")).read_bytes()
    stored = one.images.put(data, limits=nyx_paper().pictures)
    assert other.images.open(stored.digest).size == (stored.width, stored.height)
    assert other.images.address(stored.digest) == f"{other.store}/images/{stored.digest[:2]}/{stored.digest}.jpg"
    assert other.images.fs.cat_file(other.images.path(stored.digest)) == data
    with pytest.raises(PictureRefused):
        one.images.put(data[: len(data) // 2], limits=nyx_paper().pictures)
    reply = reply_to("ab" * 32)
    replies_of(one).write("ab" * 32, reply)
    assert replies_of(other).read("ab" * 32) == reply
    assert not (one.root / "vlm" / "replies").exists()


def test_a_checkpoint_of_one_host_is_opened_from_a_folder_of_the_other(hosts: tuple[Home, Home]) -> None:
    one, other = hosts
    base = one.root / "backbones" / "base"
    base.mkdir(parents=True)
    (base / "manifest.json").write_text('{"weights": "."}')
    (base / "model.safetensors").write_text("base weights")
    folder = complete_folder(one, "v1", "adapter", weights="../../../backbones/base")
    assert other.artifacts.commit("pretrained_checkpoint") is None
    one.artifacts.publish("pretrained_checkpoint", folder, WEIGHTS)
    other.look_again()
    assert other.commit("pretrained_checkpoint", None) == WEIGHTS
    assert not (other.root / "checkpoints").exists(), "who asks for a version only brings nothing"
    found = other.artifacts.require("pretrained_checkpoint")
    assert found.folder == other.root / "checkpoints" / "pretrained_checkpoint" / "v1"
    assert (found.folder / "model.safetensors").read_text() == "adapter"
    assert (other.root / "backbones" / "base" / "model.safetensors").read_text() == "base weights"


def test_a_checkpoint_that_was_made_again_or_half_deleted_is_brought_again(hosts: tuple[Home, Home]) -> None:
    one, other = hosts
    one.artifacts.publish("pretrained_checkpoint", complete_folder(one, "v1", "first"), WEIGHTS)
    folder = other.artifacts.require("pretrained_checkpoint").folder
    one.artifacts.publish("pretrained_checkpoint", complete_folder(one, "v1", "second"), WEIGHTS)
    assert (other.artifacts.require("pretrained_checkpoint").folder / "model.safetensors").read_text() == "second"
    shutil.rmtree(folder)
    assert (other.artifacts.require("pretrained_checkpoint").folder / "model.safetensors").read_text() == "second"


def test_a_checkpoint_whose_sending_was_cut_off_is_not_current(hosts: tuple[Home, Home], bucket: str) -> None:
    one, other = hosts
    one.artifacts.publish("pretrained_checkpoint", complete_folder(one, "v1", "first"), WEIGHTS)
    one.tables.fs.rm_file(f"{bucket}/checkpoints/pretrained_checkpoint/v1/manifest.json")
    assert other.commit("pretrained_checkpoint", None) is None
    with pytest.raises(IncompleteArtifact, match="its writer did not finish"):
        other.artifacts.require("pretrained_checkpoint")


def test_the_catalogue_of_each_host_has_what_both_made_and_both_called(hosts: tuple[Home, Home]) -> None:
    for home, crawl, values in zip(hosts, ("a", "b"), ([1, 2], [3]), strict=True):
        write(home, "pages", crawl, values)
        # two hosts have files of their own, which are named by host and process: here both are this process
        ledger = Ledger(f"{ledger_in(home.root / 'vlm')}/{crawl}", asset="raw_qa", partition=crawl)
        ledger.enter(reply_to(crawl * 64), 1.0)
        home.mirror.send("vlm/ledger")
    for home in hosts:
        build_catalog(home, ["pages"])
        with (
            duckdb.connect(str(home.root / FILE), read_only=True) as catalog,
            readable_by(catalog, home.tables.fs),
        ):
            assert catalog.execute("SELECT crawl, x FROM pages ORDER BY x").fetchall() == [("a", 1), ("a", 2), ("b", 3)]
            assert catalog.execute("SELECT partition, cost_usd FROM vlm_calls ORDER BY 1").fetchall() == [
                ("a", 2.0), ("b", 2.0),
            ]  # fmt: skip
            assert catalog.execute("SELECT crawl, num_rows FROM commits ORDER BY 1").fetchall() == [("a", 2), ("b", 1)]


def test_records_go_to_the_other_host_when_they_change_and_go_when_they_are_removed(hosts: tuple[Home, Home]) -> None:
    one, other = hosts
    record = one.root / "index" / "versions" / "v1" / "record.json"
    record.parent.mkdir(parents=True)
    record.write_text("first")
    one.index_mirror.send("index/versions")
    other.index_mirror.bring("index/versions")
    theirs = other.root / "index" / "versions" / "v1" / "record.json"
    assert theirs.read_text() == "first"
    record.write_text("again")
    one.index_mirror.send("index/versions")
    theirs.write_text("changed there, and not sent")
    other.index_mirror.bring("index/versions")
    assert theirs.read_text() == "changed there, and not sent"
    other.index_mirror.send("index/versions")
    one.index_mirror.bring("index/versions")
    assert record.read_text() == "changed there, and not sent"
    other.index_mirror.remove("index/versions/v1")
    one.index_mirror.bring("index/versions")
    assert not record.exists()


def test_the_crawl_of_a_home_is_claimed_for_all_its_hosts(hosts: tuple[Home, Home], tmp_path: Path) -> None:
    one, other = hosts
    one.claim(tmp_path / "crawl")
    assert other.crawl == tmp_path / "crawl"
    with pytest.raises(ConfigError, match=f"{one.store} is made from the crawl .*/crawl, asked for was .*/another"):
        other.claim(tmp_path / "another")


def test_a_local_folder_of_another_home_is_refused(hosts: tuple[Home, Home], bucket: str) -> None:
    one, _ = hosts
    (one.root / "lineage").mkdir(parents=True)
    (one.root / "lineage" / "run.json").write_text("{}")
    one.mirror.send("lineage")
    stranger = Home.at(SharedHome(store=f"{bucket}-other", local=one.root, has_index_server=False))
    with pytest.raises(ConfigError, match=r"belongs to the home s3://.*give each home a local folder of its own"):
        stranger.mirror.bring("lineage")


def test_a_home_at_a_url_asks_for_a_local_folder_by_the_name_of_its_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="set NYX_LOCAL to a folder of this machine"):
        Settings.from_env({"NYX_HOME": "s3://bucket/home"})
    with pytest.raises(ConfigError, match="NYX_LOCAL must be a folder of this machine"):
        Settings.from_env({"NYX_HOME": "s3://bucket/home", "NYX_LOCAL": "s3://bucket/local"})
    settings = Settings.from_env({"NYX_HOME": "s3://bucket/home/", "NYX_LOCAL": str(tmp_path)})
    home = Home.at(settings.home)
    assert (home.store, home.root, home.is_shared) == ("s3://bucket/home", tmp_path, True)


def test_a_folder_that_hosts_mount_is_shared_as_well_and_needs_no_url(tmp_path: Path) -> None:
    env = {"NYX_HOME": str(tmp_path / "mounted"), "NYX_LOCAL": str(tmp_path / "here")}
    home = Home.at(Settings.from_env(env).home)
    write(home, "pages", "a", [1])
    assert home.is_shared
    assert Home.at(tmp_path / "mounted").tables.read("pages", partition="a").num_rows == 1
    assert not fsspec.filesystem("file").glob(f"{tmp_path}/here/drafts/*")
    assert not Home.at(tmp_path / "mounted").is_shared


def test_a_pointer_that_was_torn_on_a_mounted_folder_is_told_with_its_file_and_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = tmp_path / "mounted"
    home = Home.at(SharedHome(store=str(store), local=tmp_path / "here", has_index_server=False))
    home.artifacts.publish("pretrained_checkpoint", complete_folder(home, "v1", "weights"), WEIGHTS)
    pointer = store / "artifacts" / "pretrained_checkpoint.json"
    pointer.write_bytes(pointer.read_bytes()[:20])
    home.look_again()
    for _ in range(3):
        assert home.commit("pretrained_checkpoint", None) is None
    told = f"{pointer} was torn .* materialize pretrained_checkpoint again .*never made"
    (record,) = caplog.records
    assert re.match(told, record.getMessage())
    with pytest.raises(IncompleteArtifact, match=r"was torn .* materialize pretrained_checkpoint again"):
        home.artifacts.require("pretrained_checkpoint")
    assert home.commit("finetuned_checkpoint", None) is None, "one that was never made is nothing to tell"
    assert len(caplog.records) == 1


def test_a_store_that_cannot_be_used_is_named_with_what_to_look_at(
    s3_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def home_at(store: str) -> Home:
        return Home.at(SharedHome(store=store, local=tmp_path, has_index_server=False))

    with pytest.raises(ConfigError, match="s3://no-such-bucket/home cannot be used: .* create the bucket"):
        home_at("s3://no-such-bucket/home").claim(tmp_path)
    with pytest.raises(ConfigError, match="s4://bucket.* cannot be opened: Protocol not known: s4; known are a folder"):
        home_at("s4://bucket")
    monkeypatch.setattr("s3fs.S3FileSystem._call_s3", refuse)
    with pytest.raises(ConfigError, match="s3://nyx-tests/home cannot be used: NoCredentialsError: .*AWS_ENDPOINT_URL"):
        home_at("s3://nyx-tests/home").claim(tmp_path)


async def refuse(*arguments: object, **options: object) -> None:
    from botocore.exceptions import NoCredentialsError

    raise NoCredentialsError
