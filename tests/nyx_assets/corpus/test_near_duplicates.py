"""Copies and near copies over all crawls: each with its cluster, its nearest one and how it was found."""

import json
import random
from collections import Counter, defaultdict

import pyarrow.parquet as pq
import pytest
from PIL import Image

from nyx_assets.corpus.clusters import page_clusters_of
from nyx_assets.corpus.near_duplicates import near_duplicate_rows
from nyx_assets.corpus.signatures import chunk_signatures, page_signatures, picture_signatures
from nyx_assets.leaks import in_two_splits
from nyx_assets.near_copies import near_copy_clusters
from nyx_assets.nyxqa.splits import split_of
from nyx_assets.recipes import tiny
from nyx_assets.records import CHUNK_SIGNATURES, NEAR_DUPLICATES, PAGE_SIGNATURES, PICTURE_SIGNATURES
from resources.home import Home
from resources.tables import Provenance
from training_kernels.documents import Document, Segment

MADE = Provenance(code_version="test")
RECIPE = tiny().deduplication


class FolderPictures:
    """Pictures by their reference in a folder."""

    def __init__(self, folder):
        self.folder = folder

    def open(self, reference):
        with Image.open(self.folder / reference) as picture:
            return picture.convert("RGB")


def page(doc_id: str, *parts: str | Segment, url: str | None = None) -> dict:
    return {
        "doc_id": doc_id,
        "url": url or f"https://s.org/{doc_id}",
        "title": "T",
        "segments": Document.of(*parts).to_rows(),
    }


def sign(home: Home, crawl: str, pages: list[dict], pictures) -> None:
    """The three signature tables of a crawl, each page one chunk."""
    chunks = [{"chunk_id": f"chunk-{one['doc_id']}", **one} for one in pages]
    for name, schema, rows in (
        ("page_signatures", PAGE_SIGNATURES, page_signatures(pages)),
        ("picture_signatures", PICTURE_SIGNATURES, picture_signatures(pages, pictures)),
        ("chunk_signatures", CHUNK_SIGNATURES, chunk_signatures(chunks)),
    ):
        with home.tables.write(name, schema, partition=crawl, provenance=MADE) as table:
            table.append(rows)


def find(home: Home) -> list[dict]:
    rows = list(near_duplicate_rows(home, RECIPE))
    with home.tables.write("near_duplicates", NEAR_DUPLICATES, partition=None, provenance=MADE) as table:
        table.append(rows)
    return rows


def text(seed: int, *changes: int) -> str:
    drawn = random.Random(seed)
    words = [f"w{drawn.randrange(4000)}" for _ in range(100)]
    for place in changes:
        words[place] = f"x{place}"
    return " ".join(words)


def test_every_copy_has_its_cluster_its_nearest_one_and_how_it_was_found(tmp_path):
    home = Home.at(tmp_path)
    first = [page("d1", text(1)), page("d2", text(2)), page("d5", text(5))]
    second = [page("d2", text(2)), page("d3", text(1).upper()), page("d4", text(1, 30, 60))]
    sign(home, "a", first, None)
    sign(home, "b", second, None)
    rows = {row["id"]: row for row in find(home) if row["kind"] == "page"}
    assert set(rows) == {"d1", "d3", "d4"}  # d2 came twice unchanged: that is one page, and it has no copy
    assert {row["cluster"] for row in rows.values()} == {"d1"}
    assert [(rows[one]["nearest"], rows[one]["method"]) for one in ("d1", "d3", "d4")] == [
        ("d3", "equal"),
        ("d1", "equal"),
        ("d1", "minhash"),
    ]
    assert rows["d1"]["similarity"] == 1.0
    assert rows["d4"]["similarity"] == pytest.approx(86 / 106, abs=0.1)  # 10 of 96 runs are new on each side


def test_the_table_does_not_depend_on_which_crawl_came_first(tmp_path):
    pages = [page(f"d{number}", text(number // 3, *range(number % 3 * 9, number % 3 * 9 + 3))) for number in range(15)]
    tables = []
    for name, order in (("one", pages), ("other", pages[::-1])):
        home = Home.at(tmp_path / name)
        sign(home, "a", order[:4], None)
        sign(home, "b", order[4:], None)
        tables.append(find(home))
    assert tables[0] == tables[1]
    assert len(tables[0]) > 5


def test_pages_without_words_are_copies_of_nothing(tmp_path):
    home = Home.at(tmp_path)
    sign(home, "a", [page("d1", " … "), page("d2", "!"), page("d3", "  ")], None)
    assert [row for row in find(home) if row["kind"] == "page"] == []


@pytest.fixture(scope="module")
def real(shared_data, tmp_path_factory):
    """All 467 real pages, signed and compared, each page one chunk."""
    home = Home.at(tmp_path_factory.mktemp("real"))
    folder = shared_data / "interleaved"
    key_by_doc: dict[str, tuple[str, str]] = {}
    for file in sorted(folder.glob("*.parquet")):
        pages = []
        for row in pq.read_table(file).to_pylist():
            info = json.loads(row["general_metadata"])
            parts = [
                text if image is None else Segment(image=image)
                for image, text in zip(row["images"], row["texts"], strict=True)
                if image is None or ((folder / image).suffix == ".jpg" and (folder / image).is_file())
            ]
            doc_id = f"{file.stem}/{info['doc_id']}"
            key_by_doc[doc_id] = (file.stem, info["url"])
            pages.append(page(doc_id, *parts, url=info["url"]))
        sign(home, file.stem, pages, FolderPictures(folder))
    return home, find(home), key_by_doc


def test_every_recrawled_page_is_a_near_copy_of_its_original_by_its_text_alone(real):
    _, rows, place = real
    members = defaultdict(set)
    for row in rows:
        if row["kind"] == "page":
            members[row["cluster"]].add(row["id"])
    recrawled = [doc_id for doc_id, (crawl, _) in place.items() if crawl == "part-11-recrawl"]
    assert len(recrawled) == 17
    module = {doc_id: url.rsplit("/", 2)[1] for doc_id, (_, url) in place.items()}
    for doc_id in recrawled:
        originals = [
            other
            for cluster in members.values()
            if doc_id in cluster
            for other in cluster
            if place[other][0] == "part-00-astronomy"
        ]
        assert [module[other] for other in originals] == [module[doc_id]]


def test_no_two_unrelated_originals_fall_into_one_cluster(real):
    home, _, place = real
    clusters = page_clusters_of(home, max_pages=RECIPE.max_pages_of_a_thing)
    sizes = Counter(clusters.cluster_by_doc.values())
    assert len(clusters.cluster_by_doc) == len(place) == 467
    assert max(sizes.values()) == 5  # posts of one blog that share their author's portrait
    crawls = defaultdict(set)
    for doc_id, cluster in clusters.cluster_by_doc.items():
        crawls[cluster].add(place[doc_id][0])
    across = [sorted(found) for found in crawls.values() if len(found) > 1]
    assert across == [["part-00-astronomy", "part-11-recrawl"]] * 17
    assert len(sizes) >= 430


def test_splits_by_cluster_keep_all_real_pages_copies_and_pictures_apart_and_splits_by_page_do_not(real):
    home, _, place = real
    clusters = page_clusters_of(home, max_pages=RECIPE.max_pages_of_a_thing)
    pictures = defaultdict(list)
    for row in home.tables.read("picture_signatures").to_pylist():
        pictures[row["doc_id"]].append(Segment(image=row["image"]))
    chunks = {f"chunk-{doc_id}": Document.of("x", *pictures[doc_id]) for doc_id in place}

    def num_faults(key_by_doc) -> dict[str, int]:
        pairs = [
            {
                "doc_id": doc_id,
                "chunk_id": f"chunk-{doc_id}",
                "question": Document.of("q").to_rows(),
                "split": split_of(key_by_doc[doc_id], seed=42, dev_share=0.15, test_share=0.2),
            }
            for doc_id in place
        ]
        near = {kind: near_copy_clusters(home, kind) for kind in ("page", "chunk", "picture")}
        near["cluster"] = clusters.cluster_by_doc
        found = in_two_splits(pairs, chunks, clusters=near, furniture=clusters.num_pages_by_furniture.keys())
        return {kind: len(messages) for kind, messages in found.items()}

    assert num_faults(clusters.cluster_by_doc) == {"page": 0, "cluster": 0, "chunk": 0, "picture": 0}
    by_page = num_faults({doc_id: doc_id for doc_id in place})
    assert min(by_page["page"], by_page["cluster"], by_page["chunk"]) >= 5
    assert by_page["picture"] >= 20
