"""Pages that are one page, or show the same, fall together; pages that only look alike do not."""

import pytest

from nyx_assets.corpus.clusters import clusters_of, page_key


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


KEYS = {f"d{number}": f"s/{letter}" for number, letter in enumerate("zyxwvu", start=1)}


def clusters(copies=(), shown=(), max_pages=3, keys=KEYS):
    return clusters_of(keys, dict(copies), shown, max_pages=max_pages)


def test_pages_that_are_copies_or_show_the_same_directly_or_through_others_are_one_cluster():
    found = clusters(
        copies={"d3": "d3", "d4": "d3"},
        shown=[("d1", ("picture", "a")), ("d2", ("picture", "a")), ("d2", ("chunk", "k")), ("d3", ("chunk", "k"))],
    )
    assert [found.cluster_by_doc[doc] for doc in KEYS] == ["s/w"] * 4 + ["s/v", "s/u"]
    assert not found.num_pages_by_furniture


def test_a_picture_and_a_chunk_of_one_name_are_different_things():
    found = clusters(shown=[("d1", ("picture", "a")), ("d2", ("chunk", "a"))])
    assert len(set(found.cluster_by_doc.values())) == len(KEYS)


def test_pages_of_one_address_are_one_cluster():
    found = clusters(keys={"d1": "s/a", "d2": "s/a", "d3": "s/b"})
    assert found.cluster_by_doc == {"d1": "s/a", "d2": "s/a", "d3": "s/b"}


def test_what_stands_on_too_many_pages_is_furniture_and_ties_none_together():
    logo = [(doc, ("picture", "logo")) for doc in ("d1", "d2", "d3", "d4")]
    found = clusters(shown=logo)
    assert len(set(found.cluster_by_doc.values())) == len(KEYS)
    assert found.num_pages_by_furniture == {("picture", "logo"): 4}
    assert len(set(clusters(shown=logo[:3]).cluster_by_doc.values())) == len(KEYS) - 2


def test_copies_of_a_page_do_not_make_its_pictures_furniture():
    found = clusters(
        copies=dict.fromkeys(("d1", "d2", "d3", "d4"), "d1"),
        shown=[(doc, ("picture", "a")) for doc in ("d1", "d2", "d3", "d4", "d5")],
    )
    assert not found.num_pages_by_furniture
    assert found.cluster_by_doc["d5"] == found.cluster_by_doc["d1"]


def test_the_order_of_pages_does_not_matter():
    keys = {f"d{i}": f"s/{i}" for i in range(9)}
    shown = [(f"d{i}", ("picture", "abcdef"[i % 6])) for i in range(9)]
    copies = {f"d{i}": f"d{i % 5}" for i in range(9)}
    backwards = dict(reversed(list(keys.items())))
    assert clusters(copies, shown, keys=keys) == clusters(copies, reversed(shown), keys=backwards)
