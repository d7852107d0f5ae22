"""What must hold of preferences before anything is trained on them."""

from collections.abc import Callable
from functools import wraps
from itertools import groupby
from operator import itemgetter

import dagster as dg

from nyx_assets.materialization import blocking_check
from resources.home import Home


def no_negative_window_answered(home: Home, partition: str | None, asset: str) -> list[str]:
    """A negative is a window that was graded, below its query's positive; and no query has two positives."""
    columns = ["qa_id", "window_rank", "grade", "role"]
    rows = (
        row for batch in home.tables.batches(asset, partition=partition, columns=columns) for row in batch.to_pylist()
    )
    faults = []
    seen: set[str] = set()
    for qa_id, tries in groupby(rows, key=itemgetter("qa_id")):
        if qa_id in seen:
            faults.append(f"query {qa_id} stands in two places")
        seen.add(qa_id)
        of_query = list(tries)
        grades = [row["grade"] for row in of_query if row["role"] == "positive"]
        if len(grades) > 1:
            faults.append(f"query {qa_id} has two positives")
        for row in of_query:
            if row["role"] != "negative":
                continue
            if row["grade"] is None:
                faults.append(f"query {qa_id}: window {row['window_rank']} is a negative without a grade")
            elif row["grade"] >= max(grades, default=0):
                faults.append(f"query {qa_id}: window {row['window_rank']} is a negative with grade {row['grade']}")
    return faults


def feedback_uses_training_pairs_only(home: Home, partition: str | None, asset: str) -> list[str]:
    """No dev or test question reaches training through feedback."""
    split = {
        pair["qa_id"]: pair["split"]
        for pair in home.tables.read("filtered_qa", partition=partition, columns=["qa_id", "split"]).to_pylist()
    }
    asked = set(home.tables.read(asset, partition=partition, columns=["qa_id"])["qa_id"].to_pylist())
    return [f"query {qa_id} is in split {split.get(qa_id)}" for qa_id in sorted(asked) if split.get(qa_id) != "train"]


def preferences_checks(asset: str) -> list[dg.AssetChecksDefinition]:
    """The checks of a round's preferences."""

    def of_asset(find_faults: Callable[[Home, str | None, str], list[str]]) -> dg.AssetChecksDefinition:
        @wraps(find_faults)
        def of_partition(home: Home, partition: str | None) -> list[str]:
            return find_faults(home, partition, asset)

        return blocking_check(asset, partitioned=True, find_faults=of_partition)

    return [of_asset(no_negative_window_answered), of_asset(feedback_uses_training_pairs_only)]
