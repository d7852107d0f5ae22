"""The index under constant query load: python -m benchmarks.index [--json] [--chunks N] [--dim D] [--uri URI].

A home of made embeddings in five crawl partitions is indexed; then, while searches go on without a pause, one partition
is made again, the checkpoint changes, and the index is rolled back and swapped. Each search is held against exact search
over the very version that answered it. Prints seconds to build, to swap and to roll back, searches that failed, searches
with a wrong row, and recall@10 of the live index against exact search.

Shape letters: B queries, C chunks, D width.
"""

import json
import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads would steal the searches' time

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.report import argument_parser, machine
from nyx_assets.index.building import build_version, corpus_to_index
from nyx_assets.index_versions import rollback, swap
from nyx_assets.recipes import tiny
from nyx_assets.records import CHUNKED_CORPUS, CRAWL_DOCUMENTS, FINAL_INDEX, chunk_embeddings_schema
from nyx_assets.searching import search_live
from resources.artifacts import MANIFEST
from resources.embedder import Side
from resources.exact_search import exact_top_k
from resources.home import Home
from resources.index_milvus import MilvusIndex
from resources.tables import Commit, Provenance
from resources.vector_index import LIVE, VectorIndex
from training_kernels.documents import Document

NUM_CHUNKS, DIM = 50_000, 1024
NUM_CRAWLS = 5
NUM_QUERIES = 200
TOP_K = 10
SAME_COSINE = 2e-6
"""Chunks whose cosines differ by less stand in either order: an index sums 1,024 products in float32, exact search in
float64, and of 600 rankings of 50,000 made chunks three have neighbours closer than 1e-6."""
NUM_SEARCHERS = 2
ORIGIN = Provenance(code_version="1")

OpenIndex = Callable[[], VectorIndex]


@dataclass(slots=True)
class LoadReport:
    """What happened; times in seconds."""

    name: str
    num_chunks: int
    dim: int
    index_type: str
    build_seconds: float = 0.0
    regenerate_seconds: float = 0.0
    """To build and go over to a version with one partition made again, under load."""
    new_checkpoint_seconds: float = 0.0
    """The same with embeddings of another checkpoint."""
    swap_seconds: float = 0.0
    rollback_seconds: float = 0.0
    """The longest of two."""
    searches: int = 0
    failed: list[str] = field(default_factory=list)
    wrong_rows: int = 0
    versions_answered: int = 0
    search_median_ms: float = 0.0
    recall_at_10: float = 0.0
    machine: str = ""


class MadeEmbedder:
    """Embeds the text "query N" as row N of its queries."""

    reads_pictures = False

    def __init__(self, query_BD: np.ndarray) -> None:
        self._query_BD = query_BD

    @property
    def dim(self) -> int:
        return int(self._query_BD.shape[1])

    @property
    def dims(self) -> tuple[int, ...]:
        return (self.dim,)

    def embed(self, documents: Sequence[Document], *, side: Side) -> np.ndarray:
        return self._query_BD[[int(document.text.split()[1]) for document in documents]]


class MadeEmbedders:
    """Embedders whose checkpoint folders are named by a number: checkpoint n turns every embedding by n places.

    So a query of one checkpoint against chunks of another finds nonsense.
    """

    def __init__(self, query_BD: np.ndarray) -> None:
        self._query_BD = query_BD

    def untrained(self) -> str:
        return "0"

    def open(self, folder: str) -> MadeEmbedder:
        return MadeEmbedder(np.roll(self._query_BD, int(Path(folder).name), axis=1))


def unit_rows(generator: np.random.Generator, num_rows: int, dim: int) -> np.ndarray:
    row_CD = generator.standard_normal((num_rows, dim), dtype=np.float32)
    return row_CD / np.linalg.norm(row_CD, axis=1, keepdims=True)


def land(home: Home, crawl: str, ids: Sequence[str], embedding_CD: np.ndarray) -> None:
    """A crawl partition of one chunk a page."""
    with home.tables.write("crawl_documents", CRAWL_DOCUMENTS, partition=crawl, provenance=ORIGIN) as table:
        table.append(
            dict.fromkeys(CRAWL_DOCUMENTS.names)
            | {"doc_id": f"page-{one}", "url": f"https://{crawl}.example.org/{one}", "title": one, "language": "en"}
            for one in ids
        )
    with home.tables.write("chunked_corpus", CHUNKED_CORPUS, partition=crawl, provenance=ORIGIN) as table:
        table.append(
            dict.fromkeys(CHUNKED_CORPUS.names)
            | {
                "chunk_id": one,
                "doc_id": f"page-{one}",
                "position": 0,
                "modality": "text",
                "segments": [{"kind": "text", "text": f"What stands in {one}, and more of it.", "image": None}],
            }
            for one in ids
        )
    schema = chunk_embeddings_schema(embedding_CD.shape[1])
    with home.tables.write("promoted/chunk_embeddings", schema, partition=crawl, provenance=ORIGIN) as table:
        column = pa.FixedSizeListArray.from_arrays(pa.array(embedding_CD.ravel()), embedding_CD.shape[1])
        table.append_table(pa.Table.from_arrays([pa.array(list(ids)), column], schema=schema))


def promote(home: Home, number: int) -> None:
    """Checkpoint `number` is the promoted one."""
    folder = home.artifacts.folder("promoted_checkpoint", str(number))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).write_text("{}")
    commit = Commit(data_version=f"weights-{number}", num_rows=1, provenance=ORIGIN, written_at="")
    home.artifacts.publish("promoted_checkpoint", folder, commit)


class Load:
    """Searches that go on until they are stopped, each in a thread with an index of its own."""

    def __init__(self, home: Home, open_index: OpenIndex, embedders: MadeEmbedders, *, num_queries: int) -> None:
        self.answers: list[tuple[str, int, list[str]]] = []
        """Version, query and chunks of each search that found something."""
        self.failed: list[str] = []
        self.seconds: list[float] = []
        self._home, self._open_index, self._embedders = home, open_index, embedders
        self._num_queries = num_queries
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._search, args=(n,), daemon=True) for n in range(NUM_SEARCHERS)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _search(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        with closing(self._open_index()) as index:
            while not self._stop.is_set():
                query = int(generator.integers(self._num_queries))
                start = time.perf_counter()
                try:
                    hits = search_live(
                        self._home, index, self._embedders, Document.of(f"query {query}"), top_k=TOP_K, where={}
                    )
                except Exception as error:  # noqa: BLE001 - whatever it is, it is what is counted
                    self.failed.append(f"{type(error).__name__}: {error}")
                    continue
                self.seconds.append(time.perf_counter() - start)
                self.answers.append((hits[0]["version"] if hits else "", query, [hit["chunk_id"] for hit in hits]))


def measure(
    home: Home, open_index: OpenIndex, *, num_chunks: int, dim: int, index_type: str, log: Callable[[str], None]
) -> LoadReport:
    """Everything that the module's docstring says, in a new home."""
    generator = np.random.default_rng(0)
    chunk_CD = unit_rows(generator, num_chunks, dim)
    query_BD = unit_rows(generator, NUM_QUERIES, dim)
    ids = [f"chunk{row:07d}" for row in range(num_chunks)]
    recipe = replace(tiny().index, max_dim=dim, index_type=index_type)
    report = LoadReport("index", num_chunks, dim, index_type, machine=machine())
    corpora: dict[str, tuple[list[str], np.ndarray, int]] = {}
    """Ids, embeddings and checkpoint of what each version holds."""

    def land_all(checkpoint: int) -> None:
        promote(home, checkpoint)
        for crawl in range(NUM_CRAWLS):
            rows = list(range(crawl, num_chunks, NUM_CRAWLS))
            land(home, f"crawl-{crawl}", [ids[row] for row in rows], np.roll(chunk_CD[rows], checkpoint, axis=1))

    def build(name: str, checkpoint: int) -> tuple[str, float]:
        corpus = corpus_to_index(home, dim=dim)
        start = time.perf_counter()
        with closing(open_index()) as index:
            rows = build_version(home, index, recipe=recipe, dims=[dim], inputs={"step": name}, log=log)
        seconds = time.perf_counter() - start
        with home.tables.write("final_index", FINAL_INDEX, partition=None, provenance=ORIGIN) as table:
            table.append(rows)
        version = next(row["version"] for row in rows if row["is_live"])
        corpora[version] = (corpus.chunks["chunk_id"].to_pylist(), corpus.embedding_CD, checkpoint)
        return version, seconds

    land_all(1)
    _, report.build_seconds = build("first", 1)
    with (
        closing(open_index()) as index,
        Load(home, open_index, MadeEmbedders(query_BD), num_queries=NUM_QUERIES) as load,
    ):
        time.sleep(0.5)
        rows = list(range(0, num_chunks, NUM_CRAWLS))
        half = len(rows) // 2  # of the partition's chunks go, as many new ones come
        new_CD = np.concatenate([chunk_CD[rows[half:]], unit_rows(generator, half, dim)])
        new_ids = [ids[row] for row in rows[half:]] + [f"new{row:07d}" for row in range(half)]
        land(home, "crawl-0", new_ids, np.roll(new_CD, 1, axis=1))
        _, report.regenerate_seconds = build("partition again", 1)
        time.sleep(0.5)
        land_all(2)
        newest, report.new_checkpoint_seconds = build("checkpoint", 2)
        for _ in range(2):
            time.sleep(0.5)
            start = time.perf_counter()
            rollback(home, index, log=print)
            report.rollback_seconds = max(report.rollback_seconds, time.perf_counter() - start)
            time.sleep(0.5)
            start = time.perf_counter()
            swap(home, index, newest, log=print)
            report.swap_seconds = max(report.swap_seconds, time.perf_counter() - start)
        time.sleep(0.5)
        expected = {version: _Expected(query_BD, *corpus) for version, corpus in corpora.items()}
        live = index.resolve(LIVE)
        assert live is not None
        found = index.search(LIVE, np.roll(query_BD, corpora[live][2], axis=1), top_k=TOP_K)
        right = [
            len(set(expected[live].ids_of[query]) & {hit.chunk_id for hit in hits}) for query, hits in enumerate(found)
        ]
        report.recall_at_10 = sum(right) / (TOP_K * len(found))
    report.searches, report.failed = len(load.answers), load.failed
    report.wrong_rows = sum(
        version not in expected or not expected[version].allows(query, found) for version, query, found in load.answers
    )
    report.versions_answered = len({version for version, _, _ in load.answers})
    report.search_median_ms = 1000 * float(np.median(load.seconds)) if load.seconds else 0.0
    return report


class _Expected:
    """The exact best chunks of each query in one version."""

    def __init__(self, query_BD: np.ndarray, ids: list[str], embedding_CD: np.ndarray, checkpoint: int) -> None:
        self._query_BD = np.roll(query_BD, checkpoint, axis=1).astype(np.float64)
        self._embedding_CD = embedding_CD
        self._row_by_id = dict(zip(ids, range(len(ids)), strict=True))
        self._cosine_BK, row_BK = exact_top_k(self._query_BD.astype(np.float32), embedding_CD, top_k=TOP_K)
        self.ids_of = [[ids[row] for row in row_K] for row_K in row_BK]

    def allows(self, query: int, found: list[str]) -> bool:
        """Whether each place holds a chunk of this version, once, as near to the query as the exact one of the place."""
        if (
            len(found) != len(self.ids_of[query])
            or len(set(found)) < len(found)
            or not self._row_by_id.keys() >= set(found)
        ):
            return False
        rows = [self._row_by_id[one] for one in found]
        cosine_K = self._embedding_CD[rows].astype(np.float64) @ self._query_BD[query]
        return bool(np.abs(cosine_K - self._cosine_BK[query]).max() <= SAME_COSINE)


def main() -> None:
    parser = argument_parser((__doc__ or "").splitlines()[0])
    parser.add_argument("--chunks", type=int, default=NUM_CHUNKS)
    parser.add_argument("--dim", type=int, default=DIM)
    parser.add_argument("--index-type", default="FLAT")
    parser.add_argument("--uri", help="address of a Milvus server; default: Milvus Lite in this process")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Home.at(Path(folder) / "home")
        uri = options.uri or str(home.root / "index" / "milvus.db")
        report = measure(
            home,
            lambda: MilvusIndex(uri),
            num_chunks=options.chunks,
            dim=options.dim,
            index_type=options.index_type,
            log=lambda line: None if options.json else print(line, flush=True),
        )
    if options.json:
        print(json.dumps(asdict(report)))
        return
    print("\n".join(f"{name}: {value}" for name, value in asdict(report).items()))


if __name__ == "__main__":
    main()
