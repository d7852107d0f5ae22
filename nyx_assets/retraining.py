"""Whether enough has changed since the last training to train again; counted in tables, so a lost cursor forgets nothing."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from resources.commits import Commit
from resources.home import Home
from resources.settings import RetrainingRule

CHUNKS, PAGES, MANIFEST = "chunked_corpus", "crawl_documents", "training_manifest"
PRETRAINED, FINETUNED, GATE = "pretrained_checkpoint", "finetuned_checkpoint", "quality_gate"
DRAFTS, PAIRS = "raw_qa", "filtered_qa"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is new or changed since the last training."""

    crawls: tuple[str, ...]
    """Crawl partitions whose chunks are new, or whose chunks or questions are not those that were trained on; by name."""
    num_pages: int
    num_chunks: int
    num_trained_chunks: int
    """Of the last training; 0 before the first."""
    digest: str
    """Of the present content of these partitions."""
    is_unfinished: bool
    """True if a training was begun and did not come to its end."""

    @property
    def share(self) -> float:
        """Of the chunks that were trained on; infinite before the first training, 0 if nothing changed."""
        if not self.crawls:
            return 0.0
        return self.num_chunks / self.num_trained_chunks if self.num_trained_chunks else float("inf")

    def is_enough(self, rule: RetrainingRule) -> bool:
        """By its size, whatever the time is."""
        by_share = isfinite(rule.min_share) and self.share >= rule.min_share
        return bool(self.crawls) and (by_share or self.num_pages >= rule.min_pages)

    def __str__(self) -> str:
        share = f"{self.share:.1%} of what was trained on" if self.num_trained_chunks else "none of it was trained on"
        return f"{self.num_pages:,} pages, {self.num_chunks:,} chunks in {len(self.crawls):,} crawls ({share})"


def change_since_training(home: Home) -> Change:
    """What the next training manifest would list of the corpus that the last one does not.

    A partition that is gone, or quarantined, is no change: there is nothing new to learn from. Where the training on the
    last manifest did not come to its end, because a run was stopped before it or failed, all of it is new.
    """
    manifest = home.tables.commit(MANIFEST, None)
    is_through = manifest is not None and _is_through(home, manifest)
    listed = home.tables.read(MANIFEST).to_pylist() if is_through else []
    trained, trained_pairs = _rows_of(CHUNKS, listed), _rows_of(PAIRS, listed)
    changed, num_chunks, num_pages, digest = [], 0, 0, hashlib.sha256()
    for crawl in home.tables.partitions(CHUNKS):
        commit = home.tables.commit(CHUNKS, crawl)
        if commit is None:
            continue
        questions = _new_questions(home, crawl, trained_pairs) if crawl in trained else ""
        if not questions and crawl in trained and trained[crawl]["data_version"] == commit.data_version:
            continue
        pages = home.tables.commit(PAGES, crawl)
        changed.append(crawl)
        num_chunks += commit.num_rows
        num_pages += pages.num_rows if pages else 0
        digest.update(f"{crawl}={commit.data_version}{questions}\n".encode())
    return Change(
        crawls=tuple(changed),
        num_pages=num_pages,
        num_chunks=num_chunks,
        num_trained_chunks=sum(row["num_rows"] for row in trained.values()),
        digest=digest.hexdigest()[:16],
        is_unfinished=manifest is not None and not is_through,
    )


def _is_through(home: Home, manifest: Commit) -> bool:
    """True if the gate has judged the checkpoint that was finetuned on this manifest, whatever it said.

    What follows on a promotion, embeddings and index, is made by the refresh sensor, and what of it fails is tried again.
    """
    pretrained, finetuned = home.commit(PRETRAINED, None), home.commit(FINETUNED, None)
    if pretrained is None or finetuned is None or pretrained.provenance.inputs.get(MANIFEST) != manifest.data_version:
        return False
    by_round = {name: home.commit(name, None) for name in finetuned.provenance.inputs if name.endswith("/checkpoint")}
    for name, commit in (by_round or {FINETUNED: finetuned}).items():
        if commit is None or (by_round and finetuned.provenance.inputs[name] != commit.data_version):
            return False
        made_from = commit.provenance.inputs
        if made_from.get(MANIFEST) != manifest.data_version or made_from.get(PRETRAINED) != pretrained.data_version:
            return False
    if not home.input_version(GATE, None):
        return False
    judged = [row["candidate"] for row in home.tables.read(GATE).to_pylist() if row.get("decided_by") != "person"]
    return judged[-1:] == [finetuned.data_version]


def _rows_of(table: str, listed: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Rows of the manifest about one table, by crawl."""
    return {row["crawl"]: row for row in listed if row["input"] == table and row["crawl"]}


def _new_questions(home: Home, crawl: str, trained_pairs: Mapping[str, Mapping[str, Any]]) -> str:
    """What tells the present questions of a crawl from those that were trained on; "" if they are the same.

    They are others where a backfill wrote them again, or filtered them again.
    """
    drafts, pairs = home.tables.commit(DRAFTS, crawl), home.tables.commit(PAIRS, crawl)
    if drafts is None or pairs is None or crawl not in trained_pairs:
        return ""
    is_filtered = pairs.provenance.inputs.get(DRAFTS) == drafts.data_version
    if is_filtered and pairs.data_version == trained_pairs[crawl]["data_version"]:
        return ""
    return f" {drafts.data_version} {pairs.data_version}"
