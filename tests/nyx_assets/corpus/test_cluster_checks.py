"""What must hold of clusters before splits are drawn by them."""

from nyx_assets.corpus.checks import every_page_has_one_cluster
from nyx_assets.records import CRAWL_DOCUMENTS, PAGE_CLUSTERS
from resources.home import Home
from resources.tables import Provenance


def test_a_page_without_cluster_a_page_in_two_and_a_page_that_is_gone_are_caught(tmp_path):
    home, made = Home.at(tmp_path), Provenance(code_version="test")
    for crawl, doc_ids in (("a", ["d1", "d2"]), ("b", ["d2", "d3"])):  # d2 came again unchanged
        with home.tables.write("crawl_documents", CRAWL_DOCUMENTS, partition=crawl, provenance=made) as table:
            table.append(dict.fromkeys(CRAWL_DOCUMENTS.names) | {"doc_id": doc_id} for doc_id in doc_ids)

    def faults(*doc_ids: str) -> list[str]:
        with home.tables.write("page_clusters", PAGE_CLUSTERS, partition=None, provenance=made) as table:
            table.append({"doc_id": doc_id, "cluster": "c"} for doc_id in doc_ids)
        return [fault.split()[1] for fault in every_page_has_one_cluster(home, None)]

    assert faults("d1", "d2", "d3") == []
    assert faults("d1", "d1", "d3", "gone") == ["d1", "d2", "gone"]
