"""The real client against the real loopback server, faults included."""

import asyncio
import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from resources.endpoint_client import Endpoint, pause_seconds
from resources.vlm import Message, Request, Sampling, complete_all
from resources.vlm_offline import OfflineVLM
from resources.vlm_openai import OpenAIVLM
from resources.vlm_server import OfflineService, serve_offline_vlm
from training_kernels.documents import Document, Segment
from training_kernels.errors import ConfigError, VLMError
from training_kernels.images import PictureFolder

KEY = "sk-very-secret-key"


def endpoint(base_url, *, model="offline-extractive", timeout_seconds=5.0, max_retries=3, max_in_flight=8) -> Endpoint:
    return Endpoint(
        base_url=base_url, model=model, max_in_flight=max_in_flight, timeout_seconds=timeout_seconds,
        max_retries=max_retries, price_per_million_input_tokens=2.0, price_per_million_output_tokens=10.0,
    )  # fmt: skip


@pytest.fixture
def pictures(tmp_path) -> PictureFolder:
    return PictureFolder(str(tmp_path / "images"))


def store(pictures: PictureFolder, colour: str, suffix: str, tmp_path) -> str:
    file = tmp_path / f"{colour}.{suffix}"
    Image.new("RGB", (5, 3), colour).save(file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    place = pictures.path_of(digest, suffix)
    pictures.fs.makedirs(place.rsplit("/", 1)[0], exist_ok=True)
    pictures.fs.pipe_file(place, file.read_bytes())
    return digest


def question(number: int, *, schema: str | None = None) -> Request:
    document = f"The bridge number {number} was built by engineer Marta Olsen in {1900 + number} for the old town."
    return Request(
        messages=(
            Message("system", Document.of("Task: answer from documents\n\nShort.")),
            Message(
                "user",
                Document.of(
                    "Document 1:", document, "Question:",
                    f"What belongs in the gap: “The bridge number {number} was built by engineer Marta Olsen in ____ for the old”?",
                ),
            ),
        ),
        sampling=Sampling(temperature=0.0, max_output_tokens=20, seed=3, json_schema=schema),
        prompt_version="t",
    )  # fmt: skip


def vlm_at(service: OfflineService, pictures, **settings) -> OpenAIVLM:
    return OpenAIVLM(endpoint(service.base_url, **settings), api_key=KEY, images=pictures)


def test_the_reply_over_http_is_the_reply_in_process_with_its_cost(pictures):
    with serve_offline_vlm(OfflineService()) as service:
        (reply,) = complete_all(vlm_at(service, pictures), [question(7)])
    here = OfflineVLM().answer(question(7))
    assert reply.text == here.text == "1907"
    assert (reply.input_tokens, reply.output_tokens) == (here.input_tokens, here.output_tokens)
    assert reply.cost_usd == pytest.approx((2.0 * here.input_tokens + 10.0 * here.output_tokens) / 1e6)
    assert reply.cost_usd > 0
    assert reply.is_stand_in
    assert reply.request_digest == question(7).digest("offline-extractive")


@contextmanager
def recording_server(bodies: list, answers: list[tuple[int, dict[str, str], bytes]]):
    """Answers in turn, the last one for ever; what came in is appended to `bodies`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            bodies.append(
                (
                    {name.lower(): value for name, value in self.headers.items()},
                    json.loads(self.rfile.read(int(self.headers["content-length"]))),
                )
            )
            status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


def completion(content, **message) -> bytes:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content, **message}}
    return json.dumps(
        {"model": "m-2026", "choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
    ).encode()


def test_pictures_go_out_in_their_places_as_the_stored_bytes(pictures, tmp_path):
    red, blue = store(pictures, "red", "png", tmp_path), store(pictures, "blue", "jpg", tmp_path)
    content = Document.of("before", Segment(image=blue), "between", Segment(image=red))
    sampling = Sampling(temperature=0.5, max_output_tokens=33, seed=4, json_schema='{"type": "object"}')
    asked = Request(messages=(Message("user", content),), sampling=sampling, prompt_version="t")
    bodies: list = []
    with recording_server(bodies, [(200, {}, completion("fine"))]) as url:
        (reply,) = complete_all(OpenAIVLM(endpoint(url, model="m"), api_key=KEY, images=pictures), [asked])
    headers, body = bodies[0]
    assert headers["authorization"] == f"Bearer {KEY}"
    assert [part["type"] for part in body["messages"][0]["content"]] == ["text", "image_url", "text", "image_url"]
    urls = [part["image_url"]["url"] for part in body["messages"][0]["content"] if part["type"] == "image_url"]
    assert urls[0].startswith("data:image/jpeg;base64,")
    assert urls[1].startswith("data:image/png;base64,")
    sent = [hashlib.sha256(base64.b64decode(url.split(",")[1])).hexdigest() for url in urls]
    assert sent == [blue, red]
    assert (body["temperature"], body["max_tokens"], body["seed"], body["model"]) == (0.5, 33, 4, "m")
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert reply.text == "fine"
    assert not reply.is_stand_in


@pytest.mark.parametrize("fault", ["500", "503", "429", "cut", "not_json"])
def test_each_fault_is_survived_and_the_answer_paid_once(pictures, fault):
    # seed 3: some of the 6 requests meet the fault, none more than max_retries times
    with serve_offline_vlm(OfflineService(fault_shares={fault: 0.4}, seed=3)) as service:
        replies = list(complete_all(vlm_at(service, pictures, max_retries=6), [question(i) for i in range(6)]))
    assert [reply.text for reply in replies] == [str(1900 + i) for i in range(6)]
    assert service.faults_by_name[fault] >= 1
    assert sorted(service.answers_by_digest.values()) == [1] * 6


def test_a_slow_server_times_out_and_is_asked_again(pictures):
    service = OfflineService(fault_shares={"slow": 0.5}, slow_seconds=1.0, seed=3)
    with serve_offline_vlm(service):
        replies = list(complete_all(vlm_at(service, pictures, timeout_seconds=0.4), [question(i) for i in range(4)]))
    assert [reply.text for reply in replies] == [str(1900 + i) for i in range(4)]
    assert service.faults_by_name["slow"] >= 1


def test_a_server_that_never_recovers_is_a_refusal_that_names_status_request_and_attempts(pictures):
    with serve_offline_vlm(OfflineService(fault_shares={"500": 1.0})) as service:
        (error,) = complete_all(vlm_at(service, pictures, max_retries=1), [question(1)])
    assert isinstance(error, VLMError)
    assert "HTTP 500" in str(error)
    assert question(1).digest("offline-extractive") in str(error)
    assert sum(service.attempts_by_digest.values()) == 2


def test_a_server_that_is_not_there_is_a_refusal(pictures):
    (error,) = complete_all(
        OpenAIVLM(endpoint("http://127.0.0.1:9/v1", max_retries=0), api_key=KEY, images=pictures), [question(1)]
    )
    assert isinstance(error, VLMError)
    assert "lost connection" in str(error)


def test_a_wrong_model_is_refused_without_a_second_attempt(pictures):
    with serve_offline_vlm(OfflineService()) as service:
        (error,) = complete_all(vlm_at(service, pictures, model="other"), [question(1)])
    assert "HTTP 404" in str(error)
    assert sum(service.attempts_by_digest.values()) == 1


def test_a_refusal_by_the_model_is_an_error_and_not_an_empty_answer(pictures):
    bodies: list = []
    with recording_server(bodies, [(200, {}, completion(None, refusal="not that"))]) as url:
        (error,) = complete_all(OpenAIVLM(endpoint(url), api_key=KEY, images=pictures), [question(1)])
    assert "declined: not that" in str(error)
    assert len(bodies) == 1


def test_retry_after_is_obeyed_and_one_of_an_hour_is_a_refusal(pictures):
    began = asyncio.new_event_loop().time()
    bodies: list = []
    limited = (429, {"Retry-After": "2"}, b"{}")
    with recording_server(bodies, [limited, (200, {}, completion("late"))]) as url:
        (reply,) = complete_all(OpenAIVLM(endpoint(url), api_key=KEY, images=pictures), [question(1)])
    assert reply.text == "late"
    assert asyncio.new_event_loop().time() - began >= 2.0  # the pause without it is at most 0.5 s
    with recording_server(bodies, [(429, {"Retry-After": "3600"}, b"{}")]) as url:
        (error,) = complete_all(OpenAIVLM(endpoint(url), api_key=KEY, images=pictures), [question(1)])
    assert "3600" in str(error)


def test_the_key_is_in_no_text_even_if_the_server_quotes_it(pictures):
    body = json.dumps({"error": {"message": f"wrong key {KEY}"}}).encode()
    with recording_server([], [(401, {}, body)]) as url:
        vlm = OpenAIVLM(endpoint(url), api_key=KEY, images=pictures)
        (error,) = complete_all(vlm, [question(1)])
    assert "HTTP 401" in str(error)
    assert KEY not in str(error) + repr(vlm) + str(vlm)


def test_one_vlm_serves_one_event_loop_after_another(pictures):
    with serve_offline_vlm(OfflineService()) as service:
        vlm = vlm_at(service, pictures)
        answers = [reply.text for i in range(3) for reply in complete_all(vlm, [question(i), question(i + 10)])]
    assert answers == ["1900", "1910", "1901", "1911", "1902", "1912"]


def test_pauses_double_up_to_a_limit_and_differ_between_requests():
    for attempt, longest in [(0, 0.5), (1, 1.0), (3, 4.0), (20, 30.0)]:
        pauses = {pause_seconds(attempt, f"digest {i}") for i in range(50)}
        assert len(pauses) == 50
        assert longest / 2 <= min(pauses) < longest * 0.6
        assert longest * 0.9 < max(pauses) <= longest


@pytest.mark.parametrize("wrong", [{"base_url": "localhost"}, {"model": ""}, {"max_in_flight": 0}, {"max_retries": -1}])
def test_an_endpoint_that_cannot_work_is_refused(wrong):
    with pytest.raises(ConfigError):
        endpoint(**{"base_url": "http://here/v1", **wrong})
