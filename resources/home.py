"""The storage root (NYX_HOME) and what lies where under it.

tables/       Parquet, the truth (tables.py)          checkpoints/, artifacts/   folders (artifacts.py)
images/       pictures by SHA-256 (images.py)         index/                     the vector index
vlm/          replies paid for, and a row a call      dagster/                   runs, events, schedules
backbones/    backbones built or fetched              catalog.duckdb             views over all of it (catalog.py)
report/       the page about all of it                leases/                    who writes what (leases.py)
devices/      which process has which GPU (devices.py)

A home is one folder, or a store that hosts share with a local folder on each of them (NYX_LOCAL). Then the store has
tables, images, replies, leases, and a copy of checkpoints, of the ledger and of small records (mirror.py); locks, journals,
Dagster's records, the catalogue, the report and an embedded index are of each host.
"""

import fcntl
import hashlib
import json
import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from resources.artifacts import Artifacts
from resources.crawl_store import Crawl, crawl_at, crawl_text
from resources.images import FolderImageStore
from resources.leases import Leases
from resources.mirror import Mirror
from resources.stores import SharedHome, open_store, put_bytes, store_answers
from resources.tables import Commit, ParquetTables
from training_kernels.errors import ConfigError, IncompleteArtifact

logger = logging.getLogger(__name__)

REPORT_FILE = Path("report") / "nyx.html"
"""The page that `nyx report` writes, from the root."""
LEDGER = "vlm/ledger"
"""A row a VLM call (vlm_ledger.py), from the root."""
CLAIM = "crawl.json"
"""Which crawl a home is made from, in the store."""


@dataclass(frozen=True, slots=True)
class Home:
    """Handles on everything that is stored under one root."""

    root: Path
    """The folder of this machine: the home itself, or what this host has beside a store."""
    store: str
    """What hosts share: the same folder, or any fsspec URL."""
    tables: ParquetTables
    images: FolderImageStore
    artifacts: Artifacts
    mirror: Mirror
    index_mirror: Mirror
    """Of records of the index, which hosts share where they share the index."""
    leases: Leases

    @classmethod
    def at(cls, place: Path | SharedHome) -> "Home":
        """The home in a folder, or on a store; nothing is written until something is made."""
        if isinstance(place, SharedHome):
            root, store, shares_index = place.local.absolute(), place.store.rstrip("/"), place.has_index_server
        else:
            root = Path(place).absolute()
            store, shares_index = str(root), False
        return cls(
            root,
            store,
            ParquetTables(f"{store}/tables", drafts=str(root / "drafts")),
            FolderImageStore(f"{store}/images"),
            Artifacts(root, store),
            Mirror(store, root),
            Mirror(store if shares_index else str(root), root),
            Leases(f"{store}/leases"),
        )

    def __str__(self) -> str:
        return f"{self.store} (this host's part in {self.root})" if self.is_shared else str(self.root)

    @property
    def is_shared(self) -> bool:
        """True where other hosts may write at the same time."""
        return self.store != str(self.root)

    def commit(self, asset: str, partition: str | None) -> Commit | None:
        """The committed version of a table, or of a folder where the asset is one.

        None for a folder that was damaged, or whose pointer was; the log names the file and what to do.
        """
        if (commit := self.tables.commit(asset, partition)) is not None:
            return commit
        try:
            return self.artifacts.commit(asset) if partition is None else None
        except IncompleteArtifact as error:  # it has to be made again, like one that was never made
            _tell_once(str(error))
            return None

    def input_version(self, asset: str, partition: str | None) -> str:
        """Data version of an input: of that partition, else of the whole asset; "" while it is missing or quarantined.

        The version of a whole partitioned asset covers the names and versions of its readable partitions, so it changes
        exactly when a partition comes, goes, is quarantined or changes its content.
        """
        for place in (partition, None):
            if (commit := self.commit(asset, place)) is not None:
                return "" if self.tables.quarantine_reason(asset, place) is not None else commit.data_version
        if partition is not None:
            return ""
        names = self.tables.partitions(asset)
        versions = [f"{name}={commit.data_version}" for name in names if (commit := self.tables.commit(asset, name))]
        return hashlib.sha256("\n".join(versions).encode()).hexdigest()[:32] if versions else ""

    @contextmanager
    def alone(self, what: str, *, log: Callable[[str], None]) -> Iterator[None]:
        """Hold the lock of this name; waits, and says so, while another process of this machine holds it.

        The lock ends with the process, however it ends.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / f".{what}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log(f"waiting: another process holds the {what} of {self.root}")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def look_again(self) -> None:
        """See what other hosts made until now."""
        self.tables.look_again()
        self.artifacts.look_again()

    @contextmanager
    def held(self, what: str, *, log: Callable[[str], None]) -> Iterator[Callable[[], None]]:
        """Hold the lease of this name against other hosts; waits, and says so, while one of them holds it.

        Yields what to call before something is put in place; it raises LeaseLost where another host took over. Where
        the home is one folder of this machine there is nobody to hold it against.
        """
        if not self.is_shared:
            yield lambda: None
            return
        with self.leases.held(what, log=log) as lease:
            self.look_again()
            yield lambda: self.leases.require(lease)

    @contextmanager
    def held_if_free(self, what: str) -> Iterator[bool]:
        """The same without waiting: False, and nothing is held, while another host holds it."""
        if not self.is_shared:
            yield True
            return
        with self.leases.held_if_free(what) as lease:
            self.look_again()
            yield lease is not None

    def wait_for_others(self, own: Collection[str], *, log: Callable[[str], None]) -> None:
        """Wait until what other hosts, or other processes of this one, are at work on now is done.

        Args:
            own: names that this process holds itself. Where the home is one folder of this machine there is no telling.
        """
        if self.is_shared:
            self.leases.wait_for_all(own, log=log)
            self.look_again()

    def claim(self, crawl: Crawl) -> None:
        """Remember which crawl this home is made from. Raises ConfigError if it is made from another."""
        remembered, asked = self.crawl, crawl_text(crawl)
        if remembered is not None and crawl_text(remembered) != asked:
            raise ConfigError(
                f"{self.store} is made from the crawl {remembered}, asked for was {asked}; set NYX_HOME to "
                f"another folder for another crawl, or delete {self.store}/{CLAIM} to go on with both in one home"
            )
        if remembered is not None:
            return
        self.root.mkdir(parents=True, exist_ok=True)
        fs, base = open_store(self.store)
        with store_answers(self.store):
            put_bytes(fs, f"{base}/{CLAIM}", json.dumps({"crawl_folder": asked}).encode())

    @property
    def crawl(self) -> Crawl | None:
        """The crawl that this home is made from, a folder or the URL of one, or None if it is new."""
        fs, base = open_store(self.store)
        with store_answers(self.store):
            try:
                return crawl_at(json.loads(fs.cat_file(f"{base}/{CLAIM}"))["crawl_folder"])
            except FileNotFoundError:
                return None

    @property
    def trec_folder(self) -> Path:
        """Where the last evaluation left its rankings and golds as TREC files."""
        return self.root / "artifacts" / "trec"

    @property
    def report_file(self) -> Path:
        """Where the report page lies; it holds texts and pictures of pages."""
        return self.root / REPORT_FILE


@cache
def _tell_once(fault: str) -> None:
    """Warn of a damaged file, once a process: what is current is asked hundreds of times in a run."""
    logger.warning("%s (until then it counts as never made)", fault)
