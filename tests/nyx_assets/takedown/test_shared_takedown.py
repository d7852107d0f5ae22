"""A takedown in a home that hosts share on an S3 server: gone from the store, from the host, and from others as they come by."""

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import pytest
from click.testing import CliRunner

from nyx_assets.__main__ import main
from nyx_assets.definitions import resources_of
from nyx_assets.doctor.takedowns import examine_takedowns
from nyx_assets.evaluation.checks import share_suites
from nyx_assets.index_versions import chunk_table, records
from nyx_assets.takedown.running import OTHER_HOSTS, TakedownReport, plan_takedown, report_text, take_down
from nyx_assets.takedown.this_host import catch_up
from nyx_assets.taken_down import Takedown, Target, keep_takedown, takedowns
from resources.fetch_log import FetchLog, FetchRecord
from resources.home import Home
from resources.images import StoredImage
from resources.leases import Leases
from resources.settings import Settings
from resources.vlm import Message, Reply, Request, Sampling
from resources.vlm_roles import replies_of
from training_kernels.documents import Document

TABLES = ("crawl_documents", "rejected_documents", "chunked_corpus", "raw_qa", "final_index")
SHARED = ("images", "artifacts", "lineage", "suites", *(f"tables/{name}" for name in TABLES))
"""Enough of a home to be quick; that every table is looked through is tested in a folder."""
OWN = ("index", "dagster", "checkpoints")


class Host:
    """One of the hosts of a home that has pages, checkpoints, suites and an index of its own on each."""

    def __init__(self, store: str, root: Path, small_home: Path) -> None:
        self.settings = Settings.from_env({"NYX_HOME": store, "NYX_LOCAL": str(root), "NYX_RECIPE": "smoke"})
        for name in OWN:
            if (small_home / name).is_dir():
                shutil.copytree(small_home / name, root / name)
        home = Home.at(self.settings.home)
        self.home = replace(home, leases=Leases(f"{store}/leases", seconds=5))

    def take_down(self, target: str) -> TakedownReport:
        return take_down(self.home, self.open_index, Target.of(target), log=lambda line: None)

    def open_index(self) -> Any:
        return resources_of(self.settings, self.home)["index"]

    def comes_by(self) -> list[str]:
        said: list[str] = []
        catch_up(self.home, self.open_index, log=said.append)
        return said

    def files_with(self, *texts: str) -> list[str]:
        return files_with(self.home.root, *texts)


def files_with(root: Path, *texts: str) -> list[str]:
    """Files below a folder that hold one of the texts, Parquet columns unpacked, but of lineage and the list of takedowns."""
    found = []
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        name = path.relative_to(root).as_posix()
        if name.startswith(("takedowns/", "lineage/", "checkpoints/", "backbones/")):
            continue
        content = path.read_bytes()
        if path.suffix == ".parquet":
            with duckdb.connect(":memory:") as connection:
                rows = connection.execute("FROM read_parquet(?, hive_partitioning = false)", [str(path)]).fetchall()
            content += repr(rows).encode()
        found += [name for text in texts if text.encode() in content or text in name]
    return found


@pytest.fixture
def hosts(small_home: Path, bucket: str, tmp_path: Path) -> tuple[Host, Host]:
    """A home of two hosts, made of the small one; each has the suite of the home and an index."""
    fs = fsspec.filesystem("s3", use_listings_cache=False)
    page = page_of(Home.at(small_home))
    original = Path(shutil.copytree(small_home, tmp_path / "original"))
    suite = original / "suites" / "mine"
    suite.mkdir(parents=True)
    [chunk] = [row for row in Home.at(small_home).tables.read("chunked_corpus").to_pylist() if row["doc_id"] == page["doc_id"]][:1]  # fmt: skip
    (suite / "corpus.jsonl").write_text(json.dumps({"id": chunk["chunk_id"], "segments": []}) + '\n{"id": "other"}\n')
    (suite / "queries.jsonl").write_text('{"id": "q1"}\n')
    (suite / "qrels.tsv").write_text("q1\tother\t1\n")
    shutil.copy(Home.at(small_home).images.path(page["image"]), suite / "picture.png")
    for name in SHARED:
        for path in (original / name).rglob("*"):
            if path.is_file():
                fs.pipe_file(f"{bucket}/{path.relative_to(original).as_posix()}", path.read_bytes())
    for path in original.glob("checkpoints/*/*/manifest.json"):
        fs.pipe_file(f"{bucket}/{path.relative_to(original).as_posix()}", path.read_bytes())
    shutil.rmtree(original / "suites")
    one, other = (Host(bucket, tmp_path / name, original) for name in ("one", "other"))
    for host in (one, other):
        host.home.mirror.bring("suites")
        host.home.report_file.parent.mkdir(parents=True)
        host.home.report_file.write_text(page["phrase"])
        FetchLog(str(host.home.root / "fetch")).write(
            FetchRecord(
                address="https://a.example/x.png", last_address="https://a.example/x.png", at_seconds=1.0, limits="",
                num_bytes=3, rule="", reason="",
                stored=StoredImage(digest=page["image"], format="PNG", width=64, height=64),
            )
        )  # fmt: skip
    return one, other


def page_of(home: Home) -> dict[str, Any]:
    """A page with a picture, and its words."""
    page = next(page for page in home.tables.read("crawl_documents").to_pylist() if page["num_images"] == 1)
    texts = [segment["text"] for segment in page["segments"] if segment["text"]]
    [image] = [segment["image"] for segment in page["segments"] if segment["image"]]
    return page | {"phrase": texts[0].split("\n")[-1][:60], "image": image}


def a_reply(home: Home, segments: list[dict[str, Any]]) -> str:
    """The digest of a request about a document, whose reply is kept."""
    messages = (Message("user", Document.from_rows(segments)),)
    request = Request(
        messages=messages, sampling=Sampling(temperature=0, max_output_tokens=9, seed=1), prompt_version="1"
    )
    digest = request.digest("model")
    reply = Reply(
        text="a question", model="model", request_digest=digest, input_tokens=1, output_tokens=1, cost_usd=0.1,
        latency_seconds=0.1, finish_reason="stop", is_stand_in=False,
    )  # fmt: skip
    replies_of(home).write(digest, reply, segments=request.segment_digests())
    return digest


def in_store(home: Home, scratch: Path, *texts: str) -> list[str]:
    """The same of the store, which is brought here."""
    shutil.rmtree(scratch, ignore_errors=True)
    for name in ("tables", "images", "suites", "artifacts", "takedowns"):
        if home.tables.fs.exists(f"{home.store}/{name}"):
            home.tables.fs.get(f"{home.store}/{name}/", str(scratch / name), recursive=True)
    return files_with(scratch, *texts)


@pytest.mark.long
def test_it_is_gone_from_the_store_and_the_host_and_from_another_host_when_that_comes_by(
    hosts: tuple[Host, Host], tmp_path: Path
) -> None:
    one, other = hosts
    page = page_of(one.home)
    texts = (page["phrase"], page["image"], page["doc_id"])
    assert in_store(one.home, tmp_path / "store", *texts)
    digests = [a_reply(one.home, page["segments"]), a_reply(one.home, [{"kind": "text", "text": "x", "image": None}])]
    planned = plan_takedown(one.home, Target.of(page["url"]))
    assert one.home.tables.read("crawl_documents").num_rows > 0
    report = one.take_down(page["url"])
    assert in_store(one.home, tmp_path / "store", *texts) == []
    assert one.files_with(*texts) == []
    assert report.files_left == []
    assert [row["doc_id"] for row in report.pages] == [row["doc_id"] for row in planned.pages] == [page["doc_id"]]
    assert planned.rows.items() <= report.rows.items()
    assert (report.pictures, report.suite_rows, report.fetch_records, report.is_shared) == (1, 2, 1, True)
    assert (report.replies, [replies_of(other.home).peek(one) is None for one in digests]) == (1, [True, False])
    assert [one["how"] for one in report.checkpoints] == ["trained on it"] * 2
    again = one.take_down(page["url"])
    assert (again.found_nothing, again.pages) == (True, [])

    assert other.files_with(*texts), "it has an index, a report and a log of its own"
    assert page["url"] in {url for record in records(other.home) for url in chunk_table(other.home, record.version)["url"].to_pylist()}  # fmt: skip
    share_suites(other.home)
    assert in_store(one.home, tmp_path / "store", *texts) == [], "what it still had is not sent back"
    found = examine_takedowns(other.home)
    assert (found.verdict, "1 not removed yet" in found.said) == ("note", True)
    [begun, ended] = other.comes_by()
    assert examine_takedowns(other.home).verdict == "good"
    assert page["url"] in begun
    assert "1 records of fetches" in ended
    assert other.files_with(*texts) == []
    [record] = records(other.home)
    index = other.open_index()
    assert index.versions() == [record.version]
    assert index.count(record.version) == record.num_chunks == chunk_table(other.home, record.version).num_rows
    index.close()
    assert other.comes_by() == []
    env = {"NYX_HOME": other.home.store, "NYX_LOCAL": str(other.home.root), "NYX_RECIPE": "smoke"}
    assert json.loads(CliRunner().invoke(main, ["takedown", page["url"], "--json"], env=env).stdout)["found_nothing"]
    assert one.comes_by() == []

    other.take_down("nowhere.example")
    assert one.comes_by() == [], "nothing was found"
    domain = one.home.tables.read("crawl_documents")["url"][0].as_py().split("/")[2]
    assert OTHER_HOSTS in report_text(one.take_down(domain))
    said = CliRunner().invoke(main, ["takedown", "nowhere.example"], env=env)
    assert f"taking down on this host what others took down: domain {domain}" in said.stderr
    assert "domain nowhere.example: nothing found" in said.stdout
    [record] = records(other.home)
    assert domain not in {url.split("/")[2] for url in chunk_table(other.home, record.version)["url"].to_pylist()}


@pytest.mark.long
def test_a_takedown_that_is_cut_off_again_and_again_between_store_and_host_is_finished_by_the_last(
    hosts: tuple[Host, Host], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    one, other = hosts
    page = page_of(one.home)
    for place in (
        "resources.mirror.Mirror.remove_file",
        "nyx_assets.takedown.running.remove_from_host",
        "nyx_assets.takedown.running.files_that_still_name",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, killed)
            with pytest.raises(Killed):
                one.take_down(page["url"])
    [request] = takedowns(other.home)
    assert not request.is_done
    assert other.comes_by() == [], "it is not done yet"
    one.take_down(page["url"])
    [request] = takedowns(other.home)
    assert (request.is_done, request.left) == (True, {})
    texts = (page["phrase"], page["image"], page["doc_id"])
    assert in_store(one.home, tmp_path / "store", *texts) == one.files_with(*texts) == []


def test_what_another_host_had_begun_before_is_waited_for_and_does_not_bring_it_back(
    hosts: tuple[Host, Host], tmp_path: Path
) -> None:
    one, other = hosts
    page = page_of(one.home)
    work = f"chunked_corpus of {page['crawl']}"
    old = other.home.tables.read("chunked_corpus", partition=page["crawl"])
    commit = other.home.tables.commit("chunked_corpus", page["crawl"])
    assert commit is not None
    begun, waited_for = threading.Event(), threading.Event()

    def step_of_the_other() -> None:
        with other.home.held(work, log=lambda line: None):
            begun.set()
            assert waited_for.wait(30)
            with other.home.tables.write(
                "chunked_corpus", old.schema, partition=page["crawl"], provenance=commit.provenance
            ) as table:
                table.append(old.to_pylist())

    step = threading.Thread(target=step_of_the_other)
    step.start()
    assert begun.wait(30)

    def log(line: str) -> None:
        assert work in line
        assert page["doc_id"] not in one.home.tables.read("crawl_documents")["doc_id"].to_pylist(), "removed at once"
        waited_for.set()

    report = take_down(one.home, one.open_index, Target.of(page["url"]), log=log)
    step.join()
    chunks = [row for row in old.to_pylist() if row["doc_id"] == page["doc_id"]]
    assert report.rows["chunked_corpus"] == 2 * len(chunks), "once before, and once after"
    one.home.look_again()
    assert in_store(one.home, tmp_path / "store", page["phrase"], page["doc_id"]) == []


def test_a_host_that_comes_by_waits_for_the_main_job_that_trains_there(hosts: tuple[Host, Host]) -> None:
    one, other = hosts
    done = Takedown(kind="url", value="https://a.example", asked_at="now", is_done=True, doc_ids=["1" * 20])
    keep_takedown(one.home, done)
    rows = other.home.root / "training_examples" / "a run" / "rows.bin"
    rows.parent.mkdir(parents=True)
    rows.write_bytes(b"examples")
    said: list[str] = []
    spoke = threading.Event()

    def log(line: str) -> None:
        said.append(line)
        spoke.set()

    def come_by() -> None:
        catch_up(other.home, other.open_index, log=log)

    coming = [threading.Thread(target=come_by) for _ in range(2)]
    with other.home.alone("main_job", log=said.append):
        for thread in coming:
            thread.start()
        assert spoke.wait(30)
        assert "another process holds the main_job" in said[0]
        assert rows.exists(), "a training reads it"
    for thread in coming:
        thread.join()
    assert not rows.exists()
    assert sum("taken out of what this host has" in line for line in said) == 1, "the second found it done"
