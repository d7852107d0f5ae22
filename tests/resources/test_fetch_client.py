"""A hostile server gets no further than the limits, and an honest one is asked as it wants to be."""

import gzip
import time

import pytest

from resources.fetch_client import FetchedFile

MAX_BYTES = 200_000
"""Of the fixture `fetch_all`."""


def test_a_picture_arrives_byte_for_byte_and_says_where_it_came_from(web, fetch, png):
    web.routes["/moved.png"] = lambda it: it.answer(301, Location="a.png?size=2#top")
    web.routes["/a.png?size=2"] = lambda it: it.answer(200, png)
    assert fetch(web.url("/moved.png#x")) == FetchedFile(png, web.url("/a.png?size=2"))


def test_a_request_names_us_and_carries_nothing_else_about_anybody(web, fetch_all, png, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # the fetcher must not even try it
    web.routes["/1.png"] = lambda it: it.answer(200, png, Set_Cookie="session=1; Path=/")
    web.routes["/2.png"] = lambda it: it.answer(302, Location="/1.png", Set_Cookie="other=2")
    first, second = fetch_all(web.url("/1.png"), web.url("/2.png"))
    assert first.data == second.data == png
    assert len(web.requests) == 4  # robots.txt, 1.png, 2.png, 1.png
    for _, _, headers in web.requests:
        assert headers.pop("Accept").startswith("image/")
        assert headers == {
            "Host": f"pictures.test:{web.port}",
            "User-Agent": "nyx (+https://crawler.example/about)",
            "Accept-Encoding": "identity",
        }


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://a.example/x.png", "data:image/png;base64,AA", "gopher:x"]
)
def test_a_redirect_to_another_scheme_is_refused_by_name(web, fetch, target):
    web.routes["/a.png"] = lambda it: it.answer(302, Location=target)
    refusal = fetch(web.url("/a.png"))
    assert (refusal.rule, web.url("/a.png") in refusal.reason) == ("unsupported_scheme", True)


@pytest.mark.parametrize("target", ["http://[::1", "https:////;]=1]\\@", "http://a.test:x/"])
def test_a_redirect_to_what_is_no_address_is_refused_by_name(web, fetch, target):
    web.routes["/a.png"] = lambda it: it.answer(302, Location=target)
    assert fetch(web.url("/a.png")).rule == "bad_address"


@pytest.mark.parametrize(
    ("address", "rule"),
    [
        ("http://a.test/\ud83d", "bad_address"),
        ("http://user:secret@pictures.test/a.png", "bad_address"),
        ("http:///a.png", "bad_address"),
        ("http://pictures.test:99999/a.png", "bad_address"),
        ("http://pictures.test:0/a.png", "bad_address"),
        ("http://pictures.test/\n", "bad_address"),
        ("http://pic tures.test/", "bad_address"),
        ("http://pictures.test\\@127.0.0.1/", "bad_address"),
        ("file:///etc/passwd", "unsupported_scheme"),
    ],
)
def test_an_address_that_cannot_be_asked_for_is_refused_before_anything_is_asked(web, fetch, address, rule):
    assert (fetch(address).rule, web.requests) == (rule, [])


def drip(it) -> None:
    it.send_response(200)
    it.send_header("Content-Length", "100000")
    it.end_headers()
    for _ in range(200):
        it.wfile.write(b"x")
        time.sleep(0.05)


def drip_of_headers(it) -> None:
    it.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(200):
        it.wfile.write(f"X-{number}: y\r\n".encode())
        time.sleep(0.05)


@pytest.mark.parametrize("behaviour", [drip, drip_of_headers])
def test_a_drip_ends_when_the_time_is_up_and_is_not_tried_again(web, fetch, behaviour):
    web.routes["/a.png"] = behaviour
    began = time.monotonic()
    refusal = fetch(web.url("/a.png"))
    assert (refusal.rule, web.asked("/a.png")) == ("too_slow", 1)
    assert 0.9 < time.monotonic() - began < 4.0  # the drip goes on for ten seconds


def test_silence_is_a_timeout_and_tried_again(web, fetch, png):
    def silent_at_first(it) -> None:
        if web.asked("/a.png") == 1:
            time.sleep(0.8)
            it.close_connection = True
        else:
            it.answer(200, png)

    web.routes["/a.png"] = silent_at_first
    web.routes["/b.png"] = lambda it: time.sleep(0.8)
    assert fetch(web.url("/a.png")).data == png
    assert (fetch(web.url("/b.png")).rule, web.asked("/b.png")) == ("timeout", 3)


def test_an_endless_body_is_cut_off_at_the_limit(web, fetch):
    num_sent = 0

    def endless(it) -> None:
        nonlocal num_sent
        it.send_response(200)
        it.send_header("Transfer-Encoding", "chunked")
        it.end_headers()
        while True:
            it.wfile.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            num_sent += 0x10000

    web.routes["/a.png"] = endless
    assert fetch(web.url("/a.png")).rule == "too_large"
    assert num_sent < MAX_BYTES + 16_000_000  # what the two sockets may hold beyond what was read
    assert web.asked("/a.png") == 1


def test_an_endless_head_is_refused(web, fetch):
    def endless(it) -> None:
        it.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            it.wfile.write(b"X-Padding: " + b"y" * 60_000 + b"\r\n")

    web.routes["/a.png"] = endless
    assert fetch(web.url("/a.png")).rule == "connection_failed"


def test_a_file_of_the_largest_size_is_taken_and_one_byte_more_is_not(web, fetch_all):
    web.routes["/most"] = lambda it: it.answer(200, b"x" * MAX_BYTES)
    web.routes["/more"] = lambda it: it.answer(200, b"x" * (MAX_BYTES + 1))
    most, more = fetch_all(web.url("/most"), web.url("/more"))
    assert (len(most.data), more.rule) == (MAX_BYTES, "too_large")


def test_a_size_that_is_announced_above_the_limit_is_refused_without_waiting_for_the_body(web, fetch):
    def announce(it) -> None:
        it.send_response(200)
        it.send_header("Content-Length", str(MAX_BYTES + 1))
        it.end_headers()
        it.wfile.flush()
        time.sleep(0.8)

    web.routes["/a.png"] = announce
    assert fetch(web.url("/a.png")).rule == "too_large"  # who waits finds silence


def test_a_lie_about_the_length_does_not_get_more_bytes_in(web, fetch):
    web.routes["/a.png"] = lambda it: it.answer(200, b"x" * 500_000, announced=100)
    assert len(fetch(web.url("/a.png")).data) == 100


def test_a_gzip_bomb_is_refused_unopened(web, fetch):
    bomb = gzip.compress(b"\0" * 50_000_000)
    assert len(bomb) < MAX_BYTES
    web.routes["/a.png"] = lambda it: it.answer(200, bomb, Content_Encoding="gzip")
    assert fetch(web.url("/a.png")).rule == "content_encoding"


def test_a_truncated_body_is_asked_for_again_and_refused_by_name_if_it_stays_so(web, fetch_all, png):
    web.routes["/a.png"] = lambda it: it.answer(200, png if web.asked("/a.png") == 3 else png[:99], announced=len(png))
    web.routes["/b.png"] = lambda it: it.answer(200, png[:-1], announced=len(png))
    better, never = fetch_all(web.url("/a.png"), web.url("/b.png"))
    assert better.data == png
    assert (never.rule, web.asked("/b.png")) == ("truncated", 3)


@pytest.mark.parametrize(
    ("status", "num_attempts"), [(500, 3), (503, 3), (404, 1), (403, 1), (410, 1), (304, 1), (206, 1)]
)
def test_a_status_is_the_cause_and_only_passing_ones_are_tried_again(web, fetch, status, num_attempts):
    web.routes["/a.png"] = lambda it: it.answer(status)
    assert (fetch(web.url("/a.png")).rule, web.asked("/a.png")) == (f"http_{status}", num_attempts)


def test_a_redirect_loop_ends(web, fetch):
    web.routes["/a.png"] = lambda it: it.answer(302, Location="/b.png")
    web.routes["/b.png"] = lambda it: it.answer(307, Location=web.url("/a.png"))
    refusal = fetch(web.url("/a.png"))
    assert refusal.rule == "too_many_redirects"
    assert web.asked("/a.png") + web.asked("/b.png") == 5  # the first request and four redirects


def test_a_redirect_without_a_target_is_the_status_it_is(web, fetch):
    web.routes["/a.png"] = lambda it: it.answer(302)
    assert fetch(web.url("/a.png")).rule == "http_302"
