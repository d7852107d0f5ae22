"""Pictures on the web: a page keeps those that could be had, and what links came to is counted by host and cause."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pytest

from nyx_assets.corpus.deliveries import find_deliveries
from nyx_assets.corpus.links import WebLinks, host_of, link_rot_text
from nyx_assets.corpus.pages import PAGES_AHEAD, documents_of
from nyx_assets.corpus.pictures import web_address
from nyx_assets.recipes import tiny
from nyx_assets.records import LINK_ROT
from resources.fetch_addresses import AllowList, WebAccess
from resources.fetching import NOT_FETCHED, FetchedPictures
from resources.home import Home
from resources.images import FolderImageStore, PictureRefused, StoredImage
from resources.tables import Provenance


@pytest.fixture
def store(tmp_path: Path) -> FolderImageStore:
    return FolderImageStore(str(tmp_path / "images"))


@pytest.fixture
def site(tmp_path, picture) -> Iterator[str]:
    """The address of a site that has /good.png and nothing else."""
    data = picture(tmp_path / "served" / "good.png").read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            has_it = self.path == "/good.png"
            self.send_response(200 if has_it else 404)
            self.end_headers()
            self.wfile.write(data if has_it else b"")

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_page_keeps_its_good_pictures_from_the_web_and_the_losses_are_counted_by_host_and_cause(
    tmp_path, store, site, picture, row, write_parquet
):
    crawl = tmp_path / "crawl"
    picture(crawl / "local.png", colour="red")
    good, gone = f"http://{site}/good.png", f" HTTP://{site}/gone.png"
    references = [good, "local.png", gone, "http://[::1]:9/x.png", "data:image/png;base64,AA", good]
    write_parquet(crawl / "p.parquet", [row((None, "A page."), *((reference, None) for reference in references))])
    access = WebAccess(contact="mailto:crawler@a.example", allow=AllowList.from_text("127.0.0.1"))
    pictures = FetchedPictures(access, tiny().fetching, log_root=str(tmp_path / "fetch"))
    with pictures.session(store, tiny().pictures) as session:
        links = WebLinks(session)
        rows = list(documents_of(find_deliveries(crawl).deliveries[0], store, tiny().pictures, links))
    *rejected, document = (item.values for item in rows)
    assert document["num_images"] == 3
    assert [(values["reference"], values["rule"], values["position"]) for values in rejected] == [
        (gone, "http_404", 3),
        ("http://[::1]:9/x.png", "forbidden_address", 4),
        ("data:image/png;base64,AA", "unsupported_scheme", 5),
    ]
    table = pa.Table.from_pylist(list(links.rows()), schema=LINK_ROT).to_pylist()
    assert [(values["host"], values["rule"], values["num_references"], values["share"]) for values in table] == [
        ("127.0.0.1", "taken", 2, 2 / 3),
        ("127.0.0.1", "http_404", 1, 1 / 3),
        ("::1", "forbidden_address", 1, 1.0),
    ]
    assert table[1]["example"] == gone.strip()
    assert (links.num_taken, links.num_lost) == (2, 2)


class SlowReader:
    """A session that only notes what is expected and when it is taken."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def expect(self, address: str) -> None:
        self.events.append(("expect", address))

    def take(self, address: str) -> StoredImage:
        self.events.append(("take", address))
        if address.endswith("gone"):
            raise PictureRefused("http_404", "gone")
        return StoredImage(digest="0" * 64, format="PNG", width=60, height=50)


def test_the_pictures_of_the_pages_ahead_are_expected_and_no_more(tmp_path, store, row, write_parquet):
    num_pages = 3 * PAGES_AHEAD
    rows = [row((None, f"Page {number}."), (f"http://h/{number}", None)) for number in range(num_pages)]
    write_parquet(tmp_path / "crawl" / "p.parquet", rows, row_group_size=50)
    session = SlowReader()
    pages = documents_of(find_deliveries(tmp_path / "crawl").deliveries[0], store, tiny().pictures, WebLinks(session))
    for number, _ in enumerate(pages):
        num_expected = sum(kind == "expect" for kind, _ in session.events)
        assert num_expected == min(number + 1 + PAGES_AHEAD, num_pages)
    assert [address for kind, address in session.events if kind == "take"] == [
        f"http://h/{n}" for n in range(num_pages)
    ]


def test_hosts_with_the_most_losses_come_first_and_of_a_host_the_most_frequent_cause(store):
    links = WebLinks(SlowReader())
    taken = ["http://Fine.test/1"] * 5 + ["http://rotten.test/1"]
    for address in [*taken, *["http://rotten.test/gone"] * 3, "http://fine.test/gone", "http://[broken/gone"]:
        try:
            links.take(address)
        except PictureRefused:
            assert address.endswith("gone")
    found = [(values["host"], values["rule"], values["num_references"]) for values in links.rows()]
    assert found == [
        ("rotten.test", "http_404", 3),
        ("rotten.test", "taken", 1),
        ("(no host)", "http_404", 1),
        ("fine.test", "taken", 5),
        ("fine.test", "http_404", 1),
    ]


def test_without_fetching_every_reference_to_the_web_is_counted_as_not_fetched(store):
    with NOT_FETCHED.session(store, tiny().pictures) as session:
        links = WebLinks(session)
        with pytest.raises(PictureRefused, match="NYX_FETCH=on"):
            links.take("https://a.example/x.png")
    assert [(values["rule"], values["share"]) for values in links.rows()] == [("not_fetched", 1.0)]


@pytest.mark.parametrize(
    ("reference", "address"),
    [
        ("https://a.example/x.png", "https://a.example/x.png"),
        (" HTTP://a.example/x ", "HTTP://a.example/x"),
        ("//a.example/x.png", "https://a.example/x.png"),
        ("images//x.png", None),
        ("ftp://a.example/x.png", None),
        ("http:x.png", None),
        ("/a.png", None),
    ],
)
def test_a_reference_to_the_web_is_told_from_a_path(reference, address):
    assert web_address(reference) == address


def test_the_host_of_an_address_is_its_name_in_lower_case():
    assert host_of("https://user:p@A.Example:81/x") == "a.example"


def test_losses_over_all_partitions_are_told_by_host_and_cause_the_greatest_first(tmp_path):
    home = Home.at(tmp_path / "home")

    def write(partition: str, *counts: tuple[str, str, int]) -> None:
        with home.tables.write(
            "link_rot", LINK_ROT, partition=partition, provenance=Provenance(code_version="1")
        ) as table:
            table.append(
                {"host": host, "rule": rule, "num_references": num, "share": 1.0, "example": f"https://{host}/x"}
                for host, rule, num in counts
            )

    assert link_rot_text(home) == ""
    write("p", ("a.org", "taken", 90))
    assert link_rot_text(home) == "", "nothing is lost"
    write(
        "q", ("a.org", "http_404", 5), ("b.org", "timeout", 3), *((f"h{number}.org", "gone", 1) for number in range(5))
    )
    write("r", ("a.org", "http_404", 2), ("a.org", "timeout", 3))
    assert link_rot_text(home).splitlines() == [
        "Pictures on the web: 18 of 108 references lost (17%); most of them:",
        "  a.org: 7 of 100 http_404, e.g. https://a.org/x",
        "  a.org: 3 of 100 timeout, e.g. https://a.org/x",
        "  b.org: 3 of 3 timeout, e.g. https://b.org/x",
        "  h0.org: 1 of 1 gone, e.g. https://h0.org/x",
        "  h1.org: 1 of 1 gone, e.g. https://h1.org/x",
        "  and 3 more hosts and causes: SELECT * FROM link_rot",
    ]
