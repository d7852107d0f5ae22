"""A hostile server gets no further than the limits, and an honest one is asked as it wants to be."""

import asyncio
import gzip
import shutil
import socket
import ssl
import subprocess
import time
from dataclasses import replace

import pytest

from resources.fetch_addresses import AllowList, WebAccess
from resources.fetch_client import FetchedFile, Fetcher
from resources.images import PictureRefused

CONTACT = "https://crawler.example/about"
MAX_BYTES = 200_000


async def names_of_the_test(host: str, port: int) -> list[str]:
    """`*.test` leads to 127.0.0.1; any other name is read as the system would read it, which must be an address."""
    return ["127.0.0.1"] if host.endswith(".test") else [socket.inet_ntoa(socket.inet_aton(host))]


@pytest.fixture
def fetch_all(impatient):
    """Files or refusals behind some addresses, asked for by one fetcher, in order."""

    def fetch(*addresses, allow="pictures.test, other.test", limits=impatient, at_once=False, **options):
        async def ask(fetcher: Fetcher, address: str) -> FetchedFile | PictureRefused:
            try:
                return await fetcher.fetch(address, max_bytes=MAX_BYTES)
            except PictureRefused as refusal:
                return refusal

        async def ask_all() -> list[FetchedFile | PictureRefused]:
            access = WebAccess(contact=CONTACT, allow=AllowList.from_text(allow))
            fetcher = Fetcher(access, limits, **{"resolve": names_of_the_test} | options)
            try:
                if at_once:
                    return await asyncio.gather(*(ask(fetcher, address) for address in addresses))
                return [await ask(fetcher, address) for address in addresses]
            finally:
                await fetcher.aclose()

        return asyncio.run(ask_all())

    return fetch


@pytest.fixture
def fetch(fetch_all):
    def fetch_one(address, **options):
        return fetch_all(address, **options)[0]

    return fetch_one


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
            "User-Agent": f"nyx (+{CONTACT})",
            "Accept-Encoding": "identity",
        }


INWARD = [
    "http://127.0.0.1:{port}/secret",
    "http://169.254.169.254/latest/meta-data/",
    "http://0.0.0.0:{port}/secret",
    "http://2130706433:{port}/secret",
    "http://0x7f.1:{port}/secret",
    "//127.0.0.1:{port}/secret",
]
INWARD_6 = ["http://[::1]:{port}/secret", "http://[::ffff:127.0.0.1]:{port}/secret", "http://[64:ff9b::7f00:1]/secret"]


@pytest.mark.parametrize("target", INWARD)
def test_a_redirect_inwards_is_refused_and_nothing_inside_is_asked(web, fetch, target):
    web.routes["/a.png"] = lambda it: it.answer(302, Location=target.format(port=web.port))
    web.routes["/secret"] = lambda it: it.answer(200, b"secret")
    refusal = fetch(web.url("/a.png"))
    assert refusal.rule == "forbidden_address"
    assert [path for _, path, _ in web.requests] == ["/robots.txt", "/a.png"]


@pytest.mark.parametrize("target", INWARD + INWARD_6)
def test_an_inward_address_in_a_page_is_refused(web, fetch, target):
    async def as_it_stands(host: str, port: int) -> list[str]:
        return [host] if ":" in host else await names_of_the_test(host, port)

    address = target.format(port=web.port)
    refusal = fetch("http:" + address if address.startswith("//") else address, resolve=as_it_stands)
    assert (refusal.rule, web.requests) == ("forbidden_address", [])


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


def test_the_address_that_was_checked_is_the_one_connected_to_when_dns_changes_its_answer(web, fetch_all, png):
    answers = [["127.0.0.2"], ["127.0.0.2"], ["127.0.0.1"], ["127.0.0.1"]]
    num_asked = 0

    async def changing(host: str, port: int) -> list[str]:
        nonlocal num_asked
        num_asked += 1
        return answers[num_asked - 1]

    def closing(status: int, body: bytes = b""):
        def behave(it) -> None:
            it.answer(status, body, Connection="close")  # so that each request needs a connection, and an address
            it.close_connection = True

        return behave

    web.routes["/robots.txt"] = closing(404)
    web.routes["/a.png"] = closing(200, png)
    first, second = fetch_all(web.url("/a.png"), web.url("/a.png"), allow="127.0.0.2/32", resolve=changing)
    assert first.data == png
    assert second.rule == "forbidden_address"
    assert num_asked == 3  # one look-up a connection: nothing is looked up again between check and connection
    assert (web.asked_at("127.0.0.2"), web.asked_at("127.0.0.1")) == (2, 0)


def test_a_name_with_one_forbidden_address_among_good_ones_is_refused(web, fetch):
    async def both(host: str, port: int) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"]

    assert fetch(web.url("/a.png"), allow="127.0.0.2/32", resolve=both).rule == "forbidden_address"
    assert web.requests == []


def test_the_next_address_of_a_name_is_tried_where_one_is_dead(web, fetch, png):
    async def dead_then_alive(host: str, port: int) -> list[str]:
        return ["127.0.0.3", "127.0.0.1"]

    web.routes["/a.png"] = lambda it: it.answer(200, png)
    assert fetch(web.url("/a.png"), resolve=dead_then_alive).data == png


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


def test_429_with_retry_after_is_waited_for(web, fetch, png):
    def busy_at_first(it) -> None:
        if web.asked("/a.png") == 1:
            it.answer(429, Retry_After="1")
        else:
            it.answer(200, png)

    web.routes["/a.png"] = busy_at_first
    assert fetch(web.url("/a.png")).data == png
    answered = [moment for moment, (_, path, _) in zip(web.times, web.requests) if path == "/a.png"]
    assert 0.9 < answered[1] - answered[0] < 2.5


def test_a_host_that_asked_for_rest_is_not_asked_for_another_picture_meanwhile(web, fetch_all, png, impatient):
    web.routes["/robots.txt"] = lambda it: it.answer(404)
    web.routes["/a.png"] = lambda it: it.answer(429, Retry_After="1")
    web.default = lambda it: it.answer(200, png)
    limits = replace(impatient, max_attempts=1, seconds_between_requests=0.3)
    addresses = [web.url(f"/{name}.png") for name in "abc"]  # b and c wait in line while a is refused
    busy, *others = fetch_all(*addresses, limits=limits, at_once=True)
    assert busy.rule == "http_429"
    assert [other.data for other in others] == [png, png]
    asked_at = {path: moment for moment, (_, path, _) in zip(web.times, web.requests)}
    assert 0.7 < min(asked_at["/b.png"], asked_at["/c.png"]) - asked_at["/a.png"] < 2.5


def test_a_rest_longer_than_the_limit_is_a_refusal(web, fetch):
    web.routes["/a.png"] = lambda it: it.answer(429, Retry_After="3600")
    began = time.monotonic()
    assert (fetch(web.url("/a.png")).rule, web.asked("/a.png")) == ("http_429", 1)
    assert time.monotonic() - began < 5.0


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


def test_no_server_and_no_name_are_told_apart_and_only_the_first_is_tried_again(web, fetch, impatient):
    num_asked = 0

    async def unknown(host: str, port: int) -> list[str]:
        nonlocal num_asked
        num_asked += 1
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    with socket.create_server(("127.0.0.1", 0)) as server:
        free_port = server.getsockname()[1]
    assert fetch(f"http://pictures.test:{free_port}/a.png").rule == "connection_failed"
    assert (fetch(web.url("/a.png"), resolve=unknown).rule, num_asked) == ("unresolved_host", 1)


def test_robots_txt_is_read_once_a_site_and_obeyed_wildcards_included(web, fetch_all, png):
    rules = (
        b"User-agent: *\nDisallow: /private/*.png$\nAllow: /private/open.png$\n\nUser-agent: otherbot\nDisallow: /\n"
    )
    web.routes["/robots.txt"] = lambda it: it.answer(200, rules)
    web.default = lambda it: it.answer(200, png)
    paths = ["/a.png", "/private/b.png", "/private/open.png", "/private/b.png?x"]
    outcomes = fetch_all(*(web.url(path) for path in paths), at_once=True)
    assert [getattr(outcome, "rule", "") for outcome in outcomes] == ["", "robots_disallowed", "", ""]
    assert (web.asked("/robots.txt"), web.asked("/private/b.png")) == (1, 0)


def test_the_robots_txt_of_a_redirects_target_counts_too(web, fetch):
    def robots(it) -> None:
        is_other = it.headers["Host"].startswith("other.test")
        it.answer(200, b"User-agent: nyx\nDisallow: /\n" if is_other else b"")

    web.routes["/robots.txt"] = robots
    web.routes["/a.png"] = lambda it: it.answer(302, Location=web.url("/b.png", host="other.test"))
    assert (fetch(web.url("/a.png")).rule, web.asked("/b.png")) == ("robots_disallowed", 0)


@pytest.mark.parametrize(
    ("status", "rule"),
    [(404, ""), (401, ""), (500, "robots_unreachable"), (501, "robots_unreachable"), (429, "robots_unreachable")],
)
def test_a_robots_txt_that_is_not_there_allows_all_and_one_that_cannot_be_had_nothing(web, fetch, png, status, rule):
    web.routes["/robots.txt"] = lambda it: it.answer(status)
    web.routes["/a.png"] = lambda it: it.answer(200, png)
    assert getattr(fetch(web.url("/a.png")), "rule", "") == rule


def test_only_the_first_bytes_of_an_endless_robots_txt_are_read(web, fetch, png):
    def endless(it) -> None:
        it.send_response(200)
        it.end_headers()
        it.close_connection = True
        it.wfile.write(b"User-agent: *\nDisallow: /no\n")
        while True:
            it.wfile.write(b"# nothing\n" * 1000)

    web.routes["/robots.txt"] = endless
    web.default = lambda it: it.answer(200, png)
    assert fetch(web.url("/a.png")).data == png
    assert fetch(web.url("/no.png")).rule == "robots_disallowed"


def test_a_robots_txt_may_be_behind_redirects_but_not_inside(web, fetch, png):
    web.routes["/robots.txt"] = lambda it: it.answer(301, Location="/rules.txt")
    web.routes["/rules.txt"] = lambda it: it.answer(200, b"User-agent: *\nDisallow: /no\n")
    web.default = lambda it: it.answer(200, png)
    assert fetch(web.url("/no.png")).rule == "robots_disallowed"
    web.routes["/robots.txt"] = lambda it: it.answer(301, Location=f"http://127.0.0.1:{web.port}/rules.txt")
    num_before = len(web.requests)
    assert fetch(web.url("/yes.png")).rule == "forbidden_address"
    assert len(web.requests) == num_before + 1


@pytest.mark.parametrize(
    ("tag", "rule"),
    [
        ("noai", "noai"),
        ("nosnippet, NoImageAI", "noai"),
        ("nyx: noai", "noai"),
        ("noindex", "noindex"),
        ("none", "noindex"),
        ("unavailable_after: 25 Jun 2030 15:00:00 PST, noai", "noai"),
        ("otherbot: noai, noimageai", ""),
        ("nofollow, max-snippet: 5", ""),
    ],
)
def test_x_robots_tag_is_obeyed_before_the_body_is_read(web, fetch, png, tag, rule):
    web.routes["/a.png"] = lambda it: it.answer(200, png, X_Robots_Tag=tag)
    assert getattr(fetch(web.url("/a.png")), "rule", "") == rule


def test_a_tag_on_robots_txt_is_about_that_file_only(web, fetch, png):
    web.routes["/robots.txt"] = lambda it: it.answer(200, b"", X_Robots_Tag="noindex")
    web.routes["/a.png"] = lambda it: it.answer(200, png)
    assert fetch(web.url("/a.png")).data == png


def test_a_host_is_asked_by_no_more_than_its_share_at_once(web, fetch_all, png, impatient):
    def slowly(it) -> None:
        time.sleep(0.05)
        it.answer(200, png)

    web.default = slowly
    addresses = [web.url(f"/{number}.png") for number in range(9)]
    outcomes = fetch_all(*addresses, limits=replace(impatient, max_in_flight_per_host=3), at_once=True)
    assert all(outcome.data == png for outcome in outcomes)
    assert web.most_served == 3


def test_all_hosts_together_are_asked_by_no_more_than_the_whole_at_once(web, fetch_all, png, impatient):
    def slowly(it) -> None:
        time.sleep(0.05)
        it.answer(200, png)

    web.default = slowly
    addresses = [web.url(f"/{number}.png", host=f"h{number % 5}.test") for number in range(15)]
    hosts = ", ".join(f"h{number}.test" for number in range(5))
    outcomes = fetch_all(*addresses, limits=replace(impatient, max_in_flight=4), allow=hosts, at_once=True)
    assert all(outcome.data == png for outcome in outcomes)
    assert web.most_served == 4


@pytest.mark.parametrize(
    ("spacing", "crawl_delay"), [(0.15, ""), (0.0, "Crawl-delay: 0.15\n"), (0.15, "Crawl-delay: 0\n")]
)
def test_requests_to_one_host_keep_their_distance(web, fetch_all, png, impatient, spacing, crawl_delay):
    web.routes["/robots.txt"] = lambda it: it.answer(200, b"User-agent: *\n" + crawl_delay.encode())
    web.default = lambda it: it.answer(200, png)
    addresses = [web.url(f"/{number}.png") for number in range(4)]
    fetch_all(*addresses, limits=replace(impatient, seconds_between_requests=spacing), at_once=True)
    moments = [moment for moment, (_, path, _) in zip(web.times, web.requests) if path != "/robots.txt"]
    assert 0.3 < moments[-1] - moments[0] < 1.5  # three times 0.15 s, measured from outside on a busy machine


def test_a_slow_host_does_not_hold_up_another(web, fetch_all, png, impatient):
    web.routes["/robots.txt"] = lambda it: it.answer(404)
    web.default = lambda it: it.answer(200, png)
    slow = [web.url(f"/{number}.png") for number in range(4)]
    limits = replace(impatient, seconds_between_requests=0.5, max_in_flight=2)
    began = time.monotonic()
    fetch_all(*slow, web.url("/x.png", host="other.test"), limits=limits, at_once=True)
    at = next(moment for moment, (_, path, _) in zip(web.times, web.requests) if path == "/x.png")
    assert at - began < 1.4  # the five requests to the slow one take two seconds


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A key and a certificate for pictures.test, signed by itself."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate of this test, is not here")
    path = tmp_path_factory.mktemp("tls") / "pictures.pem"
    subprocess.run(
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=pictures.test -addext subjectAltName=DNS:pictures.test "
        f"-keyout {path} -out {path}".split(),
        check=True,
        capture_output=True,
    )
    return path


def test_tls_is_made_for_the_name_although_the_connection_goes_to_the_checked_address(web, fetch_all, png, certificate):
    named = []
    inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    inside.load_cert_chain(certificate)
    inside.sni_callback = lambda connection, name, context: named.append(name)
    web.serve_tls(inside)
    web.routes["/a.png"] = lambda it: it.answer(200, png)
    believed = ssl.create_default_context(cafile=str(certificate))
    urls = [f"https://{host}:{web.port}/a.png" for host in ("pictures.test", "other.test")]
    good, wrong_name = fetch_all(*urls, tls=believed)
    assert good.data == png
    assert wrong_name.rule == "connection_failed"
    assert "certificate" in wrong_name.reason
    assert set(named) == {"pictures.test", "other.test"}


def test_a_certificate_that_nobody_signed_is_not_believed(web, fetch, certificate):
    inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    inside.load_cert_chain(certificate)
    web.serve_tls(inside)
    refusal = fetch(f"https://pictures.test:{web.port}/a.png")
    assert (refusal.rule, web.requests) == ("connection_failed", [])
