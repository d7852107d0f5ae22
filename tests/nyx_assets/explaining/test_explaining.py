"""`nyx explain` over the small sample home: every kind of id, and every thing that it names is there."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from nyx_assets.__main__ import main
from nyx_assets.explaining.gathering import Explanation, explained
from nyx_assets.explaining.naming import subject_of
from nyx_assets.explaining.telling import explanation_text
from nyx_assets.index_versions import chunks_of_version, records
from nyx_assets.recipes import PipelineRecipe, pipeline_recipe
from resources.home import Home
from resources.stores import open_store
from training_kernels.errors import ConfigError

Row = dict[str, Any]


@pytest.fixture(scope="module")
def home(small_home: Path) -> Home:
    return Home.at(small_home)


@pytest.fixture(scope="module")
def recipe() -> PipelineRecipe:
    return pipeline_recipe("smoke")


def explanation(home: Home, recipe: PipelineRecipe, asked: str) -> Explanation:
    one = explained(home, recipe, asked, subject_of(home, asked))
    json.dumps(one.to_json())
    assert explanation_text(one).startswith(f"{one.kind} {asked}\n")
    references_exist(home, one)
    return one


def references_exist(home: Home, one: Explanation) -> None:
    """Every id, file and folder that an explanation names leads to something."""
    tables = home.tables
    doc_ids = set(tables.read("crawl_documents")["doc_id"].to_pylist())
    chunk_ids = set(tables.read("chunked_corpus")["chunk_id"].to_pylist())
    ledger = {row["request_digest"] for row in ledger_rows(home)}
    assert {row["doc_id"] for row in (*one.pages, *one.chunks)} <= doc_ids
    assert {row["chunk_id"] for row in (*one.chunks, *one.questions)} <= chunk_ids
    assert all(row["is_there"] and Path(row["file"]).is_file() for row in one.pictures)
    assert all(row["url"].startswith("http") and row["crawl"] for row in one.pages)
    asked = [row["request_digest"] for row in (*one.questions, *one.preferences, *one.answers)]
    assert all(asked)
    assert set(asked) <= ledger
    assert {row["request_digest"] for row in one.calls} >= set(asked)
    assert all((home.root / row["folder"] / "manifest.json").is_file() for row in one.checkpoints)
    for row in one.index_versions:
        held = chunks_of_version(home, row["version"], row.get("chunk_ids", []))
        assert sorted(held) == sorted(row.get("chunk_ids", []))
        assert (home.root / row["checkpoint_folder"] / "manifest.json").is_file()


def ledger_rows(home: Home) -> Iterator[Row]:
    for file in (home.root / "vlm" / "ledger").glob("*.jsonl"):
        yield from (json.loads(line) for line in file.read_text().splitlines())


def a_row(home: Home, table: str, **wanted: Any) -> Row:
    rows = home.tables.read(table).to_pylist()
    return next(row for row in rows if all(row[name] == value for name, value in wanted.items()))


def a_pair_with_pictures(home: Home) -> Row:
    """A kept question of the training split that shows a picture, and was tried by feedback."""
    tried = set(home.tables.read("feedback_preferences")["qa_id"].to_pylist())
    rows = home.tables.read("filtered_qa").to_pylist()
    return next(row for row in rows if row["qa_id"] in tried and any(one["image"] for one in row["question"]))


def test_a_question_leads_to_page_picture_prompt_cost_preferences_checkpoints_and_index(
    home: Home, recipe: PipelineRecipe
) -> None:
    pair = a_pair_with_pictures(home)
    one = explanation(home, recipe, pair["qa_id"])
    assert one.kind == "question"
    places = [row for row in home.tables.read("crawl_documents").to_pylist() if row["doc_id"] == pair["doc_id"]]
    assert [(page["url"], page["crawl"], page["source_row"]) for page in one.pages] == [
        (row["url"], row["crawl"], row["source_row"]) for row in places
    ]  # a page may have been crawled twice
    assert {chunk["chunk_id"] for chunk in one.chunks} == {pair["chunk_id"]}
    question = one.questions[0]
    assert question["prompt_version"].startswith("write_")
    assert question["teacher"] == pair["teacher"]
    assert question["outcome"] == f"kept, split {pair['split']}"
    assert set(question["images"]) <= {row["image"] for row in one.pictures}
    preferences = home.tables.read("feedback_preferences").to_pylist()
    assert {row["id"] for row in one.preferences} == {
        f"{row['qa_id']}/{row['window_rank']}" for row in preferences if row["qa_id"] == pair["qa_id"]
    }
    assert {row["asset"] for row in one.calls} >= {"raw_qa", "feedback_preferences"}
    assert one.cost_usd == 0.0  # the stand-in is free
    assert {row["how"] for row in one.checkpoints} <= {"trained on it", "started from one that was"}
    assert {row["folder"].split("/")[1] for row in one.checkpoints} == {"pretrained_checkpoint", "finetuned_checkpoint"}
    assert [row["is_live"] for row in one.index_versions] == [True]


def test_a_page_leads_to_all_that_was_made_of_it_and_a_chunk_to_its_share(home: Home, recipe: PipelineRecipe) -> None:
    doc_id = a_pair_with_pictures(home)["doc_id"]
    page = explanation(home, recipe, doc_id)
    assert page.kind == "page"
    chunks = [row["chunk_id"] for row in home.tables.read("chunked_corpus").to_pylist() if row["doc_id"] == doc_id]
    assert sorted(row["chunk_id"] for row in page.chunks) == sorted(chunks)
    raw = [row["qa_id"] for row in home.tables.read("raw_qa").to_pylist() if row["chunk_id"] in chunks]
    assert sorted(row["qa_id"] for row in page.questions) == sorted(raw)
    assert page.index_versions[0]["chunk_ids"] == sorted(set(chunks))
    segments = a_row(home, "crawl_documents", doc_id=doc_id)["segments"]
    assert {row["image"] for row in page.pictures} >= {one["image"] for one in segments if one["image"]}
    chunk = explanation(home, recipe, chunks[0])
    assert chunk.kind == "chunk"
    assert {row["doc_id"] for row in chunk.pages} == {doc_id}
    assert {row["qa_id"] for row in chunk.questions} <= set(raw)
    assert len(chunk.questions) < len(raw) or len(set(chunks)) == 1
    windows = [row for row in home.tables.read("feedback_preferences").to_pylist() if chunks[0] in row["window"]]
    assert {f"{row['qa_id']}/{row['window_rank']}" for row in windows} <= {row["id"] for row in chunk.preferences}


def test_a_hard_negative_names_the_questions_that_it_was_near_to(home: Home, recipe: PipelineRecipe) -> None:
    negative = home.tables.read("negatives").to_pylist()[0]
    one = explanation(home, recipe, negative["chunk_id"])
    assert (negative["qa_id"], negative["rank"]) in {(row["qa_id"], row["rank"]) for row in one.negatives}


def test_a_picture_leads_to_the_pages_and_questions_that_show_it(home: Home, recipe: PipelineRecipe) -> None:
    image = next(one["image"] for one in a_pair_with_pictures(home)["question"] if one["image"])
    one = explanation(home, recipe, image)
    assert one.kind == "picture"
    assert [row["image"] for row in one.pictures] == [image]
    pages = home.tables.read("crawl_documents").to_pylist()
    assert {row["doc_id"] for row in one.pages} == {
        row["doc_id"] for row in pages if any(segment["image"] == image for segment in row["segments"])
    }
    assert any(image in row["images"] for row in one.questions)


def test_a_preference_leads_to_its_window_and_its_call_alone(home: Home, recipe: PipelineRecipe) -> None:
    row = next(row for row in home.tables.read("feedback_preferences").to_pylist() if row["window"])
    one = explanation(home, recipe, f"{row['qa_id']}/{row['window_rank']}")
    assert one.kind == "preference"
    [preference] = one.preferences
    assert preference["answer"] == row["answer"]
    assert {chunk["chunk_id"] for chunk in one.chunks} >= set(row["window"])
    own = [call for call in one.calls if call["request_digest"] == preference["request_digest"]]
    assert {call["asset"] for call in own} == {"feedback_preferences"}
    assert not one.answers


def test_a_wrong_answer_leads_to_what_the_generator_was_shown(home: Home, recipe: PipelineRecipe) -> None:
    row = next(row for row in home.tables.read("wrong_answers").to_pylist() if row["window"])
    one = explanation(home, recipe, f"{row['qa_id']}@{row['retriever']}")
    assert one.kind == "answer"
    [answer] = one.answers
    assert answer["blame"] == row["blame"]
    assert {chunk["chunk_id"] for chunk in one.chunks} >= set(row["window"])
    assert any(
        call["request_digest"] == answer["request_digest"] and call["asset"] == "rag_scores" for call in one.calls
    )


def test_a_request_leads_to_the_questions_that_it_wrote(home: Home, recipe: PipelineRecipe) -> None:
    digest = home.tables.read("raw_qa")["request_digest"].to_pylist()[0]
    one = explanation(home, recipe, digest)
    assert one.kind == "request"
    written = {row["qa_id"] for row in home.tables.read("raw_qa").to_pylist() if row["request_digest"] == digest}
    assert {row["qa_id"] for row in one.questions} == written
    assert {row["request_digest"] for row in one.calls} == {digest}
    check = next(row for row in home.tables.read("qa_funnel").to_pylist() if row["request_digests"])
    assert explanation(home, recipe, check["request_digests"][0]).calls[0]["asset"] == "filtered_qa"


def test_a_vector_leads_to_its_chunk_in_that_version(home: Home, recipe: PipelineRecipe) -> None:
    [record] = records(home)
    chunk_id = home.tables.read("chunked_corpus")["chunk_id"].to_pylist()[0]
    one = explanation(home, recipe, f"{record.version}/{chunk_id}")
    assert one.kind == "vector"
    assert {row["chunk_id"] for row in one.chunks} == {chunk_id}
    assert [(row["version"], row["chunk_ids"]) for row in one.index_versions] == [(record.version, [chunk_id])]


def test_a_checkpoint_by_any_of_its_names_and_an_index_version_say_what_they_saw(
    home: Home, recipe: PipelineRecipe
) -> None:
    artifact = home.artifacts.require("finetuned_checkpoint")
    folder = artifact.folder.relative_to(home.root).as_posix()
    for name in ("finetuned_checkpoint", folder, artifact.folder.name, artifact.commit.data_version):
        one = explanation(home, recipe, name)
        assert one.kind == "checkpoint"
        assert one.checkpoints[0]["folder"] == folder
        assert "finetuned_checkpoint" in one.checkpoints[0]["is_current_of"]
        assert one.checkpoints[1]["folder"].startswith("checkpoints/pretrained_checkpoint/")
        assert one.checkpoints[1]["questions_seen"] > 0
        assert one.checkpoints[1]["crawls_seen"] == ["2026-01-atlas", "2026-02-almanac"]
    [record] = records(home)
    one = explanation(home, recipe, record.version)
    assert one.kind == "index version"
    assert one.checkpoints[0]["folder"] == record.checkpoint_folder
    assert [(row["version"], row["chunks"]) for row in one.index_versions] == [(record.version, record.num_chunks)]


@pytest.mark.parametrize(
    "asked", ["typo", "0" * 20, "0" * 64, "0" * 32, f"{'0' * 20}/1", f"{'0' * 20}@bm25", "v" + "0" * 16, "x' OR 1=1 --"]
)
def test_an_unknown_id_is_refused_with_what_ids_look_like(home: Home, asked: str) -> None:
    with pytest.raises(ConfigError, match=r"is called .*Ids look like this: page, chunk, question.*20 hex digits"):
        subject_of(home, asked)


def test_a_right_answer_which_no_table_keeps_is_refused_with_what_can_be_asked_instead(
    home: Home, recipe: PipelineRecipe
) -> None:
    wrong = {(row["qa_id"], row["retriever"]) for row in home.tables.read("wrong_answers").to_pylist()}
    pairs = home.tables.read("filtered_qa").to_pylist()
    right = next(row["qa_id"] for row in pairs if row["split"] == "test" and (row["qa_id"], "bm25") not in wrong)
    with pytest.raises(
        ConfigError, match=rf"no wrong answer .*{right}@bm25.*ledger with the asset rag_scores"
    ) as refused:
        subject_of(home, f"{right}@bm25")
    assert f"the question {right}" in str(refused.value)
    request = next(row["request_digest"] for row in ledger_rows(home) if row["asset"] == "rag_scores")
    assert {row["asset"] for row in explanation(home, recipe, request).calls} == {"rag_scores"}


@pytest.fixture
def told(small_home: Path, bucket: str, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """What the command says of an id, by a host that has nothing yet of a home in a store, or that has it all itself."""
    fs, base = open_store(bucket)
    for part in ("tables", "images", "vlm", "lineage", "artifacts", "checkpoints", "index"):
        fs.put(str(small_home / part), f"{base}/", recursive=True)
    shared = {"NYX_LOCAL": str(tmp_path / "local"), "NYX_INDEX_URI": "http://127.0.0.1:9"}

    def tell(asked: str, place: str = bucket) -> dict[str, Any]:
        env = {"NYX_HOME": place, "NYX_RECIPE": "smoke"} | (shared if place == bucket else {})
        result = CliRunner().invoke(main, ["explain", asked, "--json"], env=env)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return tell


@pytest.mark.long
def test_a_host_that_has_nothing_yet_of_a_shared_home_explains_what_others_made(
    home: Home, told: Callable[..., dict[str, Any]], bucket: str, tmp_path: Path
) -> None:
    pair = a_pair_with_pictures(home)
    [record] = records(home)
    answer = home.tables.read("wrong_answers").to_pylist()[0]
    for asked in (
        pair["qa_id"],
        pair["doc_id"],
        f"{answer['qa_id']}@{answer['retriever']}",
        f"{record.version}/{pair['chunk_id']}",
        "finetuned_checkpoint",
    ):
        here, there = told(asked, str(home.root)), told(asked)
        for picture in there["pictures"]:
            assert picture["file"].startswith(f"{bucket}/images/")
            assert picture["is_there"]
        assert here | {"pictures": []} == there | {"pictures": []}
        assert [row["image"] for row in here["pictures"]] == [row["image"] for row in there["pictures"]]
    assert there["checkpoints"][0]["metrics"]
    assert not (tmp_path / "local" / "checkpoints").exists(), "no weights are brought to tell of them"


def test_a_home_that_holds_nothing_says_so(bucket: str, tmp_path: Path) -> None:
    env = {"NYX_HOME": bucket, "NYX_LOCAL": str(tmp_path / "local")}
    result = CliRunner().invoke(main, ["explain", "x"], env=env)
    assert (result.exit_code, f"{bucket} (this host's part in {tmp_path}" in result.stderr) == (1, True)
    assert "holds nothing yet" in result.stderr
