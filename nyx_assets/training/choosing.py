"""Which of several feedback rounds counts, and a checkpoint that stands for another asset as well."""

from collections.abc import Mapping, Sequence
from typing import Any

from resources.home import Home
from resources.tables import Commit, Provenance, utc_now


def best_round(rows: Sequence[Mapping[str, Any]]) -> int:
    """The round with the best dev score, the first of equal ones; the last where there is no dev question.

    Args:
        rows: of FEEDBACK_ROUNDS, in order of rounds.
    """
    if any(row["dev_score"] is None for row in rows):
        return int(rows[-1]["round"])
    # max keeps the first of equal scores
    return int(max(rows, key=lambda row: row["dev_score"])["round"])


def published_again(home: Home, source: str, asset: str, provenance: Provenance) -> None:
    """Make the current checkpoint of `source` that of `asset` too. Raises IncompleteArtifact if there is none."""
    current = home.artifacts.require(source)
    commit = Commit(
        data_version=current.commit.data_version,
        num_rows=current.commit.num_rows,
        provenance=provenance,
        written_at=utc_now(),
    )
    home.artifacts.publish(asset, current.folder, commit)
