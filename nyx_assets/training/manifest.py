"""What a training run is made of, and whether it still is."""

from typing import Any

from resources.home import Home
from training_kernels.errors import IncompleteArtifact

PARTITIONED_INPUTS = ("chunked_corpus", "filtered_qa")
LANDING_INPUT = "chunked_corpus"
"""The input that grows by itself while a training is at work."""
WHOLE_INPUTS = ("negatives", "near_duplicates", "public_examples")


def manifest_rows(home: Home) -> list[dict[str, Any]]:
    """One row a table partition that training reads, by name; quarantined partitions are left out."""
    places: list[tuple[str, str | None]] = [
        (name, partition) for name in PARTITIONED_INPUTS for partition in home.tables.partitions(name)
    ]
    places += [(name, None) for name in WHOLE_INPUTS]
    rows = []
    for name, partition in places:
        commit = home.tables.commit(name, partition)
        if commit is None:
            raise IncompleteArtifact(f"table {name} has not been made; materialize {name}")
        if (reason := home.tables.quarantine_reason(name, partition)) is not None:
            raise IncompleteArtifact(f"table {name} is quarantined ({reason}); materialize {name} again")
        rows.append(
            {"input": name, "crawl": partition, "num_rows": commit.num_rows, "data_version": commit.data_version}
        )
    return rows


def require_unchanged(home: Home) -> None:
    """Raise IncompleteArtifact if a table has changed since the manifest was made: training reads what was listed.

    A partition of chunks that landed since is no change: no pair that was listed names a chunk of it.
    """
    listed = {
        (row["input"], row["crawl"]): row["data_version"] for row in home.tables.read("training_manifest").to_pylist()
    }
    now = {(row["input"], row["crawl"]): row["data_version"] for row in manifest_rows(home)}
    changed = sorted(
        f"{name} {crawl or ''}".strip()
        for name, crawl in listed.keys() | {place for place in now if place[0] != LANDING_INPUT}
        if listed.get((name, crawl)) != now.get((name, crawl))
    )
    if changed:
        raise IncompleteArtifact(
            f"{len(changed)} tables have changed since training_manifest was made, e.g. {changed[0]}; materialize training_manifest again"
        )
