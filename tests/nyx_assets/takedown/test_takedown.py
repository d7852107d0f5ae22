"""What is taken down is gone from the whole home, stays out, and nothing else is lost."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from nyx_assets.captioned import caption_by_image, in_text
from nyx_assets.definitions import resources_of
from nyx_assets.index_versions import live_record, records
from nyx_assets.takedown.finding import find
from nyx_assets.takedown.running import TakedownReport, plan_takedown, take_down
from nyx_assets.taken_down import Target, takedowns
from resources.fetch_log import FetchLog, FetchRecord
from resources.home import Home
from resources.images import StoredImage
from resources.settings import Settings
from resources.vector_index import LIVE
from resources.vlm import Message, Reply, Request, Sampling
from resources.vlm_embeddings import TextLists, request_of
from resources.vlm_roles import replies_of
from training_kernels.documents import Document, Segment
from training_kernels.errors import ConfigError


@pytest.fixture
def home(small_home: Path, tmp_path: Path) -> Home:
    """A copy of the small home, to change."""
    shutil.copytree(small_home, tmp_path / "home")
    return Home.at(tmp_path / "home")


def page_of(home: Home) -> dict[str, Any]:
    """A page with a picture, and its words."""
    pages = home.tables.read("crawl_documents").to_pylist()
    page = next(page for page in pages if page["num_images"] == 1)
    texts = [segment["text"] for segment in page["segments"] if segment["text"]]
    [image] = [segment["image"] for segment in page["segments"] if segment["image"]]
    return page | {"phrase": texts[0].split("\n")[-1][:60], "image": image}


def run(home: Home, target: str) -> TakedownReport:
    settings = Settings.from_env({"NYX_HOME": str(home.root), "NYX_RECIPE": "smoke"})
    return take_down(home, lambda: resources_of(settings, home)["index"], Target.of(target), log=lambda line: None)


def files_with(home: Home, *texts: str) -> list[str]:
    """Every file of the home with one of the texts in its bytes, or in those that its Parquet columns unpack to."""
    import duckdb

    found = []
    for folder, _, names in os.walk(home.root):
        for name in names:
            path = Path(folder) / name
            content = path.read_bytes()
            if path.suffix == ".parquet":
                with duckdb.connect(":memory:") as connection:
                    rows = connection.execute("FROM read_parquet(?, hive_partitioning = false)", [str(path)]).fetchall()
                content += repr(rows).encode()
            found += [str(path.relative_to(home.root)) for text in texts if text.encode() in content or text in name]
    return found


def a_reply(home: Home, document: Document) -> str:
    """The digest of a request about a document, whose reply is kept."""
    messages = (Message("user", Document((Segment(text="Ask about this:"), *document.segments))),)
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


def fetched(home: Home, address: str, digest: str) -> None:
    FetchLog(str(home.root / "fetch")).write(
        FetchRecord(
            address=address, last_address=address, at_seconds=1.0, limits="", num_bytes=3, rule="", reason="",
            stored=StoredImage(digest=digest, format="PNG", width=64, height=64),
        )
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["url", "image", "document", "domain"])
def test_nothing_of_the_page_is_left_anywhere_and_a_second_run_finds_nothing(home: Home, kind: str) -> None:
    page = page_of(home)
    domain = page["url"].split("/")[2]
    target = {"url": page["url"] + "#top", "image": page["image"], "document": page["doc_id"], "domain": domain}[kind]
    others = [one for one in home.tables.read("crawl_documents").to_pylist() if one["url"].split("/")[2] != domain]
    [chunk] = [one for one in home.tables.read("chunked_corpus").to_pylist() if one["doc_id"] == page["doc_id"]][:1]
    gone = a_reply(home, Document.from_rows(chunk["segments"]))
    kept = a_reply(home, Document.from_rows(others[0]["segments"]))
    fetched(home, "https://a.example/gone.png", page["image"])
    fetched(home, "https://a.example/kept.png", "0" * 64)
    assert files_with(home, page["phrase"], page["image"])
    home.report_file.write_text(page["phrase"])
    report = run(home, target)
    assert files_with(home, page["phrase"], page["image"], page["doc_id"]) == [
        "takedowns/" + name for name in in_list(home, page)
    ]
    assert report.files_left == []
    assert page["doc_id"] in [one["doc_id"] for one in report.pages]
    assert (report.replies, report.fetch_records) == (1, 1)
    assert replies_of(home).peek(gone) is None
    assert replies_of(home).peek(kept) is not None
    left = {one["doc_id"] for one in home.tables.read("crawl_documents").to_pylist()}
    assert left >= {one["doc_id"] for one in others}
    [rejected] = [one for one in home.tables.read("rejected_documents").to_pylist() if one["reference"] == page["url"]]
    assert (rejected["kind"], rejected["rule"]) == ("page", "taken_down")
    assert {one["how"] for one in report.checkpoints} == {"trained on it", "started from one that was"} & {
        one["how"] for one in report.checkpoints
    }
    assert len(report.checkpoints) == 2
    again = run(home, target)
    assert again.found_nothing
    assert again.pages == []
    assert len(takedowns(home)) == 1


def in_list(home: Home, page: dict[str, Any]) -> list[str]:
    """Files of the list that keep the page's id, so that it is known when it comes again; they keep nothing else of it."""
    found = [path.name for path in (home.root / "takedowns").glob("*.json") if page["doc_id"] in path.read_text()]
    assert all(page["image"] not in (home.root / "takedowns" / name).read_text() for name in found)
    return found


def test_embeddings_of_its_texts_that_were_paid_for_go_with_captions_and_without(home: Home) -> None:
    chunks = home.tables.read("chunked_corpus").to_pylist()
    mixed = [one for one in chunks if [segment["kind"] for segment in one["segments"]] == ["text", "image", "text"]]
    page, other = mixed[0], next(one for one in mixed if one["doc_id"] != mixed[0]["doc_id"])
    captions = caption_by_image(home)
    lists = TextLists(home.root / "vlm", "model")

    def embedded(*texts: str) -> str:
        """The digest of a paid request for the embeddings of these texts."""
        request = request_of(texts)
        digest = request.digest("model")
        reply = Reply(
            text="{}", model="model", request_digest=digest, input_tokens=1, output_tokens=0, cost_usd=0.1,
            latency_seconds=0.1, finish_reason="stop", is_stand_in=False,
        )  # fmt: skip
        lists.write(digest, texts)
        replies_of(home).write(digest, reply, segments=request.segment_digests())
        return digest

    document, another = Document.from_rows(page["segments"]), Document.from_rows(other["segments"])
    assert captions[document.images[0]] in in_text(document, captions).text
    gone = [embedded(document.text), embedded("something else", in_text(document, captions).text)]
    stays = [embedded(another.text), embedded(in_text(another, captions).text)]
    removal = find(home, Target.of(page["doc_id"]), {})
    assert replies_of(home).remove_about(removal.segments, removal.request_digests) == len(gone)
    assert [replies_of(home).peek(one) is None for one in (*gone, *stays)] == [True, True, False, False]


def test_search_goes_on_without_the_page_and_pictures_of_others_stay(home: Home) -> None:
    page = page_of(home)
    shown = {
        segment["image"]
        for one in home.tables.read("crawl_documents").to_pylist()
        if one["doc_id"] != page["doc_id"]
        for segment in one["segments"]
        if segment["image"]
    }
    [before] = records(home)
    report = run(home, page["doc_id"])
    settings = Settings.from_env({"NYX_HOME": str(home.root), "NYX_RECIPE": "smoke"})
    index = resources_of(settings, home)["index"]
    record = live_record(home, index)
    [number] = report.index_chunks.values()
    assert record.num_chunks == before.num_chunks - number == index.count(LIVE)
    assert index.versions() == [record.version]
    index.close()
    assert all(home.images.exists(digest) for digest in shown)
    assert [row["version"] for row in home.tables.read("final_index").to_pylist()] == [record.version]


def test_tables_keep_what_they_were_made_from_and_stay_quarantined(home: Home) -> None:
    page = page_of(home)
    partition = page["crawl"]
    before = {name: home.tables.commit(name, partition) for name in ("crawl_documents", "raw_qa", "sampled_chunks")}
    home.tables.quarantine("raw_qa", partition, "looked bad")
    run(home, page["doc_id"])
    for name, commit in before.items():
        after = home.tables.commit(name, partition)
        assert after is not None
        assert commit is not None
        assert after.provenance == commit.provenance
        assert after.data_version != commit.data_version
    assert home.tables.quarantine_reason("raw_qa", partition) == "looked bad"


@pytest.mark.parametrize(
    "stop_at",
    [
        "running.remove_from_tables",
        "this_host.remove_from_index",
        "this_host.remove_previews",
        "running.files_that_still_name",
    ],
)
def test_a_takedown_that_was_cut_off_is_finished_by_the_next(
    home: Home, stop_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = page_of(home)

    class Killed(BaseException):
        pass

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(f"nyx_assets.takedown.{stop_at}", killed)
        with pytest.raises(Killed):
            run(home, page["url"])
    [request] = takedowns(home)
    assert not request.is_done
    run(home, page["url"])
    [request] = takedowns(home)
    assert request.is_done
    assert files_with(home, page["phrase"], page["image"]) == []
    assert run(home, page["url"]).found_nothing


def test_a_dry_run_says_what_would_go_and_changes_nothing(home: Home) -> None:
    page = page_of(home)
    before = {path: path.stat().st_mtime_ns for path in home.root.rglob("*") if path.is_file()}
    report = plan_takedown(home, Target.of(page["url"]))
    assert {path: path.stat().st_mtime_ns for path in home.root.rglob("*") if path.is_file()} == before
    assert report.is_dry_run
    done = run(home, page["url"])
    assert [one["doc_id"] for one in report.pages] == [one["doc_id"] for one in done.pages]
    assert report.rows == {name: number for name, number in done.rows.items() if name in report.rows}
    assert report.pictures == done.pictures == 1


@pytest.fixture
def remade(home: Home) -> Any:
    """Makes the corpus of a crawl partition again from its delivery."""
    import dagster as dg

    from nyx_assets.definitions import build_pipeline
    from nyx_assets.materialization import key_of
    from nyx_assets.registering import open_instance

    settings = Settings.from_env({"NYX_HOME": str(home.root), "NYX_RECIPE": "smoke"})

    def make(partition: str) -> None:
        with open_instance(home) as instance:
            job = build_pipeline(settings, home).defs.resolve_implicit_global_asset_job_def()
            names = ("crawl_documents", "rejected_documents", "link_rot")
            result = job.execute_in_process(
                instance=instance, partition_key=partition, asset_selection=[key_of(name) for name in names]
            )
            assert result.success
            assert isinstance(result, dg.ExecuteInProcessResult)

    return make


@pytest.mark.parametrize("kind", ["url", "image", "document"])
def test_the_same_delivery_does_not_bring_it_back(home: Home, remade: Any, kind: str) -> None:
    page = page_of(home)
    run(home, {"url": page["url"], "image": page["image"], "document": page["doc_id"]}[kind])
    before = home.tables.read("crawl_documents", partition=page["crawl"])
    rejected = sorted(map(json.dumps, home.tables.read("rejected_documents", partition=page["crawl"]).to_pylist()))
    remade(page["crawl"])
    assert home.tables.read("crawl_documents", partition=page["crawl"]) == before
    assert (
        sorted(map(json.dumps, home.tables.read("rejected_documents", partition=page["crawl"]).to_pylist())) == rejected
    )
    assert not home.images.exists(page["image"])


def test_suites_of_the_home_lose_rows_golds_and_pictures(home: Home) -> None:
    page = page_of(home)
    removal = find(home, Target.of(page["url"]), {})
    gone = sorted(removal.chunk_ids)[0]
    folder = home.root / "suites" / "mine"
    folder.mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(f'{{"id": "{gone}"}}\n{{"id": "other"}}\n')
    (folder / "queries.jsonl").write_text('{"id": "q1"}\n')
    (folder / "qrels.tsv").write_text(f"q1\t{gone}\t1\nq1\tother\t1\n")
    shutil.copy(home.images.path(page["image"]), folder / "picture.png")
    assert run(home, page["url"]).suite_rows == 3
    assert (folder / "corpus.jsonl").read_text() == '{"id": "other"}\n'
    assert (folder / "qrels.tsv").read_text() == "q1\tother\t1\n"
    assert not (folder / "picture.png").exists()


@pytest.mark.parametrize(
    ("text", "kind"),
    [("https://a.example/x", "url"), ("www.A.example", "domain"), ("ab" * 32, "image"), ("ab" * 10, "document")],
)
def test_a_target_is_known_by_its_form(text: str, kind: str) -> None:
    assert Target.of(text).kind == kind


@pytest.mark.parametrize("text", ["", "page", "abc", "https://", "ab" * 33])
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="a takedown names an address"):
        Target.of(text)
