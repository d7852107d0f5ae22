"""Pages that are one page, or show the same, fall together; pages that only look alike do not."""

import json

import pytest

from nyx_assets.corpus.clusters import clusters_of, page_key
from training_kernels.documents import Document, Segment


def page(doc_id: str, url: str, *parts, title: str = "Introduction") -> dict:
    parts = parts or (f"text of {doc_id}",)
    return {"doc_id": doc_id, "url": url, "title": title, "segments": Document.of(*parts).to_rows()}


def picture(letter: str) -> Segment:
    return Segment(image=letter * 64)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (
            "https://github.com/o/r/blob/63157f370b09/m1/index.cnxml",
            "https://github.com/o/r/blob/5c92b85bce46/m1/index.cnxml",
            True,
        ),
        (
            "https://github.com/o/r/blob/63157f370b09/m1/index.cnxml",
            "https://github.com/o/r/blob/63157f370b09/m2/index.cnxml",
            False,
        ),
        ("http://www.site.org/a/?utm=3", "https://site.org/a", True),
        ("https://docs.org/v1.2/install", "https://docs.org/2.0.1/install", True),
        ("https://site.org/a", "https://site.org/b", False),
        ("https://site.org/book#1", "https://site.org/book#2", False),
        ("https://site.org/2016/03/07/post", "https://site.org/2017/03/07/post", False),
        ("https://site.org/facade/defaced", "https://site.org/defaced/facade", False),  # words of hex letters stay
    ],
)
def test_the_page_key_forgets_the_state_of_a_page_and_nothing_else(one, other, is_same):
    assert (page_key(one, "x") == page_key(other, "y")) is is_same


def test_a_page_without_an_address_goes_by_its_title():
    assert page_key("", "The  Bridge") == page_key(" ", "the bridge")
    assert page_key("", "The Bridge") != page_key("", "The Tower")


def test_pages_that_share_a_picture_or_a_text_directly_or_through_others_are_one_cluster():
    clusters = clusters_of(
        [
            page("d1", "https://s/z", "one", picture("a")),
            page("d2", "https://s/y", "two", picture("a"), picture("b")),
            page("d3", "https://s/x", picture("b"), "three"),
            page("d4", "https://s/w", " THREE "),
            page("d5", "https://s/v", "five", picture("c")),
        ]
    )
    assert len({clusters[doc] for doc in ("d1", "d2", "d3", "d4")}) == 1
    assert clusters["d5"] != clusters["d1"]


def test_the_order_of_pages_does_not_matter():
    pages = [page(f"d{i}", f"https://s/{i}", f"text {i % 5}", picture("abcdef"[i % 6])) for i in range(9)]
    assert clusters_of(pages) == clusters_of(reversed(pages))


def test_pages_without_text_and_pictures_do_not_fall_together():
    clusters = clusters_of([page("d1", "https://s/a", "  "), page("d2", "https://s/b", " ")])
    assert clusters["d1"] != clusters["d2"]


def test_every_page_crawled_again_falls_with_its_original(shared_data):
    import pyarrow.parquet as pq

    crawls = {}
    for key in ("part-00-astronomy", "part-11-recrawl"):
        crawls[key] = []
        for row in pq.read_table(shared_data / "interleaved" / f"{key}.parquet").to_pylist():
            info = json.loads(row["general_metadata"])
            segments = [
                Segment(text=text) if image is None else Segment(image=image)
                for image, text in zip(row["images"], row["texts"])
            ]
            crawls[key].append(page(info["doc_id"], info["url"], *segments, title=info["title"]))
    together = clusters_of([*crawls["part-00-astronomy"], *crawls["part-11-recrawl"]])
    of_originals = {together[one["doc_id"]] for one in crawls["part-00-astronomy"]}
    assert len(crawls["part-11-recrawl"]) == 17
    assert all(together[one["doc_id"]] in of_originals for one in crawls["part-11-recrawl"])
    assert len(of_originals) == len(crawls["part-00-astronomy"])  # and no two originals fall together
