"""The storage root (NYX_HOME) and what lies where under it.

tables/       Parquet, the truth (tables.py)          checkpoints/, artifacts/   folders (artifacts.py)
images/       pictures by SHA-256 (images.py)         index/                     the vector index
vlm/          replies paid for, and a row a call      dagster/                   runs, events, schedules
backbones/    backbones built or fetched              catalog.duckdb             views over all of it (catalog.py)
report/       the page about all of it
"""

import fcntl
import hashlib
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from resources.artifacts import Artifacts
from resources.images import FolderImageStore
from resources.tables import Commit, ParquetTables
from training_kernels.errors import ConfigError, IncompleteArtifact

REPORT_FILE = Path("report") / "nyx.html"
"""The page that `nyx report` writes, from the root."""


@dataclass(frozen=True, slots=True)
class Home:
    """Handles on everything that is stored under one root."""

    root: Path
    tables: ParquetTables
    images: FolderImageStore
    artifacts: Artifacts

    @classmethod
    def at(cls, root: Path) -> "Home":
        """The home in a folder; nothing is written until something is made."""
        root = Path(root).absolute()
        return cls(root, ParquetTables(str(root / "tables")), FolderImageStore(str(root / "images")), Artifacts(root))

    def commit(self, asset: str, partition: str | None) -> Commit | None:
        """The committed version of a table, or of a folder where the asset is one; None for a folder that was damaged."""
        if (commit := self.tables.commit(asset, partition)) is not None:
            return commit
        try:
            artifact = self.artifacts.current(asset) if partition is None else None
        except IncompleteArtifact:  # it has to be made again, like one that was never made
            return None
        return artifact.commit if artifact else None

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

    def claim(self, crawl_folder: Path) -> None:
        """Remember which crawl folder this home is made from. Raises ConfigError if it is made from another."""
        remembered = self.crawl_folder
        if remembered is not None and remembered != crawl_folder.absolute():
            raise ConfigError(
                f"{self.root} is made from the crawl {remembered}, asked for was {crawl_folder.absolute()}; set NYX_HOME to "
                f"another folder for another crawl, or delete {self._claim_file} to go on with both in one home"
            )
        if remembered is None:
            self.root.mkdir(parents=True, exist_ok=True)
            beside = self._claim_file.with_name(f".{self._claim_file.name}.{uuid.uuid4().hex}")
            beside.write_text(json.dumps({"crawl_folder": str(crawl_folder.absolute())}))
            beside.replace(self._claim_file)

    @property
    def crawl_folder(self) -> Path | None:
        """The crawl folder that this home is made from, or None if it is new."""
        return Path(json.loads(self._claim_file.read_text())["crawl_folder"]) if self._claim_file.exists() else None

    @property
    def trec_folder(self) -> Path:
        """Where the last evaluation left its rankings and golds as TREC files."""
        return self.root / "artifacts" / "trec"

    @property
    def report_file(self) -> Path:
        """Where the report page lies; it holds texts and pictures of pages."""
        return self.root / REPORT_FILE

    @property
    def _claim_file(self) -> Path:
        return self.root / "crawl.json"
