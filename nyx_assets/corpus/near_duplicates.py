"""Which pages, chunks and pictures are copies or near copies of each other, from the signatures of all crawls."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nyx_assets.near_copies import Groups, near_pictures, near_texts
from nyx_assets.recipes import DeduplicationRecipe
from resources.home import Home

EQUAL, MINHASH, PHASH = "equal", "minhash", "phash"
"""How a near copy was found: by equal terms, by MinHash of the text, or by perceptual hash of the picture."""

Compare = Callable[[list[int]], Iterator[tuple[int, int, float]]]
"""Pairs among some rows that are near copies: positions in the list given, and their similarity."""


@dataclass(frozen=True, slots=True)
class _Signed:
    """Things of one kind, in order of id."""

    ids: list[str]
    digests: Sequence[str | None]
    """Equal exactly for copies; None for a thing that says nothing."""
    comparable: list[int]
    """Rows whose signatures can be compared."""


def near_duplicate_rows(home: Home, recipe: DeduplicationRecipe) -> Iterator[dict[str, Any]]:
    """Rows of NEAR_DUPLICATES: every page, chunk and picture that has a copy or near copy in any crawl."""
    yield from near_text_rows(home, "page", "page_signatures", "doc_id", recipe.min_page_similarity)
    yield from near_text_rows(home, "chunk", "chunk_signatures", "chunk_id", recipe.min_chunk_similarity)
    yield from near_picture_rows(home, recipe.max_picture_distance)


def near_text_rows(home: Home, kind: str, table: str, id_column: str, min_similarity: float) -> list[dict[str, Any]]:
    """Rows of NEAR_DUPLICATES for one kind of text."""
    said_by_id: dict[str, tuple[str | None, bool]] = {}
    minhashes: list[np.ndarray] = []
    for partition in home.tables.partitions(table):
        for batch in home.tables.batches(table, partition=partition):
            columns = (batch.column(name).to_pylist() for name in (id_column, "content_digest", "is_comparable"))
            new = []
            for row, (one, digest, is_comparable) in enumerate(zip(*columns, strict=True)):
                if one not in said_by_id:  # what is in several crawls unchanged is one thing
                    said_by_id[one] = (digest, is_comparable)
                    new.append(row)
            width = batch.schema.field("minhash").type.list_size
            minhashes.append(batch.column("minhash").flatten().to_numpy().reshape(-1, width)[new])
    if not said_by_id:
        return []
    order = sorted(range(len(said_by_id)), key=list(said_by_id).__getitem__)
    signature_NP = np.concatenate(minhashes)
    minhashes.clear()
    signature_NP = signature_NP[order]
    ids = sorted(said_by_id)
    signed = _Signed(
        ids,
        [said_by_id[one][0] for one in ids],
        [row for row, one in enumerate(ids) if said_by_id[one][1]],
    )
    return _rows(
        kind, signed, lambda rows: near_texts(signature_NP[rows], min_similarity=min_similarity), method=MINHASH
    )


def near_picture_rows(home: Home, max_distance: int) -> list[dict[str, Any]]:
    """Rows of NEAR_DUPLICATES for pictures; pictures of equal bytes are one picture."""
    table = "picture_signatures"
    hash_by_image = {
        row["image"]: row["phash"]
        for partition in home.tables.partitions(table)
        for batch in home.tables.batches(table, partition=partition, columns=["image", "phash"])
        for row in batch.to_pylist()
    }
    ids = sorted(hash_by_image)
    hashes = [hash_by_image[one] for one in ids]
    signed = _Signed(ids, ids, [row for row, one in enumerate(hashes) if one is not None])
    return _rows(
        "picture", signed, lambda rows: near_pictures([hashes[row] for row in rows], max_distance=max_distance), PHASH
    )


def _rows(kind: str, signed: _Signed, compare: Compare, method: str) -> list[dict[str, Any]]:
    groups = Groups()
    nearest: dict[str, tuple[float, str, str]] = {}

    def note(one: str, other: str, similarity: float, found_by: str) -> None:
        groups.join(one, other)
        for left, right in ((one, other), (other, one)):
            # ties go to the lesser id, so that the order of pairs does not matter
            if left not in nearest or (-similarity, right) < (-nearest[left][0], nearest[left][1]):
                nearest[left] = (similarity, right, found_by)

    first_row: dict[str, int] = {}
    for row, digest in enumerate(signed.digests):
        if digest is not None and first_row.setdefault(digest, row) != row:
            note(signed.ids[first_row[digest]], signed.ids[row], 1.0, EQUAL)
    # Of copies one stands for all: a text that came a thousand times is compared with others once.
    compared = [row for row in signed.comparable if first_row.get(signed.digests[row] or "", row) == row]
    for left, right, similarity in compare(compared) if len(compared) > 1 else ():
        note(signed.ids[compared[left]], signed.ids[compared[right]], similarity, method)
    return [
        {
            "kind": kind,
            "id": one,
            "cluster": groups.of(one),
            "nearest": nearest[one][1],
            "similarity": nearest[one][0],
            "method": nearest[one][2],
        }
        for one in signed.ids
        if one in nearest
    ]


def cluster_sizes(rows: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Number of clusters by kind, for reports."""
    clusters = {(row["kind"], row["cluster"]) for row in rows}
    return {kind: sum(one == kind for one, _ in clusters) for kind in ("page", "chunk", "picture")}
