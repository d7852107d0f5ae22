"""Taking note that a delivery has landed: the table `landed_crawl`, one row a file of the delivery."""

from collections.abc import Mapping

from nyx_assets.corpus.deliveries import Delivery
from nyx_assets.records import LANDED_CRAWL
from resources.home import Home
from resources.tables import Commit, Provenance

FINGERPRINT = "delivery"
"""Name under which the provenance of a landed crawl holds the fingerprint of its files."""


def has_landed(home: Home, delivery: Delivery) -> bool:
    """True if this very delivery, unchanged, is in the table already."""
    commit = home.tables.commit("landed_crawl", delivery.key)
    return commit is not None and commit.provenance == _provenance(delivery.fingerprint)


def landed_rows(home: Home, key: str, fingerprint: str) -> Mapping[str, int]:
    """Rows by address of each file of a delivery that landed with this very fingerprint; {} if none did."""
    commit = home.tables.commit("landed_crawl", key)
    is_out = home.tables.quarantine_reason("landed_crawl", key) is not None
    if commit is None or is_out or commit.provenance != _provenance(fingerprint):
        return {}
    rows = home.tables.read("landed_crawl", partition=key, columns=["file", "num_rows"]).to_pylist()
    return {row["file"]: row["num_rows"] for row in rows}


def land(home: Home, delivery: Delivery) -> Commit:
    """The committed listing of a delivery, written if it is new or changed since."""
    if not has_landed(home, delivery):
        with home.tables.write(
            "landed_crawl", LANDED_CRAWL, partition=delivery.key, provenance=_provenance(delivery.fingerprint)
        ) as table:
            table.append(
                {
                    "file": delivery.address_of(file),
                    "folder": delivery.place,
                    "num_rows": file.num_rows,
                    "num_bytes": file.num_bytes,
                    "fingerprint": delivery.fingerprint,
                }
                for file in delivery.files
            )
    commit = home.tables.commit("landed_crawl", delivery.key)
    assert commit is not None
    return commit


def _provenance(fingerprint: str) -> Provenance:
    return Provenance(code_version="2", inputs={FINGERPRINT: fingerprint})
