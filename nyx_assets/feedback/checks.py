"""What must hold of preferences before anything is trained on them."""

from nyx_assets.materialization import blocking_check
from resources.home import Home


def no_negative_window_answered(home: Home, partition: str | None) -> list[str]:
    """A negative is a window that was graded, below its query's positive; and no query has two positives."""
    rows = home.tables.read(
        "feedback_preferences", partition=partition, columns=["qa_id", "window_rank", "grade", "role"]
    ).to_pylist()
    positives: dict[str, float] = {}
    faults = []
    for row in rows:
        if row["role"] == "positive":
            if row["qa_id"] in positives:
                faults.append(f"query {row['qa_id']} has two positives")
            positives[row["qa_id"]] = row["grade"]
    for row in rows:
        if row["role"] == "negative" and row["grade"] is None:
            faults.append(f"query {row['qa_id']}: window {row['window_rank']} is a negative without a grade")
        elif row["role"] == "negative" and row["grade"] >= positives.get(row["qa_id"], 0):
            faults.append(f"query {row['qa_id']}: window {row['window_rank']} is a negative with grade {row['grade']}")
    return faults


def feedback_uses_training_pairs_only(home: Home, partition: str | None) -> list[str]:
    """No dev or test question reaches training through feedback."""
    split = {
        pair["qa_id"]: pair["split"]
        for pair in home.tables.read("filtered_qa", partition=partition, columns=["qa_id", "split"]).to_pylist()
    }
    asked = set(home.tables.read("feedback_preferences", partition=partition, columns=["qa_id"])["qa_id"].to_pylist())
    return [f"query {qa_id} is in split {split.get(qa_id)}" for qa_id in sorted(asked) if split.get(qa_id) != "train"]


FEEDBACK_CHECKS = [
    blocking_check("feedback_preferences", partitioned=True, find_faults=no_negative_window_answered),
    blocking_check("feedback_preferences", partitioned=True, find_faults=feedback_uses_training_pairs_only),
]
