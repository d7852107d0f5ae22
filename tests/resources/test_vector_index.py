"""One contract for every vector index: brute force in a folder, Milvus Lite in this process, Milvus by its address."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from pymilvus import MilvusClient

from resources.index_exact import ExactIndex
from resources.index_milvus import MilvusIndex
from resources.vector_index import INDEX_TYPES, LIVE, METRICS, Hit, IndexedChunk, VectorIndex
from training_kernels.errors import ConfigError, DataError, IndexUnavailable

ROOT = Path(__file__).resolve().parents[2]
Opener = Callable[[], VectorIndex]


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def milvus_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Milvus server of its own process, on loopback."""
    port, folder = free_port(), tmp_path_factory.mktemp("server")
    command = [
        str(Path(sys.executable).with_name("milvus-lite")),
        "server",
        "--data-dir",
        str(folder / "data"),
        "--port",
        str(port),
    ]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=20)


def empty(address: str) -> None:
    """Take everything from a server, which outlives a test."""
    client = MilvusClient(address)
    for alias in client.list_aliases()["aliases"]:
        client.drop_alias(alias)
    for collection in client.list_collections():
        client.drop_collection(collection)
    client.close()


@pytest.fixture(params=["exact", "milvus", "milvus_server"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens the same index each time it is called."""
    if request.param == "exact":
        return lambda: ExactIndex(str(tmp_path / "index"))
    if request.param == "milvus_server":
        address = request.getfixturevalue("milvus_address")
        empty(address)
        return lambda: MilvusIndex(address)
    return lambda: MilvusIndex(str(tmp_path / "deep" / "index.db"))


@pytest.fixture
def index(opener: Opener) -> Iterator[VectorIndex]:
    index = opener()
    yield index
    index.close()


def chunk(
    chunk_id: str,
    *,
    crawls: tuple[str, ...] = ("c-1",),
    modality: str = "text",
    language: str = "",
    source: str = "",
) -> IndexedChunk:
    return IndexedChunk(chunk_id, f"page of {chunk_id}", crawls, modality, language, source)


def unit(*rows: tuple[float, ...]) -> np.ndarray:
    array = np.array(rows, dtype=np.float32)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def ids(hits: list[Hit]) -> list[str]:
    return [hit.chunk_id for hit in hits]


def test_hits_are_the_most_similar_chunks_with_their_cosines(index: VectorIndex) -> None:
    rng = np.random.default_rng(3)
    candidates = unit(*rng.normal(size=(700, 12)))
    queries = unit(*rng.normal(size=(5, 12)))
    index.create("v1", dim=12)
    index.add("v1", [chunk(f"k{row:04d}") for row in range(400)], candidates[:400])
    index.add("v1", [chunk(f"k{row:04d}") for row in range(400, 700)], candidates[400:])
    assert index.count("v1") == 700
    for query, hits in zip(queries, index.search("v1", queries, top_k=7), strict=True):
        cosines = sorted(
            (
                (sum(float(a) * float(b) for a, b in zip(query, row, strict=True)), n)
                for n, row in enumerate(candidates)
            ),
            reverse=True,
        )
        assert ids(hits) == [f"k{n:04d}" for _, n in cosines[:7]]
        assert [hit.similarity for hit in hits] == pytest.approx([cosine for cosine, _ in cosines[:7]], abs=2e-6)


def test_more_hits_than_chunks_returns_every_chunk_and_equals_come_by_id(index: VectorIndex) -> None:
    index.create("v1", dim=2)
    index.add("v1", [chunk("z"), chunk("b"), chunk("m"), chunk("a")], unit((1, 0), (1, 0), (0, 1), (1, 0)))
    (hits,) = index.search("v1", unit((1, 0)), top_k=50)
    assert ids(hits) == ["a", "b", "z", "m"]


def test_an_empty_version_answers_with_no_hits(index: VectorIndex) -> None:
    index.create("v1", dim=3)
    assert index.search("v1", unit((1, 2, 3), (3, 1, 2)), top_k=4) == [[], []]
    assert index.count("v1") == 0
    index.add("v1", [], np.empty((0, 3), dtype=np.float32))
    assert index.count("v1") == 0


def test_a_chunk_that_comes_again_replaces_the_old_one(index: VectorIndex) -> None:
    index.create("v1", dim=2)
    index.add("v1", [chunk("a", modality="text"), chunk("b")], unit((1, 0), (3, 4)))
    index.add("v1", [chunk("a", modality="image", crawls=("c-2",))], unit((0, 1)))
    assert index.count("v1") == 2
    assert index.fetch("v1", ["a"])["a"] == pytest.approx([0, 1])
    assert ids(index.search("v1", unit((0, 1)), top_k=1)[0]) == ["a"]
    assert ids(index.search("v1", unit((0, 1)), top_k=5, where={"modality": "text"})[0]) == ["b"]
    assert ids(index.search("v1", unit((0, 1)), top_k=5, where={"crawl": "c-2"})[0]) == ["a"]


def test_a_deleted_chunk_is_gone_and_may_come_back(index: VectorIndex) -> None:
    index.create("v1", dim=2)
    index.add("v1", [chunk("a"), chunk("b"), chunk("c")], unit((1, 0), (1, 1), (0, 1)))
    index.delete("v1", ["a", "never there"])
    assert index.count("v1") == 2
    assert ids(index.search("v1", unit((1, 0)), top_k=5)[0]) == ["b", "c"]
    assert set(index.fetch("v1", ["a", "b"])) == {"b"}
    index.add("v1", [chunk("a")], unit((1, 0)))
    assert ids(index.search("v1", unit((1, 0)), top_k=5)[0]) == ["a", "b", "c"]


def test_filters_hold_for_every_hit_and_together(index: VectorIndex) -> None:
    odd = 'c"2\\ 汉'
    index.create("v1", dim=2)
    index.add(
        "v1",
        [
            chunk("a", crawls=("c-1",), modality="text"),
            chunk("b", crawls=("c-1", odd), modality="image"),
            chunk("c", crawls=(odd,), modality="text"),
            chunk("d", crawls=("c-10",), modality="mixed"),
        ],
        unit((9, 1), (8, 1), (7, 1), (6, 1)),
    )

    def found(**where: str) -> list[str]:
        return ids(index.search("v1", unit((1, 0)), top_k=9, where=where)[0])

    assert found() == ["a", "b", "c", "d"]
    assert found(modality="text") == ["a", "c"]
    assert found(crawl="c-1") == ["a", "b"]
    assert found(crawl=odd) == ["b", "c"]
    assert found(crawl=odd, modality="text") == ["c"]
    assert found(crawl="c") == []
    with pytest.raises(ConfigError, match="filtered on crawl, modality, language, source, got 'licence'"):
        found(licence="CC0")


def test_language_and_source_filter_too(index: VectorIndex) -> None:
    index.create("v1", dim=2)
    index.add(
        "v1",
        [
            chunk("a", language="en", source="example.org"),
            chunk("b", language="de", source="example.org"),
            chunk("c", language="en", source="sub.example.org", crawls=("c-2",)),
            chunk("d"),
        ],
        unit((9, 1), (8, 1), (7, 1), (6, 1)),
    )

    def found(**where: str) -> list[str]:
        return ids(index.search("v1", unit((1, 0)), top_k=9, where=where)[0])

    assert found(language="en") == ["a", "c"]
    assert found(source="example.org") == ["a", "b"]
    assert found(language="en", source="example.org", crawl="c-1") == ["a"]
    assert found(language="fr") == []


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("index_type", INDEX_TYPES)
def test_every_type_and_metric_gives_cosines_and_survives_deletes(
    index: VectorIndex, index_type: str, metric: str
) -> None:
    rng = np.random.default_rng(8)
    candidates, queries = unit(*rng.normal(size=(600, 8))), unit(*rng.normal(size=(4, 8)))
    index.create("v1", dim=8, index_type=index_type, metric=metric)
    index.add("v1", [chunk(f"k{row:03d}") for row in range(600)], candidates)
    index.delete("v1", [f"k{row:03d}" for row in range(0, 600, 3)])
    index.set_alias(LIVE, "v1")
    left = [row for row in range(600) if row % 3]
    num_right = 0
    for query, hits in zip(queries, index.search(LIVE, queries, top_k=10), strict=True):
        cosine = candidates[left].astype(float) @ query.astype(float)
        best = {f"k{left[place]:03d}": cosine[place] for place in np.argsort(-cosine)[:10]}
        num_right += len(best.keys() & ids(hits))
        for hit in hits:
            assert hit.similarity == pytest.approx(candidates[int(hit.chunk_id[1:])] @ query, abs=2e-6)
    assert num_right >= 38


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"index_type": "IVF_PQ"}, "'IVF_PQ' is unknown; known: FLAT, HNSW, HNSW_SQ, IVF_FLAT, IVF_SQ8"),
        ({"index_type": "DISKANN"}, "'DISKANN' is unknown"),
        ({"metric": "HAMMING"}, "'HAMMING' is unknown; known: COSINE, IP, L2"),
    ],
)
def test_a_type_or_metric_that_is_not_on_the_list_is_refused(
    index: VectorIndex, options: dict[str, str], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        index.create("v1", dim=2, **options)
    assert index.versions() == []


def test_a_renamed_version_keeps_its_chunks_under_the_new_name_alone(index: VectorIndex) -> None:
    index.create("v1", dim=2)
    index.create("v2", dim=2)
    index.add("v1", [chunk("a"), chunk("b")], unit((1, 0), (0, 1)))
    assert ids(index.search("v1", unit((1, 0)), top_k=1)[0]) == ["a"]
    index.rename("v1", "v3")
    assert index.versions() == ["v2", "v3"]
    index.delete("v3", ["a"])
    index.add("v3", [chunk("c")], unit((1, 0)))
    assert ids(index.search("v3", unit((1, 0)), top_k=5)[0]) == ["c", "b"]
    with pytest.raises(IndexUnavailable, match="'v2' exists already"):
        index.rename("v3", "v2")
    index.set_alias(LIVE, "v3")
    with pytest.raises(IndexUnavailable, match="alias 'live' points at version 'v3'"):
        index.rename("v3", "v4")
    with pytest.raises(IndexUnavailable, match="'v1'"):
        index.rename("v1", "v4")


def test_an_alias_moves_to_another_version_and_back(index: VectorIndex) -> None:
    for version, name in (("v1", "old"), ("v2", "new")):
        index.create(version, dim=2)
        index.add(version, [chunk(name)], unit((1, 0)))
    assert index.resolve(LIVE) is None
    for version, name in (("v1", "old"), ("v2", "new"), ("v1", "old")):
        index.set_alias(LIVE, version)
        assert index.resolve(LIVE) == version
        assert ids(index.search(LIVE, unit((1, 0)), top_k=3)[0]) == [name]
        assert index.count(LIVE) == 1
        assert set(index.fetch(LIVE, ["old", "new"])) == {name}
    assert index.versions() == ["v1", "v2"]


def test_a_version_behind_an_alias_is_not_dropped(index: VectorIndex) -> None:
    index.create("v1", dim=2)
    index.create("v2", dim=2)
    index.set_alias(LIVE, "v1")
    with pytest.raises(IndexUnavailable, match="alias 'live' points at version 'v1'"):
        index.drop("v1")
    index.drop("v2")
    assert index.versions() == ["v1"]
    assert index.resolve(LIVE) == "v1"


def test_what_does_not_exist_is_named_with_what_does(index: VectorIndex) -> None:
    index.create("v1", dim=2)
    query = unit((1, 0))
    for ask in (
        lambda: index.search("v7", query, top_k=1),
        lambda: index.fetch("v7", ["a"]),
        lambda: index.count("v7"),
        lambda: index.add("v7", [chunk("a")], query),
        lambda: index.delete("v7", ["a"]),
        lambda: index.drop("v7"),
        lambda: index.set_alias(LIVE, "v7"),
    ):
        with pytest.raises(IndexUnavailable, match=r"'v7' \(versions: v1\)"):
            ask()
    with pytest.raises(IndexUnavailable, match="'v1' exists already"):
        index.create("v1", dim=2)
    assert index.resolve("v7") is None


def test_a_name_means_a_version_or_an_alias_never_both(index: VectorIndex) -> None:
    index.create("v1", dim=2)
    index.set_alias("spare", "v1")
    with pytest.raises(IndexUnavailable, match="'spare' is an alias"):
        index.create("spare", dim=2)
    with pytest.raises(IndexUnavailable, match="'v1' is a version"):
        index.set_alias("v1", "v1")


@pytest.mark.parametrize("name", ["", "../v1", "v-1", "v 1", "v" * 129])
def test_a_name_that_no_index_could_hold_is_refused(index: VectorIndex, name: str) -> None:
    with pytest.raises(ConfigError, match="letters, digits and underscores"):
        index.create(name, dim=2)
    with pytest.raises(ConfigError, match="letters, digits and underscores"):
        index.search(name, unit((1, 0)), top_k=1)


@pytest.mark.parametrize("dim", [0, 32_769])
def test_a_width_that_no_server_takes_is_refused(index: VectorIndex, dim: int) -> None:
    with pytest.raises(ConfigError, match=f"got {dim}"):
        index.create("v1", dim=dim)


def test_embeddings_that_are_not_unit_vectors_of_the_width_are_refused(index: VectorIndex) -> None:
    index.create("v1", dim=2)
    two = [chunk("a"), chunk("b")]
    with pytest.raises(DataError, match="chunk b has norm 5"):
        index.add("v1", two, np.array([[1, 0], [3, 4]], dtype=np.float32))
    with pytest.raises(DataError, match="chunk a has norm nan"):
        index.add("v1", two, np.array([[np.nan, 0], [0, 1]], dtype=np.float32))
    with pytest.raises(DataError, match=r"shape \(2, 2\), got \(2, 3\)"):
        index.add("v1", two, unit((1, 0, 0), (0, 1, 0)))
    with pytest.raises(DataError, match="chunk a stands twice"):
        index.add("v1", [chunk("a"), chunk("a")], unit((1, 0), (0, 1)))
    with pytest.raises(DataError, match=r"got \(1, 3\)"):
        index.search("v1", unit((1, 0, 0)), top_k=1)
    for top_k in (0, 16_385):
        with pytest.raises(ConfigError, match=f"got {top_k}"):
            index.search("v1", unit((1, 0)), top_k=top_k)
    assert index.count("v1") == 0


def test_another_process_finds_what_this_one_closed(index: VectorIndex, opener: Opener) -> None:
    index.create("v1", dim=2)
    index.add("v1", [chunk("a"), chunk("b"), chunk("c")], unit((1, 0), (3, 4), (0, 1)))
    index.delete("v1", ["c"])
    index.set_alias(LIVE, "v1")
    # Written after the alias, so nothing has flushed it.
    index.add("v1", [chunk("late")], unit((0, 1)))
    index.close()
    where = getattr(index, "_uri", None) or str(index._folder)  # type: ignore[attr-defined]
    script = f"""
import numpy as np
from resources.{type(index).__module__.split(".")[-1]} import {type(index).__name__} as Index
index = Index({where!r})
print(index.resolve("live"), index.count("live"), [hit.chunk_id for hit in index.search("live", np.array([[0.8, 0.6]]), top_k=5)[0]])
index.delete("v1", ["a"])
index.close()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "v1 3 ['b', 'a', 'late']"
    assert index.count("v1") == 2
    assert ids(index.search(LIVE, unit((1, 0)), top_k=5)[0]) == ["b", "late"]


def test_a_milvus_lite_path_held_elsewhere_is_named_and_free_after_close(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from resources.index_milvus import MilvusIndex; index = MilvusIndex(sys.argv[1]);"
            "index.versions(); print('open', flush=True); input(); index.close(); print('closed', flush=True); input()",
            str(path),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "open\n"
        index = MilvusIndex(str(path))
        with pytest.raises(IndexUnavailable, match=r"index\.db is held by another process.*http address"):
            index.versions()
        holder.stdin.write("\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == "closed\n"
        # The holder is still alive: it is its close that gave the path back.
        assert index.versions() == []
        index.close()
    finally:
        holder.kill()
        holder.wait()
        holder.stdin.close()
        holder.stdout.close()


def test_two_indexes_of_one_process_share_a_path_until_the_last_closes(tmp_path: Path) -> None:
    path = str(tmp_path / "index.db")
    one, other = MilvusIndex(path), MilvusIndex(path)
    one.create("v1", dim=2)
    assert other.versions() == ["v1"]
    one.close()
    assert other.count("v1") == 0
    other.close()
    other.close()
    assert one.versions() == ["v1"]
    one.close()


def test_a_version_that_was_unloaded_is_loaded_again(milvus_address: str) -> None:
    """As after a restart of the server, of which an index that stays open hears nothing."""
    empty(milvus_address)
    index = MilvusIndex(milvus_address)
    index.create("v1", dim=2)
    index.add("v1", [chunk("a")], unit((1, 0)))
    for ask in (
        lambda: index.search("v1", unit((1, 0)), top_k=1),
        lambda: index.count("v1"),
        lambda: index.fetch("v1", ["a"]),
    ):
        MilvusClient(milvus_address).release_collection("nyx_version_v1")
        assert ask()
    index.close()


def test_threads_that_open_one_version_at_the_same_time_all_find_it(tmp_path: Path) -> None:
    path = str(tmp_path / "index.db")
    index = MilvusIndex(path)
    index.create("v1", dim=256)
    rng = np.random.default_rng(5)
    rows = unit(*rng.normal(size=(4000, 256)))
    index.add("v1", [chunk(f"k{row:04d}") for row in range(4000)], rows)
    index.set_alias(LIVE, "v1")
    index.close()
    num_threads = 6
    start = threading.Barrier(num_threads)

    def found(row: int) -> list[str]:
        own = MilvusIndex(path)
        start.wait()
        try:
            return ids(own.search(LIVE, rows[row : row + 1], top_k=1)[0])
        finally:
            own.close()

    with ThreadPoolExecutor(num_threads) as pool:
        assert list(pool.map(found, range(num_threads))) == [[f"k{row:04d}"] for row in range(num_threads)]


def test_a_path_that_is_no_index_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("not an index")
    with pytest.raises(IndexUnavailable, match=r"cannot open .*notes\.db: .*[Ee]xists"):
        MilvusIndex(str(tmp_path / "notes.db")).versions()
    with pytest.raises(ConfigError, match=r"ends in \.db or an http"):
        MilvusIndex(str(tmp_path / "index"))


def test_a_server_that_is_not_there_is_named() -> None:
    address = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(IndexUnavailable, match=f"no Milvus answers at {address}"):
        MilvusIndex(address).versions()


def test_exact_indexes_of_two_writers_lose_no_row(tmp_path: Path) -> None:
    first, second = ExactIndex(str(tmp_path)), ExactIndex(str(tmp_path))
    first.create("v1", dim=2)
    for number in range(6):
        (first if number % 2 else second).add("v1", [chunk(f"k{number}")], unit((number, 1)))
        assert (second if number % 2 else first).count("v1") == number + 1
