"""Chunks with captions for their pictures are embedded once for each text; what an endpoint embeds is planned and paid once."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import numpy as np
import pytest

from nyx_assets.captioned import WITHOUT_TEXT, caption_by_image, embedder_version, in_text
from nyx_assets.captions.assets import caption_embeddings_asset
from nyx_assets.captions.checks import every_captioned_chunk_has_one_embedding
from nyx_assets.captions.embedding import captioned_rows, known_captioned
from nyx_assets.definitions import resources_of
from nyx_assets.evaluation.caption_baselines import caption_baselines
from nyx_assets.partitions import CRAWL
from nyx_assets.planned_calls import spread
from nyx_assets.planned_embeddings import EmbeddingPlanner
from nyx_assets.planning import Range
from nyx_assets.recipes import recipe_of, tiny
from nyx_assets.records import (
    CHUNK_CAPTIONS,
    CHUNKED_CORPUS,
    caption_embeddings_schema,
    chunk_embeddings_schema,
    embedding_matrix,
)
from resources.embedder import Side
from resources.embedder_endpoint import TEXTS_PER_CALL, texts_embedded
from resources.home import Home
from resources.settings import Settings
from resources.tables import Commit, Provenance
from resources.vlm_folders import ledger_in
from tests.embeddings_server import EmbeddingsServer, serving_embeddings
from training_kernels.documents import Document, Segment

ORIGIN = Provenance(code_version="1")
RED, BLUE = "1" * 64, "2" * 64


class Letters:
    """Embeds a text as its counts of a and b, and remembers what it was asked."""

    reads_pictures = True
    dim = 2
    dims = (2,)

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed(self, documents: Sequence[Document], *, side: Side) -> np.ndarray:
        self.asked += [document.text for document in documents]
        rows = np.array([[one.text.count("a"), one.text.count("b")] for one in documents], np.float32)
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def write_chunks(home: Home, partition: str, *chunks: Document) -> dict[str, Document]:
    empty: dict[str, Any] = dict.fromkeys(CHUNKED_CORPUS.names)
    by_id = {f"{partition}{place}": chunk for place, chunk in enumerate(chunks)}
    with home.tables.write("chunked_corpus", CHUNKED_CORPUS, partition=partition, provenance=ORIGIN) as table:
        table.append(empty | {"chunk_id": one, "segments": chunk.to_rows()} for one, chunk in by_id.items())
    return by_id


def write_captions(home: Home, partition: str, **captions: str) -> None:
    empty: dict[str, Any] = dict.fromkeys(CHUNK_CAPTIONS.names)
    images = {"red": RED, "blue": BLUE}
    with home.tables.write("chunk_captions", CHUNK_CAPTIONS, partition=partition, provenance=ORIGIN) as table:
        table.append(empty | {"image": images[one], "caption": caption} for one, caption in captions.items())


def embed(home: Home, chunks: dict[str, Document], embedder: Letters, name: str) -> tuple[Any, int]:
    """Write the partition p as the asset does; the table and what was reused."""
    captions = caption_by_image(home, "p")
    known = known_captioned(home, "p", chunks, captions, embedder, name)
    rows, reused = captioned_rows(chunks, captions, embedder, known, embedder_version(home, name))
    with home.tables.write(
        "caption_embeddings", caption_embeddings_schema(2), partition="p", provenance=ORIGIN
    ) as table:
        table.append_table(rows)
    return rows, reused


@pytest.fixture
def publish(home: Home) -> Callable[[str], None]:
    def publish_version(version: str) -> None:
        folder = home.root / "checkpoints" / "pretrained_checkpoint" / version
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
        commit = Commit(data_version=version, num_rows=1, provenance=ORIGIN, written_at="now")
        home.artifacts.publish("pretrained_checkpoint", folder, commit)

    return publish_version


def test_a_text_is_embedded_once_and_after_a_change_only_what_changed(home: Home, publish: Any) -> None:
    publish("v1")
    picture = Document.of("aa", Segment(image=RED))
    chunks = write_chunks(home, "p", picture, Document.of("ab"), Document.of("ab"), Document.of(Segment(image=BLUE)))
    write_captions(home, "p", red="b")
    embedder = Letters()
    rows, reused = embed(home, chunks, embedder, "pretrained")
    assert (embedder.asked, reused) == (["aa\nb", "ab", ""], 0)
    assert rows["chunk_id"].to_pylist() == list(chunks)
    assert set(rows["embedder"].to_pylist()) == {"pretrained/v1"}
    assert rows["text_digest"].to_pylist()[3] == WITHOUT_TEXT
    assert every_captioned_chunk_has_one_embedding(home, "p") == []
    embedder.asked.clear()
    again, reused = embed(home, chunks, embedder, "pretrained")
    assert (embedder.asked, reused) == ([], 3)
    assert again.equals(rows)
    write_captions(home, "p", red="bbb", blue="a b")
    _, reused = embed(home, chunks, embedder, "pretrained")
    assert (embedder.asked, reused) == (["aa\nbbb", "a b"], 1)
    embedder.asked.clear()
    publish("v2")
    assert embed(home, chunks, embedder, "pretrained")[1] == 0
    assert len(embedder.asked) == 3


def test_what_the_retriever_itself_embedded_is_taken_where_no_picture_is_shown(home: Home, publish: Any) -> None:
    publish("v1")
    chunks = write_chunks(home, "p", Document.of("aab"), Document.of("abb", Segment(image=RED)))
    write_captions(home, "p", blue="b")
    made_with = Provenance(code_version="1", inputs={"pretrained_checkpoint": "v1"})
    theirs = [0.6, 0.8]
    with home.tables.write(
        "pretrained/chunk_embeddings", chunk_embeddings_schema(2), partition="p", provenance=made_with
    ) as table:
        table.append({"chunk_id": one, "embedding": theirs} for one in chunks)
    embedder = Letters()
    rows, _ = embed(home, {"p0": chunks["p0"]}, embedder, "pretrained")
    assert embedder.asked == []
    assert embedding_matrix(rows)[0].tolist() == pytest.approx(theirs)
    # a picture without a caption leaves no trace in the text, but the retriever has seen it
    rows, _ = embed(home, {"p1": chunks["p1"]}, embedder, "pretrained")
    assert embedder.asked == ["abb"]


def test_what_could_have_changed_under_its_name_is_believed_after_a_sample(home: Home) -> None:
    chunks = write_chunks(home, "p", *(Document.of("a" * number + "b") for number in range(1, 9)))
    write_captions(home, "p", red="b")
    name, embedder = "sentence-transformers:some/model", Letters()
    embed(home, chunks, embedder, name)
    embedder.asked.clear()
    assert embed(home, chunks, embedder, name)[1] == 8
    assert len(embedder.asked) == 4
    changed = Letters()
    changed.embed = lambda documents, *, side: Letters.embed(changed, documents, side=side)[:, ::-1]  # type: ignore[method-assign]
    assert embed(home, chunks, changed, name)[1] == 0
    embedder.asked.clear()
    assert embed(home, chunks, embedder, "endpoint:model")[1] == 0, "by another embedder"
    embedder.asked.clear()
    assert embed(home, chunks, embedder, "endpoint:model")[1] == 8
    assert embedder.asked == [], "what was paid for is not asked again to be sure"


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([("p0", "x", [1.0, 0.0]), ("p1", "y", [0.0, 1.0])], None),
        ([("p0", "x", [1.0, 0.0]), ("p1", WITHOUT_TEXT, [0.0, 0.0])], None),
        ([("p0", "x", [1.0, 0.0])], "1 embeddings for 2 chunks"),
        ([("p1", "x", [1.0, 0.0]), ("p0", "y", [0.0, 1.0])], "another order"),
        ([("p0", "x", [0.0, 0.0]), ("p1", "y", [0.0, 1.0])], "chunk p0: embedding of length 0"),
        ([("p0", "x", [1.0, 0.0]), ("p1", WITHOUT_TEXT, [0.0, 1.0])], "chunk p1: embedding of length 1"),
        ([("p0", "x", [float("nan"), 0.0]), ("p1", "y", [0.0, 1.0])], "chunk p0: embedding of length nan"),
    ],
)
def test_the_check_sees_missing_misplaced_and_wrong_embeddings(home: Home, rows: Any, fault: str | None) -> None:
    write_chunks(home, "p", Document.of("a"), Document.of("b"))
    with home.tables.write(
        "caption_embeddings", caption_embeddings_schema(2), partition="p", provenance=ORIGIN
    ) as table:
        names = ("chunk_id", "text_digest", "embedding")
        table.append({"embedder": "e", **dict(zip(names, row, strict=True))} for row in rows)
    faults = every_captioned_chunk_has_one_embedding(home, "p")
    assert (not faults) if fault is None else fault in faults[0]


class Served:
    """A home of two partitions whose captions are read by the model of the server."""

    def __init__(self, root: Path, url: str) -> None:
        self.root = root
        self.env = {
            "NYX_HOME": str(root),
            "NYX_CAPTION_EMBEDDER": "endpoint:counts",
            "NYX_EMBEDDER_BASE_URL": url,
            "NYX_EMBEDDER_MODEL": "counts",
            "NYX_EMBEDDER_USD_PER_MILLION_INPUT": "1000",
            "NYX_EMBEDDER_MAX_IN_FLIGHT": "1",
        }
        self.home = Home.at(root)
        for partition, size in (("p", 150), ("q", 30)):
            texts = [f"{'a' * (number % 40 + 1)} {partition}{number}" for number in range(size)]
            write_chunks(self.home, partition, *map(Document.of, texts), Document.of("b", Segment(image=RED)))
            write_captions(self.home, partition, red=f"c {partition}")

    def settings(self) -> Settings:
        return Settings.from_env(self.env)

    @cached_property
    def resources(self) -> dict[str, Any]:
        return resources_of(self.settings(), self.home)

    def make(self, partition: str) -> dg.ExecuteInProcessResult:
        settings = self.settings()
        with dg.DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions(str(CRAWL.name), ["p", "q"])
            return dg.materialize(
                [caption_embeddings_asset(recipe_of(settings).captions)],
                resources=self.resources, instance=instance, partition_key=partition,
            )  # fmt: skip

    def planned(self, *needed: str) -> list[Any]:
        settings = self.settings()
        planner = EmbeddingPlanner(
            home=self.home, recipe=recipe_of(settings), model="counts", kept=texts_embedded(settings, self.home),
            needs=lambda name, partition: f"{name} {partition}" in needed, chunks_by_page=lambda delivery: iter(()),
            spread=spread,
        )  # fmt: skip
        deliveries = [SimpleNamespace(key=key, num_rows=9) for key in ("p", "q")]
        return [
            *planner.negatives(deliveries, Range.exactly(0)),
            *(line for one in deliveries for line in planner.caption_embeddings(one)),
            *planner.scores(Range.exactly(70)),
        ]

    def ledger(self) -> list[dict[str, Any]]:
        files = Path(ledger_in(self.root / "vlm")).glob("*.jsonl")
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.fixture
def server() -> Iterator[EmbeddingsServer]:
    with serving_embeddings() as server:
        yield server


@pytest.fixture
def served(server: EmbeddingsServer, tmp_path: Path) -> Served:
    return Served(tmp_path / "home", server.url)


def num_texts(server: EmbeddingsServer) -> int:
    return sum(len(call["input"]) for call in server.calls)


def test_an_endpoint_is_asked_what_the_plan_says_under_its_asset_and_never_twice(
    served: Served, server: EmbeddingsServer
) -> None:
    both = ("caption_embeddings p", "caption_embeddings q")
    planned = served.planned(*both)
    assert [(one.asset, one.partition, one.role) for one in planned] == [
        ("caption_embeddings", "p", "embedder"), ("caption_embeddings", "q", "embedder"),
    ]  # fmt: skip
    # the first call of all is for the width of an embedding
    assert [one.calls for one in planned] == [Range.exactly(1 + 3), Range.exactly(1)]
    for partition in ("p", "q"):
        assert served.make(partition).success
    assert len(server.calls) == sum(one.calls.likely for one in planned) == 5
    assert num_texts(server) == 1 + 151 + 31
    likely = sum(one.input_tokens.likely for one in planned)
    assert likely == pytest.approx(sum(row["input_tokens"] for row in served.ledger()) / 4, rel=0.1), "a token a letter"
    asked = {(row["asset"], row["partition"]) for row in served.ledger() if not row["is_cached"]}
    assert asked == {("caption_embeddings", "p"), ("caption_embeddings", "q")}
    # made again, with the replies gone too: the tables know
    for file in (served.root / "vlm" / "replies").rglob("*.json"):
        file.unlink()
    width_call = len(server.calls)
    assert [one.calls for one in served.planned("caption_embeddings p")] == [Range.exactly(1)]
    assert served.make("p").success
    assert server.calls[width_call:] == [server.calls[0]], "only the width is asked for"
    # the evaluation asks for queries alone
    resources = served.resources
    _, by_embedding = caption_baselines(
        served.home, resources["embedders"], resources["foreign_embedders"], resources["recipe"].captions,
        asset="retrieval_scores",
    )  # fmt: skip
    num_calls = len(server.calls)
    chunks = {
        row["chunk_id"]: Document.from_rows(row["segments"])
        for row in served.home.tables.read("chunked_corpus").to_pylist()
    }
    by_embedding.rank([Document.of("aab")], chunks, top_k=3)
    new = server.calls[num_calls:]
    # the picture is captioned otherwise in the other crawl; what the chunk says with that caption is known from there
    assert sorted(text for call in new for text in call["input"]) == ["aab"]
    assert {row["asset"] for row in served.ledger()} == {"caption_embeddings", "retrieval_scores"}


def test_a_run_that_is_killed_is_gone_on_with_and_no_text_is_paid_for_twice(
    served: Served, server: EmbeddingsServer
) -> None:
    server.delay_seconds = 0.3
    code = (
        "import sys; from pathlib import Path; import tests.nyx_assets.captions.test_embedding as t; "
        f"t.Served(Path({str(served.root)!r}), {server.url!r}).make('p')"
    )
    run = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[3], start_new_session=True)
    until = time.monotonic() + 60
    while len(server.calls) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert served.make("p").success
    texts = [text for call in server.calls for text in call["input"]]
    assert len(texts) == len(set(texts)) == 1 + 151
    rows = [row for row in served.ledger() if not row["is_cached"]]
    assert {(row["asset"], row["partition"]) for row in rows} == {("caption_embeddings", "p")}
    assert len(rows) == len({row["request_digest"] for row in rows}) == len(server.calls)


def test_texts_that_mining_embeds_are_not_planned_again_for_captions(served: Served) -> None:
    served.env["NYX_MINER"] = "endpoint"
    negatives, p, q, scores = served.planned(
        "negatives None", "caption_embeddings p", "caption_embeddings q", "retrieval_scores None"
    )
    assert negatives.asset == "negatives"
    assert negatives.calls == Range.exactly(1 + 3)  # 150 + 30 texts and one of both crawls
    assert [one.calls for one in (p, q)] == [Range.exactly(1), Range.exactly(1)]
    assert scores.calls == Range(2, 3, 5)
    assert scores.basis == "assumed"
    unmade = served.planned("chunk_captions p", "caption_embeddings p")
    assert unmade[0].basis == "sampled"
    assert served.planned() == []


def test_without_captions_nothing_is_embedded(served: Served, server: EmbeddingsServer) -> None:
    recipe = replace(tiny().captions, max_pictures_per_crawl=0)
    assert in_text(Document.of(Segment(image=RED)), {}).text == ""
    resources = served.resources
    resources["recipe"] = replace(resources["recipe"], captions=replace(recipe, embedder="endpoint:counts"))
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(str(CRAWL.name), ["p"])
        made = dg.materialize(
            [caption_embeddings_asset(resources["recipe"].captions)], resources=resources, instance=instance,
            partition_key="p",
        )  # fmt: skip
    assert made.success
    assert served.home.tables.num_rows("caption_embeddings", "p") == 0
    assert len(server.calls) < TEXTS_PER_CALL
