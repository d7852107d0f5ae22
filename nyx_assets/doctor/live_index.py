"""Does the live index open, hold what its record says, and find what it holds?

Shape letters: C chunks, D width.
"""

from collections.abc import Callable
from contextlib import closing

import numpy as np

from nyx_assets.doctor.findings import Finding, bad, good, note, one_line
from nyx_assets.doctor.locks import is_held
from nyx_assets.index_versions import chunk_table, embedding_digests, live_record
from resources.home import Home
from resources.vector_index import LIVE, VectorIndex
from training_kernels.errors import IndexUnavailable

CANARIES = 20
"""Choice: chunks spread over the version; each must hold the embedding that it was built with, and be found by it."""
LEAST_SIMILARITY = 1 - 1e-3


def examine_index(home: Home, open_index: Callable[[], VectorIndex], *, is_served: bool = False) -> Finding:
    """Whether searches are answered, and from what the tables hold.

    Args:
        is_served: the index is a server's, which may have one where nothing of it is on this machine.
    """
    folder = home.root / "index"
    if not is_served and not folder.is_dir():
        return note("index", "none yet", "`nyx run` makes one")
    if any(is_held(file) for file in folder.glob("*.db/LOCK")):
        return note("index", "held by another process, which is not disturbed", "ask again when it has ended")
    try:
        with closing(open_index()) as index:
            return _examined(home, index)
    except IndexUnavailable as error:
        return bad(
            "index",
            one_line(error),
            "`nyx index list` shows the versions, `nyx index rollback` goes back to the one before",
        )
    except FileNotFoundError as error:
        return bad(
            "index", f"{error.filename} is gone", "`nyx run` after deleting the folder of that version builds it again"
        )


def _examined(home: Home, index: VectorIndex) -> Finding:
    if index.resolve(LIVE) is None:
        return note("index", "no version is live", "`nyx run` builds one")
    record = live_record(home, index)
    count = index.count(record.version)
    if count != record.num_chunks:
        return bad(
            "index",
            f"version {record.version} is live with {count:,} chunks, {record.num_chunks:,} were built",
            "`nyx index rollback`, or delete its record under index/versions and run `nyx run`",
        )
    faults = canary_faults(home, index, record.version)
    if faults:
        return bad(
            "index",
            f"version {record.version}: {faults[0]}",
            f"delete {home.root / 'index'} and run `nyx run`: it is built from the tables",
        )
    said = f"version {record.version} is live, {count:,} chunks, {record.dim} dims; every canary found"
    in_tables = _num_chunks(home)
    if in_tables != count:
        return note("index", f"{said}; the tables hold {in_tables:,} chunks", "`nyx run` brings it up to date")
    return good("index", f"{said}; as many as in chunked_corpus")


def canary_faults(home: Home, index: VectorIndex, version: str) -> list[str]:
    """What is wrong with chunks spread evenly over a version: another embedding than was built, or not found by it."""
    table = chunk_table(home, version, ["chunk_id", "embedding_digest"])
    if not table.num_rows:
        return []
    places = np.unique(np.linspace(0, table.num_rows - 1, min(CANARIES, table.num_rows)).astype(int))
    digest_by_id = {row["chunk_id"]: row["embedding_digest"] for row in table.take(places).to_pylist()}
    embedding_by_id = index.fetch(version, list(digest_by_id))
    faults = [f"chunk {chunk_id} is not in it" for chunk_id in digest_by_id if chunk_id not in embedding_by_id]
    for chunk_id, embedding_D in embedding_by_id.items():
        [digest] = embedding_digests(embedding_D[None])
        if digest != digest_by_id[chunk_id]:
            faults.append(f"chunk {chunk_id} has another embedding than it was built with")
            continue
        [hits] = index.search(version, embedding_D[None], top_k=1)
        if not hits or hits[0].similarity < LEAST_SIMILARITY:
            faults.append(f"chunk {chunk_id} is not found by its own embedding")
    return faults


def _num_chunks(home: Home) -> int:
    """Different chunks of the tables."""
    if not home.tables.partitions("chunked_corpus"):
        return 0
    table = home.tables.query(
        "SELECT count(DISTINCT chunk_id) AS number FROM chunked_corpus", of={"chunked_corpus": None}
    )
    return table["number"][0].as_py()
