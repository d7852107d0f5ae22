"""Whether enough has changed since the last training to train again; counted in tables, so a lost cursor forgets nothing."""

import hashlib
from dataclasses import dataclass

from resources.home import Home
from resources.settings import RetrainingRule

CHUNKS, PAGES, MANIFEST = "chunked_corpus", "crawl_documents", "training_manifest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is new or changed since the last training."""

    crawls: tuple[str, ...]
    """Crawl partitions whose chunks are new, or not those that were trained on; by name."""
    num_pages: int
    num_chunks: int
    num_trained_chunks: int
    """Of the last training; 0 before the first."""
    digest: str
    """Of the present content of these partitions."""

    @property
    def share(self) -> float:
        """Of the chunks that were trained on; infinite before the first training, 0 if nothing changed."""
        if not self.crawls:
            return 0.0
        return self.num_chunks / self.num_trained_chunks if self.num_trained_chunks else float("inf")

    def is_enough(self, rule: RetrainingRule) -> bool:
        return bool(self.crawls) and (self.share >= rule.min_share or self.num_pages >= rule.min_pages)

    def __str__(self) -> str:
        share = f"{self.share:.1%} of what was trained on" if self.num_trained_chunks else "nothing was trained on yet"
        return f"{self.num_pages:,} pages, {self.num_chunks:,} chunks in {len(self.crawls):,} crawls ({share})"


def change_since_training(home: Home) -> Change:
    """What the next training manifest would list of the corpus that the last one does not.

    A partition that is gone, or quarantined, is no change: there is nothing new to learn from.
    """
    trained = {}
    if home.tables.commit(MANIFEST, None) is not None:
        trained = {
            row["crawl"]: row
            for row in home.tables.read(MANIFEST).to_pylist()
            if row["input"] == CHUNKS and row["crawl"]
        }
    changed, num_chunks, num_pages, digest = [], 0, 0, hashlib.sha256()
    for crawl in home.tables.partitions(CHUNKS):
        commit = home.tables.commit(CHUNKS, crawl)
        if commit is None or (crawl in trained and trained[crawl]["data_version"] == commit.data_version):
            continue
        pages = home.tables.commit(PAGES, crawl)
        changed.append(crawl)
        num_chunks += commit.num_rows
        num_pages += pages.num_rows if pages else 0
        digest.update(f"{crawl}={commit.data_version}\n".encode())
    return Change(
        crawls=tuple(changed),
        num_pages=num_pages,
        num_chunks=num_chunks,
        num_trained_chunks=sum(row["num_rows"] for row in trained.values()),
        digest=digest.hexdigest()[:16],
    )
