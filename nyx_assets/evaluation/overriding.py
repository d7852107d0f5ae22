"""A person's word over the gate's: make a checkpoint live, with the reason kept beside the gate's decisions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nyx_assets.evaluation.promotion import BY_PERSON, live_checkpoint
from nyx_assets.index_versions import records
from nyx_assets.promoting import promotion
from nyx_assets.records import QUALITY_GATE
from nyx_assets.retrievers import FINETUNED, PRETRAINED, PROMOTED
from resources.home import Home
from resources.tables import Commit, utc_now
from training_kernels.errors import ConfigError, IncompleteArtifact


def promote(home: Home, checkpoint: str, *, reason: str, log: Callable[[str], None]) -> dict[str, Any]:
    """The row of quality_gate that records the override, after the checkpoint has become the promoted one.

    The next `nyx run` embeds the chunks with it and makes a version of the index of it. The gate compares later
    candidates with it, as with any that is live. Waits while a run is at work.

    Args:
        checkpoint: "pretrained", "finetuned", or the data version of either or of a version of the index.

    Raises:
        ConfigError: no reason is given, the checkpoint is unknown, or the gate has not decided yet.
        IncompleteArtifact: its folder is gone.
    """
    if not reason.strip():
        raise ConfigError("an override needs a reason that others can read later; give one with --reason TEXT")
    with home.alone("main_job", log=log), promotion(home, log=log):
        gate_commit = home.tables.commit("quality_gate", None)
        if gate_commit is None:
            raise ConfigError(f"the gate of {home.root} has not decided anything yet to override; run `nyx run` first")
        folder, version, num_examples = _checkpoint(home, checkpoint)
        live, _ = live_checkpoint(home)
        row = {
            **dict.fromkeys(QUALITY_GATE.names),
            "candidate": version,
            "live_before": live.commit.data_version if live else None,
            "promoted": True,
            "promoted_retriever": checkpoint,
            "decided_by": BY_PERSON,
            "decided_at": utc_now(),
            "reason": reason.strip(),
        }
        rows = [*home.tables.read("quality_gate").to_pylist(), row]
        with home.tables.write(
            "quality_gate", QUALITY_GATE, partition=None, provenance=gate_commit.provenance
        ) as writer:
            writer.append(rows)
        home.artifacts.publish(
            str(PROMOTED.checkpoint),
            folder,
            Commit(
                data_version=version,
                num_rows=num_examples,
                # made from what the gate saw: a run that finds nothing new leaves the override alone
                provenance=gate_commit.provenance,
                written_at=utc_now(),
            ),
        )
    return row


def _checkpoint(home: Home, name: str) -> tuple[Path, str, int]:
    """Folder, data version and number of training examples of a checkpoint, by retriever or by data version."""
    known = {
        record.checkpoint: (
            home.artifacts.brought(record.checkpoint_folder),
            record.checkpoint,
            record.checkpoint_examples,
        )
        for record in records(home)
    }
    for spec in (PRETRAINED, FINETUNED):
        try:
            artifact = home.artifacts.current(str(spec.checkpoint))
        except IncompleteArtifact:
            if name == spec.name:
                raise
            continue
        if artifact is not None:
            version = artifact.commit.data_version
            known[spec.name] = known[version] = (artifact.folder, version, artifact.commit.num_rows)
    if name not in known:
        raise ConfigError(f"checkpoint {name!r} is unknown; known: {', '.join(sorted(known)) or 'none'}")
    return known[name]


def promotion_text(row: dict[str, Any]) -> str:
    """What was done, for a person."""
    before = row["live_before"] or "nothing"
    return (
        f"{row['promoted_retriever']} ({row['candidate']}) is the promoted checkpoint now, in place of {before}.\n"
        f"Recorded in quality_gate: {row['reason']}\n"
        "Search answers from it after the next `nyx run`, which embeds the chunks and swaps the index."
    )
