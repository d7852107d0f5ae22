"""What a site asks of crawlers is done: robots.txt by address, X-Robots-Tag by answer."""

import pytest


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
