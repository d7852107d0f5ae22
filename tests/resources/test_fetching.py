"""Pictures are fetched ahead, stored once, remembered for good, and refused by name."""

import time
from dataclasses import dataclass, replace
from io import BytesIO
from types import SimpleNamespace

import pytest
from PIL import Image

from resources.fetch_addresses import AllowList, WebAccess
from resources.fetch_client import Fetcher
from resources.fetch_limits import FetchLimits
from resources.fetching import NOT_FETCHED, FetchedPictures
from resources.images import FolderImageStore, PictureRefused


@dataclass(frozen=True)
class Limits:
    max_bytes: int = 200_000
    max_pixels: int = 1_000_000
    min_side_pixels: int = 32


LIMITS = Limits()


class FetchedFromTheTest(FetchedPictures):
    """The real thing, except that names end on this machine."""

    def open_fetcher(self) -> Fetcher:
        async def resolve(host: str, port: int) -> list[str]:
            return ["127.0.0.1"]

        return Fetcher(self._access, self._limits, resolve=resolve)


@pytest.fixture
def home(tmp_path, web, impatient):
    """Sessions over one store and one log, as a home has them."""

    def open_session(picture_limits=LIMITS, **changes):
        access = WebAccess(contact="mailto:crawler@a.example", allow=AllowList.from_text("pictures.test, 127.0.0.1"))
        limits: FetchLimits = replace(impatient, **changes)
        pictures = FetchedFromTheTest(access, limits, log_root=str(tmp_path / "fetch"))
        return pictures.session(store, picture_limits)

    store = FolderImageStore(str(tmp_path / "images"))
    return SimpleNamespace(store=store, open=open_session)


def rule_of(session, address: str) -> str:
    with pytest.raises(PictureRefused) as refused:
        session.take(address)
    return refused.value.rule


def encoded(size: tuple[int, int], kind: str = "PNG") -> bytes:
    stream = BytesIO()
    Image.new("RGB", size, "teal").save(stream, kind)
    return stream.getvalue()


def test_a_picture_is_stored_as_it_came_whatever_it_is_called(web, home):
    web.routes["/a.php"] = lambda it: it.answer(200, encoded((60, 50), "WEBP"), Content_Type="text/html")
    with home.open() as session:
        stored = session.take(web.url("/a.php"))
    assert (stored.format, stored.width, stored.height) == ("WEBP", 60, 50)
    with open(home.store.path(stored.digest), "rb") as file:
        assert file.read() == encoded((60, 50), "WEBP")


SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'


@pytest.mark.parametrize(
    ("body", "rule", "named"),
    [
        (SVG, "not_an_image", "SVG"),
        (b"<!DOCTYPE html><html>not found</html>", "not_an_image", "HTML"),
        (b"", "not_an_image", "empty"),
        (encoded((5000, 300)), "decompression_bomb", "1,500,000 pixels"),
        (encoded((60, 20)), "icon", "60 x 20"),
        (encoded((60, 50))[:-20], "damaged", "cannot be decoded"),
    ],
)
def test_what_is_no_good_picture_is_refused_by_name_with_its_address(web, home, body, rule, named):
    web.routes["/a.png"] = lambda it: it.answer(200, body, Content_Type="image/png")
    with home.open() as session, pytest.raises(PictureRefused, match=named) as refused:
        session.take(web.url("/a.png"))
    assert refused.value.rule == rule
    assert web.url("/a.png") in refused.value.reason


def test_what_was_fetched_or_failed_before_is_not_asked_for_again(web, home, png):
    web.routes["/a.png"] = lambda it: it.answer(200, png)
    web.routes["/b.png"] = lambda it: it.answer(404)
    with home.open() as session:
        stored = session.take(web.url("/a.png"))
        assert rule_of(session, web.url("/b.png")) == "http_404"
    num_asked = len(web.requests)
    with home.open() as session:
        assert session.take(web.url("/a.png")) == stored
        assert rule_of(session, web.url("/b.png")) == "http_404"
    assert len(web.requests) == num_asked


def test_a_failure_counts_for_its_time_and_is_then_tried_again(web, home, png):
    web.routes["/a.png"] = lambda it: it.answer(404)
    with home.open() as session:
        assert rule_of(session, web.url("/a.png")) == "http_404"
    web.routes["/a.png"] = lambda it: it.answer(200, png)
    time.sleep(0.3)
    with home.open(retry_failures_after_seconds=60.0) as session:
        assert rule_of(session, web.url("/a.png")) == "http_404"
    with home.open(retry_failures_after_seconds=0.2) as session:
        assert session.take(web.url("/a.png")).width == 60


def test_a_picture_that_the_store_lost_is_fetched_again(web, home, png):
    web.routes["/a.png"] = lambda it: it.answer(200, png)
    with home.open() as session:
        stored = session.take(web.url("/a.png"))
    home.store.fs.rm_file(home.store.path(stored.digest))
    with home.open() as session:
        assert session.take(web.url("/a.png")) == stored
    assert home.store.exists(stored.digest)


def test_other_picture_limits_judge_the_stored_file_anew_and_a_lost_link_loses_nothing(web, home, png):
    web.routes["/a.png"] = lambda it: it.answer(200, png)
    with home.open() as session:
        stored = session.take(web.url("/a.png"))
    web.routes["/a.png"] = lambda it: it.answer(404)
    with home.open(Limits(min_side_pixels=51)) as session:
        assert rule_of(session, web.url("/a.png")) == "icon"
    web.routes["/a.png"] = lambda it: it.answer(200, png)
    with home.open(Limits(min_side_pixels=50)) as session:
        assert session.take(web.url("/a.png")) == stored


def test_expected_pictures_are_fetched_at_once_and_each_only_once(web, home, png):
    def slowly(it) -> None:
        time.sleep(0.2)
        it.answer(200, png)

    web.default = slowly
    web.routes["/robots.txt"] = lambda it: it.answer(404)
    addresses = [web.url(f"/{number}.png") for number in range(8)]
    with home.open() as session:
        for address in addresses * 3:
            session.expect(address)
        assert {session.take(address).width for address in addresses} == {60}
    assert len(web.requests) == 1 + len(addresses)
    assert web.most_served == 8


def test_an_interrupted_session_ends_at_once_and_the_next_goes_on_where_it_stopped(web, home, png):
    def stuck(it) -> None:
        time.sleep(4.0)
        it.close_connection = True

    web.default = lambda it: it.answer(200, png)
    web.routes["/stuck.png"] = stuck
    began = time.monotonic()
    with home.open(silence_seconds=30.0, request_seconds=30.0) as session:
        session.expect(web.url("/stuck.png"))
        session.take(web.url("/done.png"))
    assert time.monotonic() - began < 3.0
    web.routes["/stuck.png"] = web.default
    with home.open() as session:
        session.take(web.url("/done.png"))
        session.take(web.url("/stuck.png"))
    assert web.asked("/done.png") == 1


def test_nothing_is_fetched_where_that_is_not_wanted(web, home):
    with NOT_FETCHED.session(home.store, LIMITS) as session:
        session.expect(web.url("/a.png"))
        assert rule_of(session, web.url("/a.png")) == "not_fetched"
    assert web.requests == []
