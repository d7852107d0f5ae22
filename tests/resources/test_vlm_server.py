"""The loopback server: what it serves, what it counts, and faults that any order of requests meets alike."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from resources.vlm_server import OfflineService, faults_from_text, serve_offline_vlm
from training_kernels.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


def post(base_url: str, body) -> tuple[int, dict]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{base_url}/chat/completions", content, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def body(number: int, **more) -> dict:
    question = f"What belongs in the gap: “the tall tower {number} was raised in ____.”?"
    parts = ["Document 1:", f"the tall tower {number} was raised in {1800 + number}.", "Question:", question]
    return {
        "model": "offline-extractive",
        "messages": [
            {"role": "system", "content": "Task: answer from documents"},
            {"role": "user", "content": [{"type": "text", "text": part} for part in parts]},
        ],
        **more,
    }


def test_an_answer_has_the_shape_of_a_chat_completion():
    with serve_offline_vlm(OfflineService()) as service:
        status, answer = post(service.base_url, body(7))
        models = json.load(urllib.request.urlopen(f"{service.base_url}/models"))
    assert status == 200
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "1807"}
    assert (
        answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"] > 0
    )
    assert [model["id"] for model in models["data"]] == ["offline-extractive"]


def test_answers_are_counted_by_request():
    with serve_offline_vlm(OfflineService()) as service:
        for number in [1, 2, 2, 2]:
            post(service.base_url, body(number))
    assert sorted(service.answers_by_digest.values()) == [1, 3]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (b"not json", "Expecting value"),
        (b"[]", "JSON object"),
        ({"model": "offline-extractive"}, "messages"),
        (body(1, messages=[{"role": "user", "content": "hi"}]), "no rules"),
        (
            body(
                1,
                messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/y.png"}}]}],
            ),
            "fetches nothing",
        ),
    ],
)
def test_a_wrong_request_is_refused_with_the_reason_and_not_counted(wrong, says):
    with serve_offline_vlm(OfflineService()) as service:
        status, answer = post(service.base_url, wrong)
    assert status == 400
    assert says in answer["error"]["message"]
    assert not service.answers_by_digest


def test_faults_depend_on_request_and_attempt_and_not_on_order():
    def statuses(numbers) -> dict[int, list[int]]:
        with serve_offline_vlm(OfflineService(fault_shares={"500": 0.3, "429": 0.3}, seed=5)) as service:
            met: dict[int, list[int]] = {}
            for number in numbers:
                met.setdefault(number, []).append(post(service.base_url, body(number))[0])
            return met

    forwards = statuses([*range(12), *range(12)])
    assert forwards == statuses([*reversed(range(12)), *reversed(range(12))])
    assert {status for met in forwards.values() for status in met} == {200, 429, 500}


def test_places_are_limited_and_each_answer_takes_its_delay():
    with (
        serve_offline_vlm(OfflineService(delay_seconds=0.1, max_concurrent=2)) as service,
        ThreadPoolExecutor(6) as pool,
    ):
        began = time.perf_counter()
        list(pool.map(lambda number: post(service.base_url, body(number)), range(6)))
        assert 0.3 <= time.perf_counter() - began < 1.5  # 6 answers, 2 at once, 0.1 s each


def test_faults_are_read_from_text_and_wrong_ones_refused():
    assert faults_from_text("429=0.1, cut=0.05") == {"429": 0.1, "cut": 0.05}
    assert faults_from_text("") == {}
    for wrong in ["429", "429=x"]:
        with pytest.raises(ConfigError):
            faults_from_text(wrong)
    for shares in [{"418": 0.1}, {"429": 0.7, "500": 0.7}, {"cut": -0.1}]:
        with pytest.raises(ConfigError):
            OfflineService(fault_shares=shares)


def test_it_runs_as_a_command():
    command = [sys.executable, "-m", "resources.vlm_server", "--port", "0", "--faults", "500=1"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ)
    try:
        base_url = re.search(r"http://\S+", process.stdout.readline()).group()
        assert post(base_url, body(1))[0] == 500
    finally:
        process.terminate()
        process.wait(timeout=10)
        process.stdout.close()
