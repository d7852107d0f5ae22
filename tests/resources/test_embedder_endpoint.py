"""Embeddings over a real loopback server with /v1/embeddings."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resources.embedder_endpoint import TEXTS_PER_CALL, EndpointEmbedder
from resources.home import Home
from resources.settings import Settings
from tests.embeddings_server import EmbeddingsServer, serving_embeddings
from training_kernels.documents import Document, Segment
from training_kernels.errors import BudgetReached, DataError, ReplyMissing, VLMError


@pytest.fixture
def server() -> Iterator[EmbeddingsServer]:
    with serving_embeddings() as server:
        yield server


@pytest.fixture
def embedder(server: EmbeddingsServer, tmp_path: Path) -> Callable[..., EndpointEmbedder]:
    """An embedder of the home, as a new process would open it."""

    def open_embedder(model: str = "counts", **more: str) -> EndpointEmbedder:
        env = {
            "NYX_EMBEDDER_BASE_URL": server.url,
            "NYX_EMBEDDER_MODEL": model,
            "NYX_EMBEDDER_API_KEY": "the key",
            "NYX_EMBEDDER_MAX_IN_FLIGHT": "3",
            "NYX_EMBEDDER_TIMEOUT_SECONDS": "10",
            "NYX_EMBEDDER_MAX_RETRIES": "2",
            "NYX_EMBEDDER_USD_PER_MILLION_INPUT": "1000",
        }
        settings = Settings.from_env(env | more)
        home = Home.at(settings.home if "NYX_HOME" in more else tmp_path)
        return EndpointEmbedder.of(settings, home, asset="negatives")

    return open_embedder


def documents(*texts: str) -> list[Document]:
    return [Document.of(text) for text in texts]


def counts(*texts: str) -> np.ndarray:
    """Unit embeddings as the server has them."""
    found = np.array([[text.count(letter) for letter in "abc"] for text in texts], dtype=np.float64)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_each_text_gets_its_own_unit_embedding_however_many_calls_and_whatever_their_order(server, embedder) -> None:
    texts = ["a" * (number % 5 + 1) + "b" * (number % 9) + "c" * number for number in range(2 * TEXTS_PER_CALL + 9)]
    found = embedder().embed(documents(*texts), side="candidate")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, counts(*texts), atol=1e-6)
    assert sorted(len(call["input"]) for call in server.calls) == [9, TEXTS_PER_CALL, TEXTS_PER_CALL]
    assert {call["model"] for call in server.calls} == {"counts"}
    assert server.keys == {"Bearer the key"}


def test_a_text_is_paid_for_once_whatever_stands_beside_it_and_on_whichever_side(server, embedder) -> None:
    first = embedder().embed(documents("ab", "bc", "ab"), side="candidate")
    np.testing.assert_allclose(first, counts("ab", "bc", "ab"), atol=1e-6)
    second = embedder().embed(documents("cc", "bc", "ab"), side="query")
    np.testing.assert_allclose(second, counts("cc", "bc", "ab"), atol=1e-6)
    assert [call["input"] for call in server.calls] == [["ab", "bc"], ["cc"]]
    assert embedder(model="another").embed(documents("ab"), side="query").shape == (1, 3)
    assert server.calls[2:] == [{"model": "another", "input": ["ab"], "encoding_format": "float"}]


def test_processes_that_want_overlapping_texts_at_once_pay_for_each_text_once(server, embedder) -> None:
    shared = ["a" * (number + 1) + "b" for number in range(TEXTS_PER_CALL)]
    wanted = [["c" * (who + 1), *shared] for who in range(3)]  # in calls of their own, all would be different
    server.delay_seconds = 0.2
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda texts: embedder().embed(documents(*texts), side="candidate"), wanted))
    for texts, row_ND in zip(wanted, found, strict=True):
        np.testing.assert_allclose(row_ND, counts(*texts), atol=1e-6)
    paid = [text for call in server.calls for text in call["input"]]
    assert sorted(paid) == sorted({*shared, "c", "cc", "ccc"})


def test_the_list_of_paid_texts_is_looked_through_for_an_unknown_text_and_not_at_each_use(
    server, embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing is a request to a store for each 1,000 calls that were ever made."""
    embedder().embed(documents("a", "ab", "abc"), side="candidate")
    ours, looks = embedder(), []
    fs = ours._lists._fs
    look = fs.find
    monkeypatch.setattr(fs, "find", lambda path, **options: looks.append(path) or look(path, **options))
    for _ in range(3):
        assert ours.dims == (ours.dim,) == (3,)
        np.testing.assert_allclose(ours.embed(documents("abc", "a"), side="query"), counts("abc", "a"), atol=1e-6)
    assert len([path for path in looks if "/embeddings/" in path]) == 1
    looks.clear()
    paid = len(server.calls)
    for _ in range(3):  # what it paid for itself it knows
        np.testing.assert_allclose(ours.embed(documents("cc", "a"), side="query"), counts("cc", "a"), atol=1e-6)
    assert [call["input"] for call in server.calls[paid:]] == [["cc"]]
    assert len([path for path in looks if "/embeddings/" in path]) == 2  # before and after it is alone
    embedder().embed(documents("bbc"), side="query")
    paid = len(server.calls)
    np.testing.assert_allclose(ours.embed(documents("bbc"), side="query"), counts("bbc"), atol=1e-6)
    assert len(server.calls) == paid  # and what another one paid for meanwhile it finds


def test_what_one_host_paid_for_no_other_host_pays_for(server, embedder, tmp_path) -> None:
    store = str(tmp_path / "mounted")
    one, other = (embedder(NYX_HOME=store, NYX_LOCAL=str(tmp_path / name)) for name in ("one", "other"))
    one.embed(documents("a", "ab", "abc"), side="candidate")
    paid = len(server.calls)
    assert np.allclose(other.embed(documents("abc", "a"), side="query"), counts("abc", "a"), atol=1e-6)
    assert len(server.calls) == paid
    other.embed(documents("a", "b"), side="query")
    assert server.calls[paid:][0]["input"] == ["b"]


def test_every_call_is_a_row_of_the_ledger_with_its_cost(server, embedder, tmp_path) -> None:
    embedder().embed(documents("ab", "bc"), side="candidate")
    (file,) = (tmp_path / "vlm" / "ledger").glob("*.jsonl")
    (row,) = (json.loads(line) for line in file.read_text().splitlines())
    assert (row["asset"], row["partition"], row["model"], row["error"]) == ("negatives", None, "counts", None)
    assert (row["input_tokens"], row["output_tokens"], row["cost_usd"]) == (4, 0, 4 * 1000 / 1e6)


def test_a_cap_stops_between_calls_and_a_raised_one_pays_only_for_the_rest(server, embedder) -> None:
    texts = ["a" + "b" * number for number in range(3 * TEXTS_PER_CALL)]
    with pytest.raises(BudgetReached, match="NYX_MAX_CALLS=2"):
        embedder(NYX_MAX_CALLS="2").embed(documents(*texts), side="candidate")
    assert len(server.calls) == 2
    np.testing.assert_allclose(
        embedder(NYX_MAX_CALLS="3").embed(documents(*texts), side="candidate"), counts(*texts), atol=1e-6
    )
    assert sorted(text for call in server.calls for text in call["input"]) == sorted(texts)


def test_replay_answers_from_what_is_kept_and_fails_on_a_text_that_is_not(server, embedder) -> None:
    embedder().embed(documents("ab", "bc"), side="candidate")
    replay = embedder(NYX_VLM="replay")
    np.testing.assert_allclose(replay.embed(documents("bc"), side="query"), counts("bc"), atol=1e-6)
    with pytest.raises(ReplyMissing):
        replay.embed(documents("bc", "c"), side="query")
    assert len(server.calls) == 1


def test_a_list_whose_reply_was_lost_counts_for_nothing(server, embedder, tmp_path) -> None:
    embedder().embed(documents("ab"), side="candidate")
    (reply,) = (tmp_path / "vlm" / "replies").rglob("*.json")
    reply.unlink()
    np.testing.assert_allclose(embedder().embed(documents("ab"), side="query"), counts("ab"), atol=1e-6)
    assert len(server.calls) == 2


def test_a_busy_server_is_asked_again_and_one_that_stays_busy_is_named(server, embedder) -> None:
    server.refusals = 2
    assert embedder().embed(documents("ab"), side="query").shape == (1, 3)
    server.refusals = 2
    with pytest.raises(VLMError, match="counts at http://127.0.0.1:.* after 1 attempt.*busy"):
        embedder(NYX_EMBEDDER_MAX_RETRIES="0").embed(documents("bc"), side="query")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: data[1:], "not one of equal width for each"),
        (lambda data: [{**data[0], "embedding": [1.0]}, *data[1:]], "not one of equal width for each"),
        (lambda data: [{**one, "embedding": [0.0, 0.0, 0.0]} for one in data], "norm zero"),
    ],
)
def test_an_answer_that_is_no_set_of_embeddings_is_refused(server, embedder, spoil: Any, message: str) -> None:
    server.spoil = spoil
    with pytest.raises(DataError, match=message):
        embedder().embed(documents("ab", "bc"), side="query")


def test_a_document_without_text_is_named_before_anything_is_sent(server, embedder) -> None:
    with pytest.raises(DataError, match="document 1 has no text"):
        embedder().embed([Document.of("a"), Document.of(Segment(image="aa"))], side="candidate")
    assert server.calls == []
    assert embedder().embed([], side="query").shape == (0, 3)
