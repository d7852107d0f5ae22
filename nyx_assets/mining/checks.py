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


MINING_CHECKS = [blocking_check("negatives", partitioned=False, find_faults=no_negative_is_golden)]
