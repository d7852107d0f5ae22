"""The command `nyx` as a user meets it: what it prints, what it refuses, and its exit status."""

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from nyx_assets.__main__ import main
from nyx_assets.evaluation.suites import write_suite
from resources.home import Home

COMMANDS = ("run", "backfill", "search", "evaluate", "status", "dagster-home")

Nyx = Callable[..., Result]


@pytest.fixture
def nyx(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nyx]:
    """Runs the command in this process; the logging that it sets up is undone."""
    for name in [name for name in os.environ if name.startswith("NYX_")]:
        monkeypatch.delenv(name)
    console = logging.getLogger("nyx")
    before = console.handlers, console.propagate, console.level

    def run(*arguments: object, home: Path | None = None, **env: str) -> Result:
        where = {"NYX_HOME": str(home)} if home else {}
        env = {"NYX_RECIPE": "smoke", **where, **env}
        result = CliRunner().invoke(main, [str(argument) for argument in arguments], env=env)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    yield run
    console.handlers, console.propagate = before[:2]
    console.setLevel(before[2])


def refusal(result: Result) -> str:
    """What a refused command says: one line, exit status 1."""
    assert result.exit_code == 1, result.output
    [line] = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    return line


@pytest.fixture
def changed_home(small_home: Path, tmp_path: Path) -> Path:
    """A copy of the small home, to be changed."""
    return Path(shutil.copytree(small_home, tmp_path / "changed"))


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)], ids=str)
def test_every_command_has_help(nyx: Nyx, command: tuple[str, ...]) -> None:
    result = nyx(*command, "--help")
    assert result.exit_code == 0
    assert "Usage: " in result.output
    assert len(result.output.splitlines()) >= 5


def test_a_plan_counts_what_an_embeddings_server_would_be_asked(small_home: Path, nyx: Nyx) -> None:
    env = {
        "NYX_EMBEDDER_BASE_URL": "http://127.0.0.1:9/v1",
        "NYX_EMBEDDER_MODEL": "m",
        "NYX_EMBEDDER_USD_PER_MILLION_INPUT": "1000",
    }
    crawl = ("--crawl", small_home.parent / "crawl", "--json")
    names = {"NYX_MINER": "endpoint", "NYX_CAPTION_EMBEDDER": "endpoint:m"}
    plan = json.loads(nyx("plan", *crawl, home=small_home, **env, **names).output)
    asked = {line["asset"]: line for line in plan["lines"] if line["role"] == "embedder"}
    assert set(asked) == {"negatives", "caption_embeddings", "retrieval_scores", "rag_scores"}
    num_chunks = Home.at(small_home).tables.read("chunked_corpus", columns=["chunk_id"]).num_rows
    assert 1 <= asked["negatives"]["calls"]["likely"] <= 4 + num_chunks // 64
    assert asked["caption_embeddings"]["partitions"] == 2
    assert all(line["model"] == "m" and not line["is_free"] for line in asked.values())
    for line in asked.values():
        assert line["usd"]["likely"] == pytest.approx(line["input_tokens"]["likely"] / 1000, abs=1e-5)
    assert plan["total"]["usd"]["likely"] > 0
    plain = json.loads(nyx("plan", *crawl, home=small_home, **env).output)
    assert not any(line["role"] == "embedder" for line in plain["lines"]), "a server that nobody reads is not asked"


def test_help_names_every_command(nyx: Nyx) -> None:
    assert all(f"\n  {name} " in nyx("-h").output for name in COMMANDS)


def test_a_run_reports_what_it_made_and_how_well_it_retrieves(small_home: Path) -> None:
    report = json.loads((small_home.parent / "report.json").read_text())
    assert report["failures"] == []
    assert report["made"] == sum(asset["made"] for asset in report["assets"].values()) >= 30
    assert report["assets"]["crawl_documents"]["made"] == 2
    assert {"bm25", "untrained", "pretrained", "finetuned"} <= {row["retriever"] for row in report["scores"]}


def test_a_missing_crawl_folder_is_refused_and_not_remembered(nyx: Nyx, tmp_path: Path) -> None:
    home = tmp_path / "home"
    said = refusal(nyx("run", "--crawl", tmp_path / "typo", home=home))
    assert f"crawl folder {tmp_path / 'typo'} is not there" in said
    assert "OBELICS" in said
    assert Home.at(home).crawl is None


def test_an_empty_crawl_folder_is_refused_and_not_remembered(nyx: Nyx, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    said = refusal(nyx("run", "--crawl", tmp_path / "empty", home=tmp_path / "home"))
    assert "holds no delivery" in said
    assert Home.at(tmp_path / "home").crawl is None


def test_a_home_is_made_from_one_crawl(nyx: Nyx, small_home: Path, tmp_path: Path) -> None:
    said = refusal(nyx("run", "--crawl", tmp_path, home=small_home))
    assert str(small_home.parent / "crawl") in said
    assert str(tmp_path) in said
    assert "set NYX_HOME to another folder" in said


def test_another_crawl_gets_a_home_of_its_own_unless_one_is_named(
    nyx: Nyx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for crawl in ("first", "second"):
        (tmp_path / crawl).mkdir()
    assert nyx("dagster-home", "--crawl", "first").output.strip() == str(tmp_path / "nyx_home" / "dagster")
    assert nyx("dagster-home", "--crawl", "second").output.strip() == str(tmp_path / "nyx_home-second" / "dagster")
    assert nyx("dagster-home", "--crawl", "first").output.strip() == str(tmp_path / "nyx_home" / "dagster")
    assert "another folder for another crawl" in refusal(nyx("dagster-home", "--crawl", "second", NYX_HOME="nyx_home"))
    assert Home.at(tmp_path / "nyx_home-second").crawl == tmp_path / "second"


def test_dagster_home_refuses_a_crawl_folder_that_is_not_there(nyx: Nyx, tmp_path: Path) -> None:
    result = nyx("dagster-home", "--crawl", tmp_path / "typo", home=tmp_path / "home")
    assert result.exit_code == 2
    assert "does not exist" in result.stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"NYX_RECIPE": "papr"}, "recipe 'papr' is unknown; known: "),
        ({"NYX_TEACHER_BASE_URL": "http://127.0.0.1:1/v1"}, "NYX_TEACHER_MODEL is not"),
        (
            {
                "NYX_JUDGE_BASE_URL": "http://127.0.0.1:1/v1",
                "NYX_JUDGE_MODEL": "m",
                "NYX_JUDGE_TIMEOUT_SECONDS": "soon",
            },
            "NYX_JUDGE_TIMEOUT_SECONDS must be a number of at least 1, got 'soon'",
        ),
    ],
)
@pytest.mark.parametrize("command", ["run", "status", "search"])
def test_an_environment_that_makes_no_sense_is_refused_by_name(
    nyx: Nyx, small_home: Path, command: str, env: dict[str, str], said: str
) -> None:
    assert said in refusal(nyx(command, *(["words"] if command == "search" else []), home=small_home, **env))


@pytest.mark.parametrize("command", [("run",), ("status",), ("search", "words"), ("dagster-home",)])
def test_a_home_that_is_a_file_is_refused(nyx: Nyx, tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "file").touch()
    said = refusal(nyx(*command, home=tmp_path / "file"))
    assert f"NYX_HOME must be a folder, or a place for one, got the file {tmp_path / 'file'}" in said


def test_status_lists_every_asset_as_current_after_a_run(nyx: Nyx, small_home: Path) -> None:
    rows = {row["asset"]: row for row in json.loads(nyx("status", "--json", home=small_home).output)}
    assert len(rows) == 44
    assert [name for name, row in rows.items() if row["stale"] or row["missing"] or row["quarantined"]] == []
    assert rows["chunked_corpus"]["current"] == 2
    assert rows["chunked_corpus"]["rows"] == Home.at(small_home).tables.read("chunked_corpus").num_rows
    said = nyx("status", home=small_home).output
    assert "Spent so far: 0 calls" in said, "the stand-in costs nothing"
    assert str(small_home.parent / "crawl") in said
    assert "live index: version v" in said


def test_status_of_no_home_is_refused_and_makes_none(nyx: Nyx, tmp_path: Path) -> None:
    assert "start with `nyx run`" in refusal(nyx("status", home=tmp_path / "none"))
    assert not (tmp_path / "none").exists()


def search(nyx: Nyx, home: Path, *arguments: object) -> list[dict]:
    result = nyx("search", *arguments, "--json", home=home)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def a_chunk_with(home: Path, *, modality: str) -> dict:
    rows = Home.at(home).tables.read("chunked_corpus").to_pylist()
    return next(row for row in rows if row["modality"] == modality)


def test_search_for_a_text_gives_chunks_with_page_and_pictures(nyx: Nyx, small_home: Path) -> None:
    hits = search(nyx, small_home, "the town clock", "--top-k", 7)
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4, 5, 6, 7]
    similarity = [hit["similarity"] for hit in hits]
    assert similarity == sorted(similarity, reverse=True)
    assert len({hit["chunk_id"] for hit in hits}) == 7
    tables = Home.at(small_home).tables
    page = {row["doc_id"]: row for row in tables.read("crawl_documents").to_pylist()}
    chunk = {row["chunk_id"]: row for row in tables.read("chunked_corpus").to_pylist()}
    for hit in hits:
        assert hit["url"] == page[hit["doc_id"]]["url"]
        stored = chunk[hit["chunk_id"]]["segments"]
        assert len(hit["images"]) == sum(segment["kind"] == "image" for segment in stored)
        assert hit["text"].split() == " ".join(segment["text"] or "" for segment in stored).split()
    assert any(hit["images"] for hit in hits)
    assert all(Path(path).is_file() for hit in hits for path in hit["images"])


def test_search_for_exactly_what_a_chunk_is_finds_it_first(nyx: Nyx, small_home: Path) -> None:
    rows = Home.at(small_home).tables.read("chunked_corpus").to_pylist()
    chunk = next(row for row in rows if [segment["kind"] for segment in row["segments"]] == ["text"])
    hits = search(nyx, small_home, chunk["segments"][0]["text"])
    assert hits[0]["chunk_id"] == chunk["chunk_id"]
    assert hits[0]["similarity"] == pytest.approx(1, abs=1e-3)


def test_a_picture_alone_and_a_picture_with_text_are_queries_of_their_own(nyx: Nyx, small_home: Path) -> None:
    picture = Home.at(small_home).images.path(
        next(s["image"] for s in a_chunk_with(small_home, modality="mixed")["segments"] if s["kind"] == "image")
    )
    text, alone, both = (
        search(nyx, small_home, *query)
        for query in (("a boat",), ("--image", picture), ("a boat", "--image", picture, "--image", picture))
    )
    assert len(text) == len(alone) == len(both) == 5
    assert len({tuple((hit["chunk_id"], hit["similarity"]) for hit in hits) for hits in (text, alone, both)}) == 3


def test_a_query_picture_is_not_taken_into_the_home(nyx: Nyx, small_home: Path, tmp_path: Path) -> None:
    def stored() -> set[Path]:
        return set((small_home / "images").rglob("*"))

    Image.new("RGB", (64, 48), "purple").save(tmp_path / "query.png")
    before = stored()
    search(nyx, small_home, "--image", tmp_path / "query.png")
    assert stored() == before


@pytest.mark.parametrize(("modality", "crawl"), [("text", "2026-01-atlas"), ("mixed", "2026-02-almanac")])
def test_search_is_kept_to_a_crawl_and_a_modality(nyx: Nyx, small_home: Path, modality: str, crawl: str) -> None:
    hits = search(nyx, small_home, "a flag", "--top-k", 50, "--crawl", crawl, "--modality", modality)
    rows = Home.at(small_home).tables.read("chunked_corpus").to_pylist()
    expected = {row["chunk_id"] for row in rows if row["crawl"] == crawl and row["modality"] == modality}
    assert expected
    assert {hit["chunk_id"] for hit in hits} == expected


def test_search_for_a_person_shows_title_pictures_and_address(nyx: Nyx, small_home: Path) -> None:
    [hit] = search(nyx, small_home, "a flag", "--top-k", 1, "--modality", "mixed")
    said = nyx("search", "a flag", "--top-k", 1, "--modality", "mixed", home=small_home).output
    assert said.startswith(f" 1. {hit['similarity']:.4f}  {hit['title']}   [{hit['crawls'][0]}, chunk")
    assert all(f"picture {path}" in said for path in hit["images"])
    assert hit["url"] in said
    assert hit["chunk_id"] in said


def test_search_before_any_run_says_so_and_makes_no_home(nyx: Nyx, tmp_path: Path) -> None:
    said = refusal(nyx("search", "words", home=tmp_path / "none"))
    assert "has no index to search yet: make one with `nyx run`" in said
    assert not (tmp_path / "none").exists()


def test_search_for_nothing_is_refused(nyx: Nyx, small_home: Path) -> None:
    result = nyx("search", "  ", home=small_home)
    assert result.exit_code == 2
    assert "give TEXT, --image FILE, or both" in result.stderr


def test_search_in_an_unknown_crawl_names_those_there_are(nyx: Nyx, small_home: Path) -> None:
    said = refusal(nyx("search", "words", "--crawl", "2025", home=small_home))
    assert "crawl '2025' is not in" in said
    assert "2026-01-atlas, 2026-02-almanac" in said


def test_an_image_that_is_no_picture_is_refused_by_name(nyx: Nyx, small_home: Path, tmp_path: Path) -> None:
    (tmp_path / "page.png").write_text("<html>not found</html>")
    said = refusal(nyx("search", "words", "--image", tmp_path / "page.png", home=small_home))
    assert f"query picture {tmp_path / 'page.png'}: " in said


def test_search_keeps_to_the_checkpoint_of_the_live_index_when_another_is_promoted(
    nyx: Nyx, changed_home: Path
) -> None:
    """Between the gate and the next index nothing is refused and nothing is mixed."""
    before = search(nyx, changed_home, "a flag")
    home = Home.at(changed_home)
    pretrained = home.artifacts.require("pretrained_checkpoint")
    home.artifacts.publish("promoted_checkpoint", pretrained.folder, pretrained.commit)
    assert search(nyx, changed_home, "a flag") == before


def test_a_hybrid_search_fuses_two_rankings_within_the_filter(nyx: Nyx, small_home: Path) -> None:
    chunk = a_chunk_with(small_home, modality="mixed")
    words = next(segment["text"] for segment in chunk["segments"] if segment["text"])
    hits = search(nyx, small_home, words, "--hybrid", "--top-k", 7)
    assert hits[0]["chunk_id"] == chunk["chunk_id"]
    assert hits[0]["bm25_rank"] == 1
    for hit in hits:
        places = [hit[name] for name in ("dense_rank", "bm25_rank") if hit[name]]
        assert hit["score"] == pytest.approx(sum(1 / (60 + place) for place in places), abs=1e-6)
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    [source] = {hit["source"] for hit in hits if hit["chunk_id"] == chunk["chunk_id"]}
    kept = search(nyx, small_home, words, "--hybrid", "--source", source, "--language", hits[0]["language"])
    assert {hit["source"] for hit in kept} == {source}
    assert search(nyx, small_home, words, "--hybrid", "--source", "nowhere.example") == []


def test_the_versions_of_the_index_are_listed_and_the_first_cannot_be_rolled_back(nyx: Nyx, small_home: Path) -> None:
    listed = nyx("index", "list", "--json", home=small_home)
    [row] = json.loads(listed.output)
    assert row["is_live"]
    assert row["crawls"] == ["2026-01-atlas", "2026-02-almanac"]
    assert (Path(small_home) / row["checkpoint_folder"] / "manifest.json").is_file()
    assert f"live  {row['version']}" in nyx("index", "list", home=small_home).output
    assert "no version before it is kept" in refusal(nyx("index", "rollback", home=small_home))
    assert "'v7' is no whole version" in refusal(nyx("index", "swap", "v7", home=small_home))
    assert json.loads(nyx("index", "swap", row["version"], "--json", home=small_home).output) == [row]


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Three candidates, one of them a picture with text; the second query can only be told from its picture."""
    folder = tmp_path / "colours"
    folder.mkdir()
    Image.new("RGB", (80, 60), "orange").save(folder / "orange.png")
    picture = {"type": "image", "path": "orange.png"}

    def text(words: str) -> dict:
        return {"type": "text", "text": words}

    write_suite(
        folder,
        corpus=[
            {"id": "tower", "segments": [text("the red tower of the harbour")]},
            {"id": "boat", "segments": [text("a blue boat on the lake")]},
            {"id": "square", "segments": [picture, text("a plain square")]},
        ],
        queries=[
            {"id": "words", "segments": [text("which boat is blue")]},
            {"id": "picture", "segments": [picture]},
        ],
        golds=[("words", "boat", 1), ("picture", "square", 1)],
    )
    return folder


def test_evaluate_measures_bm25_without_a_home(nyx: Nyx, suite: Path, tmp_path: Path) -> None:
    result = nyx("evaluate", "--suite", suite, "--retriever", "bm25", "--json", home=tmp_path / "none")
    assert result.exit_code == 0, result.output
    value = {(row["modality"], row["metric"]): row["value"] for row in json.loads(result.stdout)}
    assert (value["text", "recall@1"], value["image", "recall@1"], value["all", "recall@1"]) == (1, 0, 0.5)
    assert (value["text", "mrr"], value["image", "ndcg@10"], value["all", "ndcg@10"]) == (1, 0, 0.5)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("retriever", ["untrained", "pretrained", "finetuned", "promoted"])
def test_evaluate_measures_every_retriever_that_embeds(nyx: Nyx, suite: Path, small_home: Path, retriever: str) -> None:
    result = nyx("evaluate", "--suite", suite, "--retriever", retriever, "--json", home=small_home)
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert {row["retriever"] for row in rows} == {retriever}
    assert {row["dim"] for row in rows} == ({128} if retriever == "untrained" else {128, 64, 32, 16})
    assert {row["modality"] for row in rows} == {"all", "text", "image"}
    assert {row["num_candidates"] for row in rows} == {3}
    assert all(row["value"] == 1 for row in rows if row["metric"] == "recall@10")


def test_evaluate_prints_a_line_for_each_dim_and_modality(nyx: Nyx, suite: Path, small_home: Path) -> None:
    said = nyx("evaluate", "--suite", suite, "--retriever", "promoted", home=small_home).output.splitlines()
    assert said[0] == "promoted on colours: 3 candidates"
    assert said[1].split() == ["dim", "query", "queries", "recall@1", "recall@10", "mrr", "ndcg@10"]
    assert [line.split()[:3] for line in said[2:5]] == [
        ["128", "all", "2"],
        ["128", "image", "1"],
        ["128", "text", "1"],
    ]
    assert len(said) == 2 + 4 * 3


def test_evaluate_of_an_unknown_retriever_names_those_there_are(nyx: Nyx, suite: Path, small_home: Path) -> None:
    said = refusal(nyx("evaluate", "--suite", suite, "--retriever", "trace", home=small_home))
    assert "retriever 'trace' is unknown; known: bm25, untrained, pretrained, finetuned, promoted" in said


def test_evaluate_before_a_checkpoint_is_made_names_what_is_missing(nyx: Nyx, suite: Path, tmp_path: Path) -> None:
    said = refusal(nyx("evaluate", "--suite", suite, "--retriever", "finetuned", home=tmp_path / "none"))
    assert "finetuned_checkpoint has not been made" in said


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        ("corpus.jsonl", "{not JSON", "corpus.jsonl"),
        ("queries.jsonl", '{"id": "lost", "segments": [{"type": "text", "text": "x"}]}', "query 'lost' has no gold"),
        ("qrels.tsv", "words\tnowhere\t1", "candidate 'nowhere' is not in corpus.jsonl"),
        ("corpus.jsonl", '{"id": "up", "segments": [{"type": "image", "path": "../up.png"}]}', "../up.png"),
    ],
)
def test_evaluate_of_a_broken_suite_names_file_line_and_fault(
    nyx: Nyx, suite: Path, tmp_path: Path, file: str, line: str, said: str
) -> None:
    with (suite / file).open("a") as stream:
        stream.write(line + "\n")
    number = len((suite / file).read_text().splitlines())
    message = refusal(nyx("evaluate", "--suite", suite, "--retriever", "bm25", home=tmp_path / "none"))
    assert said in message
    assert file in message
    assert str(number) in message


def test_evaluate_of_a_suite_without_a_query_is_refused(nyx: Nyx, suite: Path, tmp_path: Path) -> None:
    (suite / "queries.jsonl").write_text("")
    (suite / "qrels.tsv").write_text("")
    assert "queries.jsonl is empty" in refusal(
        nyx("evaluate", "--suite", suite, "--retriever", "bm25", home=tmp_path / "none")
    )
