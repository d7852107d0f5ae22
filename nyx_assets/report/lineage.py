"""Where the numbers come from: recipe, seeds, checkpoints, index, and the version of every table."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from nyx_assets.report.reading import Row, rows_of
from nyx_assets.retrievers import DENSE_RETRIEVERS
from resources.home import Home
from training_kernels.errors import IncompleteArtifact

METRICS = "metrics.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The current folder behind a retriever."""

    retriever: str
    folder: str
    """From the home's root."""
    data_version: str
    written_at: str
    metrics: dict[str, Any]
    """What its training wrote; {} for one that was not trained here."""


def checkpoints(home: Home) -> list[Checkpoint]:
    """Every current checkpoint; none for one that was never made or is damaged."""
    found = []
    for retriever in DENSE_RETRIEVERS:
        try:
            artifact = home.artifacts.current(retriever.checkpoint) if retriever.checkpoint else None
        except IncompleteArtifact:
            continue
        if artifact is not None:
            metrics = artifact.folder / METRICS
            found.append(
                Checkpoint(
                    retriever=retriever.name,
                    folder=artifact.folder.relative_to(home.root).as_posix(),
                    data_version=artifact.commit.data_version,
                    written_at=artifact.commit.written_at,
                    metrics=json.loads(metrics.read_text()) if metrics.is_file() else {},
                )
            )
    return found


def table_versions(home: Home, *, without: Collection[str]) -> list[Row]:
    """Rows, partitions, content version and date of every table but those named."""
    found = []
    for name in sorted(set(home.tables.assets()) - set(without)):
        commits = [
            commit
            for part in home.tables.all_partitions(name)
            if (commit := home.tables.commit(name, part)) is not None
        ]
        if commits:
            found.append(
                {
                    "table": name,
                    "partitions": len(home.tables.partitions(name)),
                    "rows": sum(commit.num_rows for commit in commits),
                    "version": home.input_version(name, None),
                    "written_at": max(commit.written_at for commit in commits),
                }
            )
    return found


def live_index(home: Home) -> Row | None:
    """The row of final_index that is live."""
    return next((row for row in rows_of(home, "final_index") if row["is_live"]), None)
