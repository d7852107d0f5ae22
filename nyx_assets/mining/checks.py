"""What must hold of hard negatives before anything is trained on them."""

from nyx_assets.materialization import blocking_check
from resources.home import Home


def no_negative_is_golden(home: Home, partition: str | None) -> list[str]:
    """No query has its own golden chunk as a negative, and every negative belongs to a training pair."""
    pairs = {
        pair["qa_id"]: pair
        for pair in home.tables.read("filtered_qa", columns=["qa_id", "chunk_id", "split"]).to_pylist()
    }
    faults = []
    for row in home.tables.read("negatives", columns=["qa_id", "chunk_id"]).to_pylist():
        pair = pairs.get(row["qa_id"])
        if pair is None or pair["split"] != "train":
            faults.append(f"negative {row['chunk_id']} belongs to {row['qa_id']}, which is no training pair")
        elif pair["chunk_id"] == row["chunk_id"]:
            faults.append(f"pair {row['qa_id']} has its golden chunk {row['chunk_id']} as a negative")
    return faults


def no_page_stands_in_two_splits(home: Home, partition: str | None) -> list[str]:
    """Over all crawls, no page and no cluster of pages that belong together is in two splits."""
    cluster_by_doc = {row["doc_id"]: row["cluster"] for row in home.tables.read("page_clusters").to_pylist()}
    splits: dict[str, set[str]] = {}
    for pair in home.tables.read("filtered_qa", columns=["doc_id", "split"]).to_pylist():
        splits.setdefault(cluster_by_doc.get(pair["doc_id"], pair["doc_id"]), set()).add(pair["split"])
    return [f"cluster {cluster} is in {sorted(found)}" for cluster, found in sorted(splits.items()) if len(found) > 1]


MINING_CHECKS = [
    blocking_check("negatives", partitioned=False, find_faults=no_negative_is_golden),
    blocking_check("negatives", partitioned=False, find_faults=no_page_stands_in_two_splits),
]
