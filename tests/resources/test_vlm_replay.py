"""Replay answers from what is kept, marks it as such, and names what is missing."""

import pytest

from resources.vlm import Message, Reply, Request, Sampling, complete_all
from resources.vlm_replay import ReplayVLM
from resources.vlm_replies import ReplyFolder
from training_kernels.documents import Document
from training_kernels.errors import ReplyMissing, VLMError


def request(text: str) -> Request:
    sampling = Sampling(temperature=0.0, max_output_tokens=8, seed=0)
    return Request(messages=(Message("user", Document.of(text)),), sampling=sampling, prompt_version="write_qa@7")


def keep(folder: ReplyFolder, text: str, model: str = "m") -> Reply:
    digest = request(text).digest(model)
    reply = Reply(
        text=text.upper(), model=model, request_digest=digest, input_tokens=3, output_tokens=4, cost_usd=0.25,
        latency_seconds=0.05, finish_reason="stop", is_stand_in=False,
    )  # fmt: skip
    folder.write(digest, reply)
    return reply


def test_kept_replies_come_back_in_order_marked_as_cached(tmp_path):
    folder = ReplyFolder(str(tmp_path))
    kept = [keep(folder, text) for text in ("a", "b", "c")]
    vlm = ReplayVLM("m", folder, max_in_flight=2)
    replies = list(complete_all(vlm, [request(text) for text in ("c", "a", "b")]))
    assert replies == [kept[2].from_cache(), kept[0].from_cache(), kept[1].from_cache()]


def test_a_missing_reply_ends_the_stream_and_is_named_and_is_no_refusal_that_could_become_a_row(tmp_path):
    folder = ReplyFolder(str(tmp_path))
    keep(folder, "a")
    keep(folder, "what is it", model="another")
    vlm = ReplayVLM("m", folder, max_in_flight=2)
    replies = complete_all(vlm, [request("a"), request("what is it")])
    assert next(replies).text == "A"
    with pytest.raises(ReplyMissing) as caught:
        next(replies)
    said = str(caught.value)
    assert request("what is it").digest("m") in said
    assert "write_qa@7" in said
    assert "what is it" in said
    assert not isinstance(caught.value, VLMError)


def test_a_damaged_reply_is_missing_and_stays_where_it_is(tmp_path):
    folder = ReplyFolder(str(tmp_path))
    keep(folder, "a")
    (file,) = tmp_path.rglob("*.json")
    file.write_text("{")
    with pytest.raises(ReplyMissing):
        list(complete_all(ReplayVLM("m", folder, max_in_flight=1), [request("a")]))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [file.name]
