"""What was fetched before: a record for each address, so that nothing is asked for twice, whatever kills the process."""

import hashlib
import json
import logging
import uuid
from collections.abc import Collection
from dataclasses import asdict, dataclass

import fsspec

from resources.images import StoredImage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRecord:
    """What became of one address the last time that it was asked for."""

    address: str
    """As it stood in a page."""
    last_address: str
    """Where redirects led; the address itself where nothing came."""
    at_seconds: float
    """Since 1970, UTC."""
    limits: str
    """The picture limits that the outcome was found under."""
    num_bytes: int
    stored: StoredImage | None
    """The picture; None for a failure."""
    rule: str
    """Cause of a failure for machines; empty for a picture."""
    reason: str
    """The same for a person."""


class FetchLog:
    """A folder of records, `<root>/<first two digits>/<SHA-256 of the address>.json`, on any fsspec file system.

    A record is written beside its place and renamed: safe for many processes, whole or absent, and found without
    holding any other in memory. DuckDB reads them all with `read_json('<root>/*/*.json')`. A file that cannot be read is
    logged and counts as absent.
    """

    def __init__(self, root: str) -> None:
        self._fs, self._base = fsspec.core.url_to_fs(str(root))

    def read(self, address: str) -> FetchRecord | None:
        """The record of an address, or None if it was never asked for."""
        path = self._path(address)
        try:
            content = self._fs.cat_file(path)
        except FileNotFoundError:
            return None
        try:
            values = json.loads(content)
            stored = values.pop("stored")
            return FetchRecord(**values, stored=None if stored is None else StoredImage(**stored))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            logger.warning("%s is no record of a fetch (%s); its address is asked for again", path, error)
            return None

    def write(self, record: FetchRecord) -> None:
        """Keep a record in place of an older one of the same address."""
        path = self._path(record.address)
        beside = f"{path}.{uuid.uuid4().hex}.part"
        self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        try:
            self._fs.pipe_file(beside, json.dumps(asdict(record)).encode())
            self._fs.mv(beside, path)
        finally:
            if self._fs.exists(beside):
                self._fs.rm_file(beside)

    def remove(self, digests: Collection[str], addresses: Collection[str]) -> int:
        """Remove the records of these addresses, and of those that led to these pictures; how many they were."""
        removed = 0
        for path in self._fs.glob(f"{self._base}/*/*.json"):
            content = self._fs.cat_file(path)
            try:
                values = json.loads(content)
                is_meant = values["address"] in addresses or (values["stored"] or {}).get("digest") in digests
            except (ValueError, TypeError, KeyError, AttributeError):
                is_meant = any(digest.encode() in content for digest in digests)
            if is_meant:
                self._fs.rm_file(path)
                removed += 1
        return removed

    def _path(self, address: str) -> str:
        digest = hashlib.sha256(address.encode("utf-8", "surrogatepass")).hexdigest()
        return f"{self._base}/{digest[:2]}/{digest}.json"
