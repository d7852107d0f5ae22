"""What decides is the address that a connection really goes to, and TLS is made for the name."""

import shutil
import socket
import ssl
import subprocess

import pytest

INWARD = [
    "http://127.0.0.1:{port}/secret",
    "http://169.254.169.254/latest/meta-data/",
    "http://0.0.0.0:{port}/secret",
    "http://2130706433:{port}/secret",
    "http://0x7f.1:{port}/secret",
    "//127.0.0.1:{port}/secret",
]
INWARD_6 = ["http://[::1]:{port}/secret", "http://[::ffff:127.0.0.1]:{port}/secret", "http://[64:ff9b::7f00:1]/secret"]


@pytest.mark.parametrize("target", INWARD + INWARD_6)
def test_an_inward_address_in_a_page_is_refused(web, fetch, target):
    address = target.format(port=web.port)
    refusal = fetch("http:" + address if address.startswith("//") else address)
    assert (refusal.rule, web.requests) == ("forbidden_address", [])


@pytest.mark.parametrize("target", INWARD)
def test_a_redirect_inwards_is_refused_and_nothing_inside_is_asked(web, fetch, target):
    web.routes["/a.png"] = lambda it: it.answer(302, Location=target.format(port=web.port))
    web.routes["/secret"] = lambda it: it.answer(200, b"secret")
    refusal = fetch(web.url("/a.png"))
    assert refusal.rule == "forbidden_address"
    assert [path for _, path, _ in web.requests] == ["/robots.txt", "/a.png"]


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
