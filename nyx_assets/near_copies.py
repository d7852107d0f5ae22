"""Near copies: signatures of texts and pictures that are small enough to keep, and which of them agree.

Shape letters: N things that are compared, P permutations of a MinHash, K bands, M pairs.

Texts are compared by MinHash over runs of five words, by the library rensa; pictures by the perceptual hash of the
library ImageHash. Near copies are looked for where a band of two signatures is equal, then compared on the whole.

Source: Broder 1997, "On the resemblance and containment of documents"; banding as in Leskovec et al., "Mining of Massive
Datasets", section 3.4.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from PIL import Image

from nyx_assets.rag.bm25 import terms
from resources.home import Home
from training_kernels.documents import Document

SHINGLE_TERMS = 5
"""Choice: runs of five words, the usual length for web pages; templates share shorter ones."""

NUM_PERMUTATIONS = 128
"""Choice: 512 bytes a text; the estimated similarity is off by about 0.03 (measured against exact Jaccard)."""

SEED = 42
"""Of the permutations. A constant and no setting: signatures of different seeds cannot be compared."""

TEXTS_PER_BATCH = 2048
MAX_MISSED = 0.01
"""Choice: of pairs right at the least similarity, at most one in a hundred shares no band."""

MAX_NEIGHBOURS = 64
"""Choice: of things that share a band, each is compared with the 64 next to it, so that a template that stands on every
page costs 64 comparisons each and not their square. Near copies beyond hang together through those between."""

PAIRS_PER_COMPARISON = 2_048
"""Choice: the signatures of both sides, 2 MB, stay in the processor's cache; measured, half the time of 65,536."""

HASH_SIDE = 16
PICTURE_BITS = HASH_SIDE * HASH_SIDE
MIN_CONTRAST = 4.0
"""Choice: a picture whose grey levels (0 to 255) have a smaller standard deviation is a plain area, whose hash is noise."""

Similarity = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Similarity, 0 to 1, of pairs given as two arrays of rows."""


def shingles(text: str) -> list[str]:
    """Runs of SHINGLE_TERMS terms of a text; one shorter run where it has fewer; none where it has none."""
    words = terms(text)
    if not words:
        return []
    return [" ".join(words[start : start + SHINGLE_TERMS]) for start in range(max(1, len(words) - SHINGLE_TERMS + 1))]


def text_digest(text: str) -> str:
    """Equal for texts of the same terms in the same order: case, white space and punctuation do not count."""
    return hashlib.sha256(" ".join(terms(text)).encode("utf-8", "surrogatepass")).hexdigest()


def text_signatures(texts: Sequence[str]) -> np.ndarray:
    """uint32 [N, P]: the MinHash of each text. Texts without a term get the largest number everywhere."""
    from rensa import RMinHash

    signature_NP = np.empty((len(texts), NUM_PERMUTATIONS), dtype=np.uint32)
    for start in range(0, len(texts), TEXTS_PER_BATCH):
        token_sets = [shingles(text) for text in texts[start : start + TEXTS_PER_BATCH]]
        matrix = RMinHash.digest_matrix_from_token_sets(token_sets, num_perm=NUM_PERMUTATIONS, seed=SEED)
        signature_NP[start : start + len(token_sets)] = matrix.to_rows()
    return signature_NP


def picture_hash(picture: Image.Image) -> str | None:
    """The picture's perceptual hash in hex digits (PICTURE_BITS bits); None for a plain area, which has no look."""
    from imagehash import phash

    grey = picture.convert("L")
    if np.asarray(grey.resize((32, 32))).std() < MIN_CONTRAST:
        return None
    return np.packbits(phash(grey, hash_size=HASH_SIDE).hash).tobytes().hex()


def near_texts(signature_NP: np.ndarray, *, min_similarity: float) -> Iterator[tuple[int, int, float]]:
    """Pairs of rows whose estimated Jaccard similarity reaches the least one, with it; the lower row first.

    A row of a text without terms must not be among them: it agrees with every other such row.
    """

    def similarity(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return _agreement(signature_NP[left], signature_NP[right])

    return _agreeing(_band_keys(signature_NP, min_similarity), similarity, min_similarity)


def near_texts_between(
    left_NP: np.ndarray, right_NP: np.ndarray, *, min_similarity: float
) -> Iterator[tuple[int, int, float]]:
    """Pairs of a row of one side and a row of the other whose estimated Jaccard similarity reaches the least one.

    Whether a pair is found depends on its two rows alone, however many others share a band with them.
    """
    left_NK, right_NK = _band_keys(left_NP, min_similarity), _band_keys(right_NP, min_similarity)
    seen = np.empty(0, dtype=np.int64)
    for left_N, right_N in zip(left_NK.T, right_NK.T, strict=True):
        order = np.argsort(right_N, kind="stable")
        ordered = right_N[order]
        first_N, last_N = np.searchsorted(ordered, left_N, "left"), np.searchsorted(ordered, left_N, "right")
        pairs = [
            left * len(right_NP) + order[first:last].astype(np.int64)
            for left, (first, last) in enumerate(zip(first_N.tolist(), last_N.tolist(), strict=True))
            if last > first
        ]
        candidates = np.setdiff1d(np.concatenate(pairs), seen, assume_unique=True) if pairs else seen[:0]
        seen = np.union1d(seen, candidates)
        for start in range(0, len(candidates), PAIRS_PER_COMPARISON):
            left, right = np.divmod(candidates[start : start + PAIRS_PER_COMPARISON], len(right_NP))
            yield from _reaching(left, right, _agreement(left_NP[left], right_NP[right]), min_similarity)


def near_pictures(hashes: Sequence[str], *, max_distance: int) -> Iterator[tuple[int, int, float]]:
    """Pairs of rows whose hashes differ in at most max_distance bits, with the share of equal bits; the lower row first.

    No pair is missed while max_distance is below the 16 bands that a hash is cut into: one of them is then equal.
    """
    bits_NK = _bits(hashes, np.uint16)

    def similarity(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return 1 - np.bitwise_count(bits_NK[left] ^ bits_NK[right]).sum(axis=1) / PICTURE_BITS

    return _agreeing(bits_NK, similarity, 1 - max_distance / PICTURE_BITS)


def near_pictures_between(
    left: Sequence[str], right: Sequence[str], *, max_distance: int
) -> Iterator[tuple[int, int, float]]:
    """Pairs of a hash of one side and a hash of the other that differ in at most max_distance bits, with the share of
    equal bits. Every pair is compared.
    """
    left_NW, right_NW = _bits(left, np.uint64), _bits(right, np.uint64)
    step = max(1, PAIRS_PER_COMPARISON * 16 // max(1, len(right)))
    for start in range(0, len(left), step):
        distance_NM = np.bitwise_count(left_NW[start : start + step, None] ^ right_NW[None]).sum(axis=-1)
        rows, columns = np.nonzero(distance_NM <= max_distance)
        similarity = 1 - distance_NM[rows, columns] / PICTURE_BITS
        yield from zip((rows + start).tolist(), columns.tolist(), similarity.tolist(), strict=True)


def _bits(hashes: Sequence[str], word: type[np.unsignedinteger]) -> np.ndarray:
    """[N, words]: the bits of picture hashes in words of that size."""
    words = np.array([np.frombuffer(bytes.fromhex(one), dtype=word) for one in hashes], dtype=word)
    return words.reshape(len(hashes), PICTURE_BITS // (8 * np.dtype(word).itemsize))


def _band_keys(signature_NP: np.ndarray, min_similarity: float) -> np.ndarray:
    """uint64 [N, K]: a number for each band of rows of a signature; a collision only costs a comparison."""
    rows_per_band = _rows_per_band(min_similarity)
    # Odd multipliers fold a band into one number.
    factors = np.random.default_rng(SEED).integers(1, 2**63, size=rows_per_band, dtype=np.uint64) | np.uint64(1)
    keys_NK = np.empty((len(signature_NP), NUM_PERMUTATIONS // rows_per_band), dtype=np.uint64)
    for band in range(keys_NK.shape[1]):  # all at once, the wider numbers would take four times the signatures' memory
        rows_NR = signature_NP[:, band * rows_per_band : (band + 1) * rows_per_band]
        keys_NK[:, band] = (rows_NR.astype(np.uint64) * factors).sum(axis=1, dtype=np.uint64)
    return keys_NK


def _agreement(left_MP: np.ndarray, right_MP: np.ndarray) -> np.ndarray:
    """Share of equal permutations of each pair of signatures, [M]."""
    return (left_MP == right_MP).view(np.uint8).sum(axis=1, dtype=np.uint8) / NUM_PERMUTATIONS


def _rows_per_band(min_similarity: float) -> int:
    """The longest band that still misses few enough pairs: longer ones call fewer unlike texts together."""
    fitting = [
        rows
        for rows in range(1, 17)
        if (1 - min_similarity**rows) ** (NUM_PERMUTATIONS // rows) <= MAX_MISSED or rows == 1
    ]
    return max(fitting)


def _agreeing(keys_NK: np.ndarray, similarity: Similarity, minimum: float) -> Iterator[tuple[int, int, float]]:
    """Pairs of rows that share a band and reach the least similarity, each once.

    Only what was found is remembered: near copies are few, and unlike pairs that share a second band are rare enough to
    be compared again.
    """
    num_rows = len(keys_NK)
    known = np.empty(0, dtype=np.int64)
    for keys_N in keys_NK.T:
        candidates = _sharing(keys_N)
        candidates = candidates[~_stand_in(known, candidates)]
        reached_here = [known]
        for start in range(0, len(candidates), PAIRS_PER_COMPARISON):
            pairs = candidates[start : start + PAIRS_PER_COMPARISON]
            left, right = np.divmod(pairs, num_rows)
            found = similarity(left, right)
            reached_here.append(pairs[found >= minimum])
            yield from _reaching(left, right, found, minimum)
        known = np.sort(np.concatenate(reached_here))


def _stand_in(ordered: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Which of the values stand in an ascending array."""
    if not len(ordered):
        return np.zeros(len(values), dtype=bool)
    places = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    return ordered[places] == values


def _reaching(
    left: np.ndarray, right: np.ndarray, found: np.ndarray, minimum: float
) -> Iterator[tuple[int, int, float]]:
    """The compared pairs that reach the least similarity."""
    reached = found >= minimum
    return zip(left[reached].tolist(), right[reached].tolist(), found[reached].astype(float).tolist(), strict=True)


def _sharing(keys_N: np.ndarray) -> np.ndarray:
    """int64 [M]: pairs of rows with equal keys, as lower row times N plus higher row, in ascending order.

    Each once: a pair's rows stand at one distance from each other in the order of the keys.
    """
    order = np.argsort(keys_N, kind="stable")  # stable, so that rows of equal keys stay in order: left < right
    ordered = keys_N[order]
    pairs = []
    for offset in range(1, min(MAX_NEIGHBOURS, len(keys_N) - 1) + 1):
        start = np.flatnonzero(ordered[:-offset] == ordered[offset:])
        if not len(start):
            break
        pairs.append(order[start].astype(np.int64) * len(keys_N) + order[start + offset])
    # np.unique and its kin hash, and these numbers collide: on 20,000 pairs a band 40 times slower than sorting
    return np.sort(np.concatenate(pairs)) if pairs else np.empty(0, dtype=np.int64)


class Groups:
    """Things that belong together, directly or through others: the sets of a union-find, each named by its least member."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def of(self, member: str) -> str:
        """The least member of the group; a thing that was never joined is a group of its own."""
        while (parent := self._parent.get(member, member)) != member:
            self._parent[member] = self._parent.get(parent, parent)
            member = parent
        return member

    def join(self, one: str, other: str) -> None:
        least, greatest = sorted((self.of(one), self.of(other)))
        self._parent[greatest] = least


def content_digest(document: Document) -> str:
    """Equal for documents that nothing tells apart: the same terms, or the same pictures where they say too little.

    Choice: a text with fewer terms than one shingle, such as "Figure 2", counts only together with its pictures.
    """
    text = document.text
    if len(terms(text)) >= SHINGLE_TERMS:
        return text_digest(text)
    return hashlib.sha256("\x1f".join(["few words", text_digest(text), *sorted(document.images)]).encode()).hexdigest()


def chunk_cluster_of(home: Home) -> Mapping[str, str]:
    """Cluster by id of every chunk that has a copy or near copy; a chunk that is not there stands alone."""
    return near_copy_clusters(home, "chunk")


def near_copy_clusters(home: Home, kind: str) -> dict[str, str]:
    """Cluster by id of every "page", "chunk" or "picture" that has a copy or near copy, from table near_duplicates."""
    rows = home.tables.read("near_duplicates", columns=["kind", "id", "cluster"]).to_pylist()
    return {row["id"]: row["cluster"] for row in rows if row["kind"] == kind}
