"""NyxQA as it stands in a home: pairs, the corpus they ask about, hard negatives, and what an exporter has to say of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nyx_assets.funnels import summed
from resources.home import Home
from training_kernels.documents import Document
from training_kernels.errors import DataError

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A chunk of the corpus with its page."""

    chunk_id: str
    document: Document
    doc_id: str
    url: str | None
    title: str | None
    licence: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A filtered pair with its hard negatives."""

    qa_id: str
    question: Document
    answer: str
    options: tuple[str, ...]
    right_option: int
    split: str
    chunk_id: str
    negatives: tuple[tuple[str, float], ...]
    """Chunk ids and the miner's scores, hardest first."""
    teacher: str
    is_stand_in: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Funnel:
    """What became of the chunks and drafts."""

    steps: Sequence[Mapping[str, Any]]
    """Rows of `qa_funnel`, added up over all crawls (nyx_assets/funnels.py)."""
    num_repeated: int
    """Pairs of a page that came in two crawls unchanged, beyond the first."""
    num_pairs: int
    num_negatives: int
    refused_by_reason: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class NyxQA:
    """One data set, rows in order of id."""

    pairs: tuple[Pair, ...]
    chunk_by_id: Mapping[str, Chunk]
    funnel: Funnel
    versions: Mapping[str, str]
    """Data version by table, of what the data set was read from."""

    def of_split(self, split: str) -> list[Pair]:
        return [pair for pair in self.pairs if pair.split == split]


def read_nyxqa(home: Home) -> NyxQA:
    """The data set of a home. Raises IncompleteArtifact for a table that was not made, DataError where it is empty."""
    negatives: dict[str, list[tuple[str, float]]] = {}
    for row in sorted(home.tables.read("negatives").to_pylist(), key=lambda row: (row["qa_id"], row["rank"])):
        negatives.setdefault(row["qa_id"], []).append((row["chunk_id"], row["score"]))
    rows = {row["qa_id"]: row for row in home.tables.read("filtered_qa").to_pylist()}
    if not rows:
        raise DataError("filtered_qa has no pair, so there is nothing to export; rejected_qa has the reasons")
    pairs = tuple(_pair(rows[qa_id], negatives.get(qa_id, [])) for qa_id in sorted(rows))
    chunk_by_id = _chunks(home)
    for pair in pairs:
        for chunk_id in (pair.chunk_id, *(chunk_id for chunk_id, _ in pair.negatives)):
            if chunk_id not in chunk_by_id:
                raise DataError(
                    f"pair {pair.qa_id} names chunk {chunk_id}, which is not in chunked_corpus; run `nyx run` to its end"
                )
    return NyxQA(pairs=pairs, chunk_by_id=chunk_by_id, funnel=_funnel(home, pairs), versions=_versions(home))


def _pair(row: Mapping[str, Any], negatives: Sequence[tuple[str, float]]) -> Pair:
    return Pair(
        qa_id=row["qa_id"],
        question=Document.from_rows(row["question"]),
        answer=row["answer"],
        options=tuple(row["options"]),
        right_option=row["right_option"],
        split=row["split"],
        chunk_id=row["chunk_id"],
        negatives=tuple(negatives),
        teacher=row["teacher"],
        is_stand_in=row["is_stand_in"],
    )


def _chunks(home: Home) -> dict[str, Chunk]:
    columns = ["doc_id", "url", "title", "licence"]
    page_by_id = {row["doc_id"]: row for row in home.tables.read("crawl_documents", columns=columns).to_pylist()}
    chunks = {}
    for row in home.tables.read("chunked_corpus", columns=["chunk_id", "doc_id", "segments"]).to_pylist():
        page = page_by_id[row["doc_id"]]
        chunks[row["chunk_id"]] = Chunk(
            chunk_id=row["chunk_id"],
            document=Document.from_rows(row["segments"]),
            doc_id=row["doc_id"],
            url=page["url"],
            title=page["title"],
            licence=page["licence"],
        )
    return dict(sorted(chunks.items()))


def _funnel(home: Home, pairs: Sequence[Pair]) -> Funnel:
    refused = Counter(home.tables.read("refused_negatives", columns=["reason"])["reason"].to_pylist())
    return Funnel(
        steps=summed(home.tables.read("qa_funnel").to_pylist()),
        num_repeated=home.tables.read("filtered_qa", columns=["qa_id"]).num_rows - len(pairs),
        num_pairs=len(pairs),
        num_negatives=sum(len(pair.negatives) for pair in pairs),
        refused_by_reason=dict(refused.most_common()),
    )


def _versions(home: Home) -> dict[str, str]:
    names = (
        "crawl_documents",
        "chunked_corpus",
        "raw_qa",
        "filtered_qa",
        "qa_funnel",
        "negatives",
        "refused_negatives",
    )
    return {name: home.input_version(name, None) for name in names}
