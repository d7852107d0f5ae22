"""What a killed worker had under way is finished and kept by its courier, so that nothing is paid twice; and nothing is left."""

import asyncio
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from resources.home import Home
from resources.settings import Settings
from resources.vlm import STAND_IN_MODEL, Message, Request, Sampling, complete_all
from resources.vlm_courier import CourierVLM
from resources.vlm_courier_notes import finishing_line, locked_note, wait_for_finishing
from resources.vlm_courier_wire import Ask, Order, line_of, outcome_of
from resources.vlm_folders import budget_in, couriers_in, ledger_in, replies_in
from resources.vlm_roles import VLMRole, budget_of
from resources.vlm_server import OfflineService, serve_offline_vlm
from training_kernels.documents import Document, Segment
from training_kernels.errors import BudgetReached, CourierFailed, DataError, VLMError

NUM_QUESTIONS = 240


def question(number: int) -> Request:
    document = f"The tower {number} was raised in {1000 + number} by the town of Lund."
    return Request(
        messages=(
            Message("system", Document.of("Task: answer from documents\n\nShort.")),
            Message(
                "user",
                Document.of("Document 1:", document, "Question:", f"What belongs in the gap: “The tower {number} was raised in ____ by the town of Lund.”?"),
            ),
        ),
        sampling=Sampling(temperature=0.0, max_output_tokens=20, seed=0),
        prompt_version="t",
    )  # fmt: skip


def settings_for(home: Path, base_url: str, **more: str) -> Settings:
    return Settings.from_env(environment(home, base_url, **more))


def environment(home: Path, base_url: str, **more: str) -> dict[str, str]:
    return {
        "NYX_HOME": str(home),
        "NYX_TEACHER_BASE_URL": base_url,
        "NYX_TEACHER_MODEL": STAND_IN_MODEL,
        "NYX_TEACHER_MAX_IN_FLIGHT": "8",
        "NYX_TEACHER_TIMEOUT_SECONDS": "4",
        "NYX_TEACHER_USD_PER_MILLION_INPUT": "1000",
    } | more


def teacher(home: Path, base_url: str, **more: str) -> VLMRole:
    return VLMRole.of("teacher", settings_for(home, base_url, **more), Home.at(home))


def worker(home: Path, base_url: str, **more: str) -> "subprocess.Popen[bytes]":
    """A process, in a group of its own, that asks all questions."""
    code = "import tests.resources.test_vlm_courier as t; t.work()"
    env = os.environ | environment(home, base_url, **more)
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], env=env, start_new_session=True
    )


def work() -> None:
    settings = Settings.from_env(os.environ)
    role = VLMRole.of("teacher", settings, Home.at(settings.home))
    for reply in complete_all(role.for_step("raw_qa", "c1"), map(question, range(NUM_QUESTIONS))):
        if isinstance(reply, VLMError):
            raise reply


def couriers_of(home: Path) -> list[int]:
    """Process ids of couriers that run for a home."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if "vlm_courier_process" in command and str(home) in command:
                found.append(int(entry.name))
    return found


def wait_until(is_so, seconds: float = 15.0) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def ledger_rows(home: Path) -> list[dict]:
    files = Path(ledger_in(home / "vlm")).glob("*.jsonl")
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.mark.long
def test_ten_kills_at_random_moments_and_a_finish_pay_for_every_request_exactly_once(tmp_path):
    draw = random.Random(7)
    home = tmp_path / "home"
    faults = {"500": 0.03, "429": 0.01, "cut": 0.02, "not_json": 0.02}
    with serve_offline_vlm(OfflineService(delay_seconds=0.25, fault_shares=faults)) as service:
        killed_with_calls_under_way = 0
        for _ in range(10):
            before = sum(service.attempts_by_digest.values())
            run = worker(home, service.base_url)
            wait_until(lambda: sum(service.attempts_by_digest.values()) > before)  # noqa: B023
            time.sleep(draw.uniform(0.0, 0.4))
            assert run.poll() is None
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
            killed_with_calls_under_way += bool(
                budget_of(settings_for(home, service.base_url), Home.at(home)).open_calls()
            )
        assert killed_with_calls_under_way >= 5
        assert len(service.answers_by_digest) < NUM_QUESTIONS
        assert worker(home, service.base_url).wait(60) == 0
    assert len(service.answers_by_digest) == NUM_QUESTIONS
    assert set(service.answers_by_digest.values()) == {1}
    assert not service.abandoned_by_digest
    budget = budget_of(settings_for(home, service.base_url), Home.at(home))
    assert not budget.interrupted()
    paid = [row for row in ledger_rows(home) if row["error"] is None and not row["is_cached"]]
    assert len({row["request_digest"] for row in paid}) == len(paid) == NUM_QUESTIONS
    assert budget.spent().usd == pytest.approx(sum(row["cost_usd"] for row in paid))
    wait_until(lambda: not couriers_of(home))
    assert not list(couriers_in(home / "vlm").iterdir())


def test_after_the_worker_is_killed_nothing_new_is_asked_and_what_was_under_way_is_kept_and_entered(tmp_path):
    with serve_offline_vlm(OfflineService(delay_seconds=1.0)) as service:
        run = worker(tmp_path, service.base_url)
        wait_until(lambda: sum(service.attempts_by_digest.values()) == 8)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        assert len(couriers_of(tmp_path)) == 1
        wait_until(lambda: not couriers_of(tmp_path))
    assert sum(service.attempts_by_digest.values()) == 8
    assert sum(service.answers_by_digest.values()) == 8
    rows = ledger_rows(tmp_path)
    assert len(rows) == 8
    assert {(row["asset"], row["partition"], row["is_cached"]) for row in rows} == {("raw_qa", "c1", False)}
    assert all(replies_in(tmp_path / "vlm").peek(row["request_digest"]) for row in rows)
    assert budget_in(tmp_path / "vlm", settings_for(tmp_path, "http://here/v1").caps).spent().calls == 8


def test_after_the_worker_is_killed_a_call_that_failed_is_not_tried_again(tmp_path):
    with serve_offline_vlm(OfflineService(fault_shares={"429": 1.0})) as service:
        run = worker(tmp_path, service.base_url)
        wait_until(lambda: sum(service.attempts_by_digest.values()) >= 8)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        asked = sum(service.attempts_by_digest.values())
        wait_until(lambda: not couriers_of(tmp_path), 3.0)
        assert sum(service.attempts_by_digest.values()) == asked
    assert all("HTTP 429" in row["error"] for row in ledger_rows(tmp_path))


def test_the_next_run_says_that_it_waits_for_the_courier_of_a_dead_one(tmp_path, caplog):
    with serve_offline_vlm(OfflineService(delay_seconds=1.5)) as service:
        run = worker(tmp_path, service.base_url)
        wait_until(lambda: sum(service.attempts_by_digest.values()) == 8)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        wait_until(
            lambda: b"under_way" in b"".join(note.read_bytes() for note in couriers_in(tmp_path / "vlm").iterdir())
        )
        with caplog.at_level(logging.WARNING):
            wait_for_finishing(couriers_in(tmp_path / "vlm"))
        assert sum(service.answers_by_digest.values()) == 8
    assert f"worker {run.pid} ended with 8 VLM calls under way; waiting up to" in caplog.text


def test_a_courier_that_takes_longer_than_its_time_is_not_waited_for(tmp_path, caplog):
    with locked_note(tmp_path) as note:
        note.write(finishing_line(worker=3, under_way=2, until=time.time() + 0.3).encode() + b"\n")
        began = time.monotonic()
        wait_for_finishing(tmp_path)
        assert 0.2 < time.monotonic() - began < 5.0
        assert "worker 3 ended with 2 VLM calls" in caplog.text


def test_a_living_worker_is_not_waited_for_and_a_killed_courier_s_note_is_logged_and_removed(tmp_path, caplog):
    with locked_note(tmp_path) as note:
        note.write(b"WARNING: something\n")
        wait_for_finishing(tmp_path)
        assert not caplog.text
    wait_for_finishing(tmp_path)
    assert "may be paid again: WARNING: something" in caplog.text
    assert not list(tmp_path.iterdir())


def test_a_courier_ends_with_its_worker_and_leaves_neither_process_nor_thread_nor_open_file(tmp_path):
    with serve_offline_vlm(OfflineService()) as service:
        teacher(tmp_path / "warm-up", service.base_url)  # whatever is imported or opened once
        threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
        role = teacher(tmp_path, service.base_url)
        for start in range(0, 30, 10):
            list(complete_all(role.for_step("raw_qa", None), map(question, range(start, start + 10))))
        assert len(couriers_of(tmp_path)) == 1
        role.close()
        assert not couriers_of(tmp_path)
        # a server thread per connection of the courier ends with it
        wait_until(lambda: threading.active_count() <= threads and len(os.listdir("/proc/self/fd")) <= files)
    assert not list(couriers_in(tmp_path / "vlm").iterdir())


def test_a_role_that_nobody_holds_any_more_ends_its_courier(tmp_path):
    with serve_offline_vlm(OfflineService()) as service:
        list(complete_all(teacher(tmp_path, service.base_url).for_step("raw_qa", None), [question(1)]))
        assert not couriers_of(tmp_path)


def test_a_role_whose_replies_are_all_kept_starts_no_courier(tmp_path):
    with serve_offline_vlm(OfflineService()) as service:
        list(complete_all(teacher(tmp_path, service.base_url).for_step("raw_qa", None), map(question, range(5))))
        again = teacher(tmp_path, service.base_url)
        replies = list(complete_all(again.for_step("filtered_qa", "c2"), map(question, range(5))))
        assert not couriers_of(tmp_path)
    assert all(reply.is_cached for reply in replies)
    entered = [(row["asset"], row["is_cached"], row["cost_usd"] > 0) for row in ledger_rows(tmp_path)]
    assert sorted(entered) == [("filtered_qa", True, False)] * 5 + [("raw_qa", False, True)] * 5


def test_a_courier_that_is_killed_fails_its_calls_by_name_and_the_next_call_starts_another(tmp_path):
    with serve_offline_vlm(OfflineService(delay_seconds=0.5)) as service:
        role = teacher(tmp_path, service.base_url)

        def kill() -> None:
            wait_until(lambda: sum(service.attempts_by_digest.values()) >= 3)
            os.kill(couriers_of(tmp_path)[0], signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.raises(CourierFailed, match="may be paid again"):
            list(complete_all(role.for_step("raw_qa", None), map(question, range(3))))
        killer.join()
        replies = list(complete_all(role.for_step("raw_qa", None), map(question, range(3))))
        role.close()
    assert [reply.text for reply in replies] == ["1000", "1001", "1002"]
    budget = budget_of(settings_for(tmp_path, service.base_url), Home.at(tmp_path))
    assert len(budget.interrupted()) == 3
    assert budget.spent().calls == 6


def test_a_cap_holds_over_several_workers_at_once_and_its_message_comes_through(tmp_path):
    with serve_offline_vlm(OfflineService(delay_seconds=0.02)) as service:
        runs = [worker(tmp_path, service.base_url, NYX_MAX_CALLS="100") for _ in range(3)]
        assert all(run.wait(60) != 0 for run in runs)
        assert sum(service.answers_by_digest.values()) == 100
        with pytest.raises(BudgetReached, match="NYX_MAX_CALLS=100 leaves no room"):
            list(
                complete_all(
                    teacher(tmp_path, service.base_url, NYX_MAX_CALLS="100").for_step("a", None), [question(-1)]
                )
            )
    assert set(service.answers_by_digest.values()) == {1}


def test_a_missing_picture_and_a_refusal_come_through_as_what_they_are(tmp_path):
    broken = Request(
        messages=(Message("user", Document.of("what is it", Segment(image="ab" * 32))),),
        sampling=Sampling(temperature=0.0, max_output_tokens=1, seed=0),
        prompt_version="t",
    )
    with serve_offline_vlm(OfflineService()) as service:
        role = teacher(tmp_path, service.base_url)
        with pytest.raises(DataError, match="picture abab.* is not in"):
            list(complete_all(role.for_step("raw_qa", None), [broken]))
        other = teacher(tmp_path, service.base_url, NYX_TEACHER_MODEL="other")
        (refusal,) = complete_all(other.for_step("raw_qa", None), [question(1)])
    assert isinstance(refusal, VLMError)
    assert "HTTP 404" in str(refusal)


def test_two_event_loops_at_once_share_one_courier_and_equal_requests_one_call(tmp_path):
    with serve_offline_vlm(OfflineService(delay_seconds=0.3)) as service:
        role = teacher(tmp_path, service.base_url)

        def ask() -> None:
            list(complete_all(role.for_step("raw_qa", None), map(question, range(5))))

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        wait_until(lambda: service.attempts_by_digest)
        assert len(couriers_of(tmp_path)) == 1
        for thread in threads:
            thread.join()
    assert sorted(service.answers_by_digest.values()) == [1] * 5


def test_a_caller_that_gives_up_leaves_its_reply_in_the_cache(tmp_path):
    with serve_offline_vlm(OfflineService(delay_seconds=0.4)) as service:
        role = teacher(tmp_path, service.base_url)
        vlm = role.for_step("raw_qa", None)

        async def give_up() -> None:
            call = asyncio.create_task(vlm.complete(question(1)))
            while not service.attempts_by_digest:
                await asyncio.sleep(0.02)
            call.cancel()

        asyncio.run(give_up())
        (reply,) = complete_all(vlm, [question(1)])
    assert reply.text == "1001"
    assert sorted(service.answers_by_digest.values()) == [1]


def test_what_is_said_over_the_line_is_what_is_heard():
    request = Request(
        messages=(
            Message("system", Document.of("zwei\nZeilen\u2028 \ud800 中")),
            Message("user", Document.of("a", Segment(image="f" * 64), "")),
        ),
        sampling=Sampling(temperature=0.3, max_output_tokens=9, seed=-4, json_schema='{"type": "object"}'),
        prompt_version="p",
    )
    for partition in ("c", None):
        ask = Ask(7, "raw_qa", partition, request)
        assert ask.to_line().count(b"\n") == 1
        assert Ask.from_line(ask.to_line()) == ask
    number, error = outcome_of(line_of(3, BudgetReached("a\nb")))
    assert (number, type(error), str(error)) == (3, BudgetReached, "a\nb")


def test_the_key_is_in_no_text_and_in_no_argument(tmp_path):
    key = "sk-very-secret-key"
    with serve_offline_vlm(OfflineService()) as service:
        role = teacher(tmp_path, service.base_url, NYX_TEACHER_API_KEY=key)
        list(complete_all(role.for_step("raw_qa", None), [question(1)]))
        (courier,) = couriers_of(tmp_path)
        assert key not in Path(f"/proc/{courier}/cmdline").read_text()
        order = Order(
            service="chat", endpoint=settings_for(tmp_path, service.base_url).endpoints["teacher"], api_key=key,
            caps=settings_for(tmp_path, service.base_url).caps, images_root="i", vlm_root="v", replies_root="v",
        )  # fmt: skip
    assert key not in repr(order) + repr(CourierVLM(order))
