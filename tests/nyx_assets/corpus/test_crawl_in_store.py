"""A crawl in a store, on a real S3 server: the same deliveries, pages and pictures as in a folder, by few requests."""

import gzip
import json
import os
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pytest
import s3fs
from click.testing import CliRunner

from nyx_assets.__main__ import main
from nyx_assets.corpus import row_counts
from nyx_assets.corpus.deliveries import (
    FoundDeliveries,
    Opening,
    delivery_from_rows,
    find_deliveries,
    require_deliveries,
)
from nyx_assets.corpus.landing import land
from nyx_assets.corpus.links import WebLinks
from nyx_assets.corpus.pages import documents_of
from nyx_assets.corpus.validating import problems_of
from nyx_assets.doctor.landing import examine_landing
from nyx_assets.quarantine import FailedAttempt, note_failures, quarantined_partitions
from nyx_assets.recipes import tiny
from resources import crawl_store
from resources.crawl_store import CrawlStore, FilesAhead, TooManyBytes, Unread, crawl_at, crawl_text
from resources.fetching import NotFetched
from resources.home import Home
from resources.images import FolderImageStore
from training_kernels.errors import ConfigError, CrawlUnanswered, DataError

PAGE = """<html lang=en><title>Tea</title><link rel=canonical href="https://a.example/tea"><p>Tea is ready.
<img src="../art/pot.png"><img src="/art/cup.png"><img src="deep%20art/x.png"><img src="nowhere.png">
<img src="../../images/shared.png"><img src="/art"><img src="../art/empty.png"><p>Sit down."""


@pytest.fixture
def s3(s3_server: None) -> Any:
    return fsspec.filesystem("s3", use_listings_cache=False)


@pytest.fixture
def crawl(tmp_path: Path, row: Any, write_parquet: Any, picture: Any) -> Path:
    """Every kind of delivery, with pictures beside and below, and with faults."""
    folder = tmp_path / "crawl"
    picture(folder / "images" / "shared.png")
    picture(folder / "site" / "art" / "pot.png", colour="red")
    picture(folder / "site" / "art" / "cup.png", colour="blue")
    picture(folder / "site" / "sub" / "deep art" / "x.png", colour="green")
    (folder / "site" / "art" / "empty.png").touch()
    (folder / "site" / "sub" / "tea.html").write_text(PAGE)
    (folder / "site" / "about.md").write_text("---\ntitle: About\n---\nAll about it.\n\n![cup](art/cup.png)\n")
    (folder / "site" / ".git" / "x.md").parent.mkdir()
    (folder / "site" / ".git" / "x.md").write_text("hidden")
    (folder / "site" / "bad.md").write_bytes(b"\xff\xfe")
    (folder / "site" / "_SUCCESS").touch()
    references = ["images/shared.png", "images/../images/shared.png", "images/none.png", "../up.png", "images", "/etc/passwd", "",
                  "site/art/pot.png", "x\ud800.png".encode("utf-8", "surrogatepass"), "C:/x.png", "images/" + "x" * 1100]  # fmt: skip
    many = [row((one, None), (None, f"Number {number}."), url=f"https://a.example/{number}") for number, one in enumerate(references)]  # fmt: skip
    write_parquet(folder / "rows.parquet", many)
    (folder / "rows.parquet.done").touch()
    write_parquet(folder / "parts" / "b.parquet", many[:2])
    write_parquet(folder / "parts" / "a.parquet", [many[0]])
    picture(folder / "parts" / "images" / "shared.png", colour="black")
    line = {"images": ["images/shared.png", None], "texts": [None, "A line."], "metadata": None, "general_metadata": {"url": "https://a.example/line"}}  # fmt: skip
    with gzip.open(folder / "lines.jsonl.gz", "wt") as file:
        file.write(json.dumps(line) + "\n\nnot JSON\n")
    (folder / "broken.parquet").write_bytes(b"PAR1 and no more")
    (folder / "nothing.parquet").touch()
    write_parquet(folder / "a,b.parquet", many[:1])
    return folder


def put(s3: Any, folder: Path, url: str) -> str:
    """A folder as it would be uploaded, with the empty objects that browsers of buckets leave for folders."""
    for path in folder.rglob("*"):
        name = f"{url}/{path.relative_to(folder).as_posix()}"
        s3.pipe_file(name, path.read_bytes()) if path.is_file() else s3.pipe_file(f"{name}/", b"")
    return url


@pytest.fixture
def url(bucket: str, s3: Any, crawl: Path) -> str:
    return put(s3, crawl, f"{bucket}/crawl")


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> "Counter[str]":
    """What the client of S3 is asked for, by kind; it asks all the same."""
    counts: Counter[str] = Counter()
    ask = s3fs.S3FileSystem._call_s3

    async def counted(self: Any, method: str, *arguments: Any, **options: Any) -> Any:
        counts[method] += 1
        return await ask(self, method, *arguments, **options)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", counted)
    return counts


def rows_of(found: FoundDeliveries, home: Path) -> dict[str, list[Any]]:
    """Everything that is made of each delivery, and which pictures were stored."""
    store = FolderImageStore(str(home / "images"))
    home.mkdir()
    with NotFetched().session(store, tiny().pictures) as session:
        made: dict[str, list[Any]] = {
            one.key: list(documents_of(one, store, tiny().pictures, WebLinks(session), scratch=home))
            for one in found.deliveries
        }
    assert [path.name for path in home.iterdir()] == ["images"], "what was brought is gone"
    return made | {"pictures": sorted(path.name for path in home.rglob("*.*"))}


@pytest.mark.parametrize("ahead_bytes", [crawl_store.AHEAD_BYTES, 0])
def test_a_crawl_in_a_store_gives_the_deliveries_and_the_very_rows_of_the_same_crawl_in_a_folder(
    url: str, crawl: Path, tmp_path: Path, ahead_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crawl_store, "AHEAD_BYTES", ahead_bytes)
    here, there = find_deliveries(crawl), find_deliveries(url)
    assert [one.key for one in there.deliveries] == ["lines", "parts", "rows", "site"]
    for one, other in zip(here.deliveries, there.deliveries, strict=True):
        assert [(one.name_of(file), file.num_rows, file.num_bytes) for file in one.files] == [
            (other.name_of(file), file.num_rows, file.num_bytes) for file in other.files
        ]
        assert one.is_marked_complete == other.is_marked_complete == (one.key in ("rows", "site"))
        assert other.place.startswith(url)
    assert [(one.key, one.reason.replace(str(crawl), url)) for one in here.refused] == [
        (one.key, one.reason) for one in there.refused
    ]
    made_here = rows_of(here, tmp_path / "here")
    assert rows_of(there, tmp_path / "there") == made_here
    assert len(made_here["pictures"]) == 5
    reasons = Counter(row.values["rule"] for key in ("rows", "site") for row in made_here[key] if not row.is_document)
    assert {"missing_file", "outside_folder", "not_an_image", "invalid_encoding"} <= reasons.keys()


def test_what_a_run_would_refuse_is_the_same(url: str, crawl: Path) -> None:
    here, there = (list(problems_of(place, tiny().pictures)) for place in (crawl, url))
    assert [str(one).replace(str(crawl), url) for one in here] == [str(one) for one in there] != []
    result = CliRunner().invoke(main, ["validate", url])
    assert (result.exit_code, result.stdout.splitlines()) == (1, [str(one) for one in there])
    gone = CliRunner().invoke(main, ["validate", "s3://no-such-bucket/x"])
    assert (gone.exit_code, "create the bucket, or correct NYX_CRAWL" in gone.stderr) == (1, True)


def test_doctor_looks_into_the_store(url: str, tmp_path: Path) -> None:
    found = examine_landing(Home.at(tmp_path / "home"), url)
    assert (found.verdict, found.said.startswith(f"{url}: 4 deliveries, 4 of them not registered yet")) == ("bad", True)
    assert "3 refused: a,b: " in found.said


def test_a_look_is_one_listing_and_a_footer_for_each_new_file_and_asks_about_no_object_by_itself(
    bucket: str, s3: Any, tmp_path: Path, row: Any, write_parquet: Any, requests: "Counter[str]"
) -> None:
    content = write_parquet(tmp_path / "one.parquet", [row((None, "Tea."))]).read_bytes()
    for number in range(40):
        s3.pipe_file(f"{bucket}/c{number:02}.parquet", content)
    requests.clear()
    found = find_deliveries(bucket)
    assert (len(found.deliveries), found.refused) == (40, ())
    assert requests == {"list_objects_v2": 1, "get_object": 40}
    requests.clear()
    known = {one.key: one.fingerprint for one in found.deliveries}
    assert len(find_deliveries(bucket, known=known).unchanged) == 40
    require_deliveries(bucket)
    assert requests == {"list_objects_v2": 2}
    requests.clear()
    some = find_deliveries(bucket, opening=Opening(is_ripe=lambda one: one.key in ("c03", "c30")))
    assert [one.key for one in some.deliveries] == ["c03", "c30"]
    assert len(some.unopened) == 38
    requests.clear()
    late = find_deliveries(bucket, opening=Opening(seconds=-1))
    assert (len(late.deliveries), len(late.unopened)) == (crawl_store.AT_ONCE, 40 - crawl_store.AT_ONCE)
    enough = find_deliveries(bucket, opening=Opening(at_most=3))
    assert 3 <= len(enough.deliveries) <= crawl_store.AT_ONCE


def test_a_footer_that_is_longer_than_what_is_asked_for_first_is_read_all_the_same(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_counts, "FOOTER_BYTES", 16)
    assert {one.key: one.num_rows for one in find_deliveries(url).deliveries}["rows"] == 11


def test_the_fingerprint_moves_with_the_content_of_what_is_the_deliverys_own(url: str, s3: Any) -> None:
    def fingerprints() -> dict[str, str]:
        return {one.key: one.fingerprint for one in find_deliveries(url).deliveries}

    first = fingerprints()
    s3.pipe_file(f"{url}/parts/_SUCCESS", b"")
    s3.pipe_file(f"{url}/images/other.png", b"shared")
    s3.pipe_file(f"{url}/parts/a.parquet", s3.cat_file(f"{url}/parts/a.parquet"))  # the same once more
    assert fingerprints() == first
    s3.pipe_file(f"{url}/site/art/cup.png", b"another")
    second = fingerprints()
    assert [key for key in first if first[key] != second[key]] == ["site"]
    s3.rm_file(f"{url}/parts/b.parquet")
    assert fingerprints()["parts"] != second["parts"]


def test_a_delivery_comes_back_from_the_table_and_is_not_read_when_it_is_another_by_then(
    url: str, s3: Any, tmp_path: Path, requests: "Counter[str]"
) -> None:
    home = Home.at(tmp_path / "home")
    found = {one.key: one for one in find_deliveries(url).deliveries}
    landed = {}
    for key, one in found.items():
        land(home, one)
        landed[key] = delivery_from_rows(key, home.tables.read("landed_crawl", partition=key).to_pylist())
        assert (landed[key].place, landed[key].files) == (one.place, one.files)
    s3.rm_file(f"{url}/rows.parquet")
    s3.pipe_file(f"{url}/site/new.md", b"more")
    s3.pipe_file(f"{url}/lines.jsonl.gz", gzip.compress(b"{}\n"))
    for key, said, num_listings in (
        ("lines", r"crawl: the files of delivery lines were changed since it landed", 0),
        ("rows", r"crawl/rows.parquet is not there any more: it was removed .* deliver it again", None),
        ("site", r"crawl/site: the files of delivery site were changed since it landed", 1),
    ):
        requests.clear()
        with pytest.raises(DataError, match=said):
            list(documents_of(landed[key], home.images, tiny().pictures, WebLinks(NotFetched())))  # type: ignore[arg-type]
        assert num_listings in (None, requests["list_objects_v2"])
    assert any(documents_of(landed["parts"], home.images, tiny().pictures, WebLinks(NotFetched())))  # type: ignore[arg-type]


def test_a_crawl_that_is_not_there_or_cannot_be_reached_is_named_with_what_to_do(
    bucket: str, s3: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        DataError, match=r"s3://no-such-bucket/x cannot be used: .* create the bucket, or correct NYX_C"
    ):
        find_deliveries("s3://no-such-bucket/x")
    with pytest.raises(DataError, match=f"{bucket}/empty holds no delivery"):
        find_deliveries(f"{bucket}/empty")
    with pytest.raises(ConfigError, match="s4://x/y cannot be opened: Protocol not known: s4"):
        find_deliveries("s4://x/y")
    (delivery,) = (one for one in find_deliveries(url).deliveries if one.key == "rows")
    monkeypatch.setattr("s3fs.S3FileSystem._call_s3", refuse)
    for call in (lambda: find_deliveries(url), lambda: list(documents_of(delivery, None, tiny().pictures, None))):  # type: ignore[arg-type]
        with pytest.raises(DataError, match=f"{url}.* cannot be used: NoCredentialsError: .*AWS_ENDPOINT_URL.*to read"):
            call()


async def refuse(*arguments: object, **options: object) -> None:
    from botocore.exceptions import NoCredentialsError

    raise NoCredentialsError


def test_a_picture_that_a_store_withholds_fails_the_delivery_and_is_not_called_missing(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (delivery,) = (one for one in find_deliveries(url).deliveries if one.key == "rows")

    ask = s3fs.S3FileSystem._call_s3

    async def withheld(self: Any, method: str, *arguments: Any, **options: Any) -> Any:
        if options.get("Key", "").endswith("shared.png"):
            raise PermissionError(13, "Forbidden")
        return await ask(self, method, *arguments, **options)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", withheld)
    with pytest.raises(DataError, match=r"images/shared.png cannot be used: PermissionError: .*credentials"):
        list(documents_of(delivery, FolderImageStore(str(tmp_path)), tiny().pictures, WebLinks(NotFetched())))  # type: ignore[arg-type]


def test_a_store_that_refuses_is_no_attempt_of_a_partition_and_a_file_that_is_gone_is(
    url: str, s3: Any, tmp_path: Path
) -> None:
    home = Home.at(tmp_path / "home")
    found = {one.key: one for one in find_deliveries(url).deliveries}
    for key in ("rows", "parts"):
        land(home, found[key])

    def attempts(key: str, said: str) -> list[bool]:
        """What becomes of the partition in three tries."""
        taken_out = []
        for number in range(3):
            with pytest.raises(DataError, match=said) as failed:
                list(documents_of(found[key], home.images, tiny().pictures, WebLinks(NotFetched())))  # type: ignore[arg-type]
            attempt = FailedAttempt(
                asset="crawl_documents", crawl=key, code_version="1", error_kind=failed.type.__name__, error=said
            )
            taken_out.append(bool(note_failures(home, [attempt], run_id=str(number), max_attempts=3)))
        return taken_out

    with credentials_expired():
        assert attempts("rows", "cannot be used: .*credentials") == [False] * 3
        with pytest.raises(CrawlUnanswered, match="cannot be used: .*credentials"):
            find_deliveries(url)
    s3.rm_file(f"{url}/parts/b.parquet")
    assert attempts("parts", "parts/b.parquet is not there any more") == [False, False, True]
    assert [one.crawl for one in quarantined_partitions(home)] == ["parts"]


@contextmanager
def credentials_expired() -> Iterator[None]:
    """The S3 server knows no key that this process has."""

    def allow(num_requests: str) -> None:
        address = f"{os.environ['AWS_ENDPOINT_URL']}/moto-api/reset-auth"
        asked = urllib.request.Request(address, data=num_requests.encode(), headers={"Content-Type": "text/plain"})
        with urllib.request.urlopen(asked) as answer:
            assert answer.status == 200

    allow("0")
    try:
        yield
    finally:
        allow("inf")


@pytest.fixture
def ahead(url: str) -> Iterator[FilesAhead]:
    files = FilesAhead(CrawlStore(url))
    yield files
    files.close()


@pytest.mark.parametrize("is_expected", [True, False])
def test_a_small_file_is_the_same_whether_it_was_expected_or_not(
    ahead: FilesAhead, crawl: Path, is_expected: bool
) -> None:
    name = "images/shared.png"
    content = (crawl / name).read_bytes()
    told: Callable[[str], None] = ahead.expect if is_expected else lambda _: None
    for one in (name, name, "images/none.png", "images", "images/\ud800"):
        told(one)
    assert ahead.read(name, max_bytes=len(content)) == content
    told(name)
    with pytest.raises(TooManyBytes) as too_many:
        ahead.read(name, max_bytes=len(content) - 1)
    assert too_many.value.num_bytes == len(content)
    for other, number in {"images/none.png": 2, "images": 21, "images/\ud800": 2}.items():
        with pytest.raises(Unread) as unread:
            ahead.read(other, max_bytes=9)
        assert (unread.value.errno, unread.value.strerror) == (number, os.strerror(number))


def test_files_ahead_hold_no_more_than_they_may(
    ahead: FilesAhead, url: str, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crawl_store, "AHEAD_BYTES", 64_000)
    names = [f"images/big-{number}" for number in range(40)]
    for name in names:
        s3.pipe_file(f"{url}/{name}", b"x" * 4_000)
    for name in names:
        ahead.expect(name)
    assert all(ahead.read(name, max_bytes=4_000) == b"x" * 4_000 for name in names)
    assert ahead._held_bytes == 0


def test_a_crawl_is_named_the_same_however_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert crawl_at("s3://bucket/a/") == "s3://bucket/a"
    assert crawl_at(f"file://{tmp_path}/c") == tmp_path / "c"
    assert crawl_text(crawl_at("c")) == str(tmp_path / "c")
    home = Home.at(tmp_path / "home")
    home.claim(crawl_at("s3://bucket/a"))
    home.claim(crawl_at("s3://bucket/a/"))
    assert home.crawl == "s3://bucket/a"
    with pytest.raises(ConfigError, match="made from the crawl s3://bucket/a, asked for was s3://bucket/b"):
        home.claim("s3://bucket/b")
