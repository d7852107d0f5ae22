"""Which split a page belongs to: by hash of its cluster, never by pair, so that no page stands in two splits.

Clusters are those of nyx_assets/corpus/clusters.py: pages with the same address, near copies of each other, or with a
picture or chunk in common.
"""

import hashlib


def split_of(cluster_key: str, *, seed: int, dev_share: float, test_share: float) -> str:
    """ "train", "dev" or "test" of a cluster: its hash is a number from 0 to 1, dev below dev_share, test next to it."""
    drawn = hashlib.sha256(f"split/{seed}/{cluster_key}".encode("utf-8", "surrogatepass")).digest()
    share = int.from_bytes(drawn[:8], "big") / 2**64
    if share < dev_share:
        return "dev"
    return "test" if share < dev_share + test_share else "train"
