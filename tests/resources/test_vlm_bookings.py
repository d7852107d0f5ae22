"""A cap holds over all hosts of a shared home, whoever asks when, and whoever is killed."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from resources.home import Home
from resources.settings import Settings
from resources.stores import create_bytes
from resources.vlm import Reply, complete_all
from resources.vlm_bookings import SHARE, Bookings, HostSpending, Share
from resources.vlm_budget import Budget, Spending
from resources.vlm_cached import CachedVLM
from resources.vlm_folders import budget_in, replies_in
from resources.vlm_roles import VLMRole, budget_of
from resources.vlm_server import OfflineService, serve_offline_vlm
from tests.resources.test_vlm_budget import MOST, NO_CAPS, REAL, PricedVLM, ask
from tests.resources.test_vlm_courier import environment, question, wait_until
from training_kernels.errors import BudgetReached, ConfigError

NUM_CALLS = 60


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Host:
    """One host of a home on a mounted folder."""

    def __init__(self, store: Path, name: str, clock: Clock, **caps: float) -> None:
        self.journals = store / f"of {name}" / "journals"
        self.caps = replace(NO_CAPS, **caps)
        self.bookings = Bookings(f"{store}/bookings")
        share = Share(self.bookings, self.journals, self.caps)
        self.budget = Budget(self.journals, self.caps, replies_in(store), share=share, clock=clock)
        self.name = name
        self.num_calls = 0

    def call(self, most: Spending = MOST, real: Spending | None = REAL) -> bool:
        """Make a call; one without a real cost stays under way."""
        self.num_calls += 1
        digest = f"{self.name} {self.num_calls}"
        if not self.budget.start(digest, most):
            return False
        if real is not None:
            self.budget.settle(digest, real)
        return True

    def calls_until_the_cap(self) -> int:
        for number in range(1000):
            try:
                assert self.call()
            except BudgetReached:
                return number
        raise AssertionError("no cap")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def host(tmp_path: Path, clock: Clock) -> Callable[..., Host]:
    return lambda name, **caps: Host(tmp_path, name, clock, **caps)


@pytest.mark.parametrize(
    ("caps", "num_paid"), [({"max_calls": 40}, 40), ({"max_tokens": 1270}, 40), ({"max_usd": 10.75}, 40)]
)
def test_hosts_that_take_turns_use_a_cap_up_and_never_pass_it(host: Callable[..., Host], caps, num_paid: int) -> None:
    hosts = [host(name, **caps) for name in ("a", "b", "c")]
    paid, going = 0, list(hosts)
    while going:
        for one in list(going):
            try:
                paid += one.call()
            except BudgetReached:
                one.budget.give_back()
                going.remove(one)
        assert paid <= num_paid
    # what the first to stop gave back, whoever asks again may have
    assert paid + sum(one.calls_until_the_cap() for one in hosts) == num_paid


def test_a_host_that_died_keeps_what_it_had_booked_and_the_others_have_all_the_rest(host: Callable[..., Host]) -> None:
    dead = host("dead", max_calls=80)
    assert dead.call()
    survivor = host("survivor", max_calls=80)
    booked = 1 + 79 // SHARE
    assert survivor.calls_until_the_cap() == 80 - booked
    with pytest.raises(BudgetReached, match=rf"80 calls.*of these {booked} calls.*only booked, by .*give"):
        survivor.call()
    # it lives again, with the folder that it had
    again = host("dead", max_calls=80)
    again.num_calls = 100
    assert again.call()
    again.budget.give_back()
    assert survivor.calls_until_the_cap() == booked - 2


def test_a_host_that_was_killed_while_it_booked_is_counted_once(host: Callable[..., Host]) -> None:
    one = host("one", max_calls=80)
    assert one.call()
    (one.journals / "booking.json").unlink()  # killed between telling the others and noting it
    again, other = host("one", max_calls=80), host("other", max_calls=80)
    again.num_calls = 1
    assert again.calls_until_the_cap() == 79
    assert other.calls_until_the_cap() == 0


def test_what_is_booked_under_another_cap_or_before_another_moment_is_booked_anew(
    host: Callable[..., Host], clock: Clock
) -> None:
    assert host("a", max_calls=80).call()
    lowered = host("a", max_calls=3)
    lowered.num_calls = 1
    assert lowered.calls_until_the_cap() == 2
    clock.now += 3600
    since = {"max_calls": 5, "since": clock.now}
    fresh = host("b", **since)
    assert fresh.calls_until_the_cap() == 5
    assert fresh.budget.elsewhere().spent == Spending()
    seen = host("c", max_calls=9).budget.elsewhere()
    assert seen.spent.calls + seen.booked.calls == 8


def test_of_two_hosts_that_book_at_once_one_sees_the_other(host: Callable[..., Host]) -> None:
    one, other = host("one", max_calls=1), host("other", max_calls=1)
    enter, asked = other.bookings.enter, []

    def late(number: int, entry) -> bool:
        if not asked:
            asked.append(number)
            assert one.call()  # between the other's look and its entry
        return enter(number, entry)

    other.bookings.enter = late
    with pytest.raises(BudgetReached):
        other.call()
    assert asked == [1]


@pytest.mark.parametrize("place", ["folder", "s3"])
def test_a_number_that_was_entered_and_removed_since_a_host_looked_is_not_entered_again(
    place: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    root = f"{request.getfixturevalue('bucket')}/bookings" if place == "s3" else str(tmp_path / "bookings")
    ours, theirs = Bookings(root), Bookings(root)

    def entry(host: str, calls: int) -> HostSpending:
        return HostSpending(host=host, by_minute={}, ceiling=Spending(calls=calls), booked_at=0.0)

    assert ours.enter(1, entry("a", 1))
    looked, _ = ours.read()
    for number in (2, 3):
        assert theirs.enter(theirs.read()[0] + 1, entry("b", number))
    assert theirs.read()[0] == 3
    assert ours.enter(looked + 1, entry("a", 99)) is False, "it has not seen what number 3 books"
    assert theirs.read() == ours.read() == (3, {"a": entry("a", 1), "b": entry("b", 3)}), "and nothing of it stays"
    assert ours.enter(4, entry("a", 99))


def test_a_host_waits_for_its_own_calls_before_it_gives_up_on_the_cap(host: Callable[..., Host], clock: Clock) -> None:
    one = host("one", max_usd=2.0)
    assert one.call(real=None)
    assert one.call(real=None)
    assert one.call() is False
    one.budget.settle("one 1", REAL)
    clock.now += 1.1
    assert one.budget.start("one 3", MOST) is False  # 0.25 spent, 1.00 under way
    one.budget.settle("one 2", REAL)
    assert one.budget.start("one 3", MOST), "nothing is under way, so nobody has to wait to ask"


def test_hosts_without_a_cap_book_nothing_and_see_what_the_others_spent(host: Callable[..., Host]) -> None:
    one, other = host("one"), host("other")
    assert one.call()
    assert one.call()
    one.budget.give_back()
    assert other.call()
    seen = other.budget.elsewhere()
    assert (seen.spent, seen.booked, seen.hosts) == (REAL + REAL, Spending(), ())
    assert host("watcher").budget.elsewhere().spent == REAL + REAL + REAL


def test_a_store_that_does_not_answer_lets_no_capped_call_through_and_fails_none_that_was_made(
    host: Callable[..., Host], caplog: pytest.LogCaptureFixture
) -> None:
    free, capped = host("free"), host("capped", max_calls=20)
    assert capped.call()

    def down(*arguments: object) -> None:
        raise ConnectionError("the store is down")

    for one in (free, capped):
        one.bookings.read = down
    assert free.call()
    assert "do not see yet what this one has spent" in caplog.text
    for _ in range(19 // SHARE):  # what was booked before
        assert capped.call()
    with pytest.raises(ConnectionError, match="the store is down"):
        capped.call()
    capped.budget.give_back()


def test_looking_writes_nothing(host: Callable[..., Host], tmp_path: Path) -> None:
    assert host("one", max_calls=3).budget.elsewhere().spent == Spending()
    assert list(tmp_path.iterdir()) == []


def test_each_host_has_one_entry_and_a_torn_one_is_named(host: Callable[..., Host], tmp_path: Path) -> None:
    hosts = [host(name, max_calls=90) for name in ("a", "b")]
    for _ in range(30):
        assert all(one.call() for one in hosts)
    entries = sorted((tmp_path / "bookings").iterdir())
    assert len(entries) == 2
    entries[0].write_bytes(entries[0].read_bytes()[:10])
    with pytest.raises(ConfigError, match=f"{entries[0]}.*was torn.*remove it when no host is making calls"):
        host("c", max_calls=90).call()


def test_a_booking_that_finds_no_room_on_the_disk_leaves_nothing_that_holds_other_hosts_up(
    host: Callable[..., Host], tmp_path: Path
) -> None:
    one, other = host("one", max_calls=9), host("other", max_calls=9)
    full = Bookings(f"{tmp_path}/bookings")
    entry = HostSpending(host="full", by_minute={}, ceiling=MOST, booked_at=0.0)
    assert one.call()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            full.enter(2, entry)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert other.call()
    assert full.enter(3, entry)
    with pytest.raises(FileExistsError):
        create_bytes(full._fs, f"{tmp_path}/bookings/00000003.json", b"")
    assert full.read()[1]["full"] == entry, "who comes second removes nothing"


def start(store: str, local: Path, first: int, *, max_calls: int, seconds: float = 0.0) -> "subprocess.Popen[str]":
    """A host that asks as much as it may, and says at the end how much that was."""
    code = (
        "import sys; import tests.resources.test_vlm_bookings as t; "
        f"t.spend({store!r}, {str(local)!r}, {first}, {max_calls}, {seconds})"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], env=os.environ, stdout=subprocess.PIPE, text=True
    )


def spend(store: str, local: str, first: int, max_calls: int, seconds: float) -> None:
    inner = PricedVLM(4, seconds=seconds)
    budget = budget_in(Path(local) / "vlm", replace(NO_CAPS, max_calls=max_calls), store=f"{store}/vlm")
    vlm = CachedVLM(inner, replies_in(f"{store}/vlm"), budget)
    print("asking", flush=True)
    try:
        ask(vlm, [str(number) for number in range(first, first + 2 * max_calls)])
    except BudgetReached:
        budget.give_back()
        print(json.dumps(len(inner.asked)))


def said(job: "subprocess.Popen[str]") -> int:
    return int(job.communicate(timeout=120)[0].split()[-1])


@pytest.mark.long
def test_hosts_on_s3_that_spend_at_once_stay_within_the_cap_and_one_that_is_killed_holds_nobody_up(
    bucket: str, tmp_path: Path
) -> None:
    doomed = start(bucket, tmp_path / "doomed", 0, max_calls=NUM_CALLS, seconds=60.0)
    until = time.monotonic() + 60
    while not (tmp_path / "doomed" / "vlm" / "journals" / "booking.json").exists() and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.3)
    doomed.kill()
    doomed.communicate()
    booked = 1 + (NUM_CALLS - 1) // SHARE
    began = time.monotonic()
    jobs = [start(bucket, tmp_path / name, 1000 * n, max_calls=NUM_CALLS) for n, name in enumerate(("one", "other"), 1)]
    paid = [said(job) for job in jobs]
    assert time.monotonic() - began < 50, "nobody waited for the dead"
    assert all(paid), "each had its share"
    assert sum(paid) <= NUM_CALLS - booked
    # the calls of the dead may have been billed; it lives again, and what it had not begun is free
    under_way = budget_in(tmp_path / "doomed" / "vlm", NO_CAPS).spent().calls
    assert 1 <= under_way <= 4
    revived = said(start(bucket, tmp_path / "doomed", 5000, max_calls=NUM_CALLS))
    assert sum(paid) + under_way + revived == NUM_CALLS
    seen = budget_in(tmp_path / "watcher" / "vlm", NO_CAPS, store=f"{bucket}/vlm").elsewhere()
    assert seen is not None
    assert (seen.spent.calls, seen.booked) == (NUM_CALLS, Spending())


def test_the_process_that_makes_the_calls_gives_back_what_it_did_not_spend(tmp_path: Path) -> None:
    with serve_offline_vlm(OfflineService()) as service:
        env = environment(tmp_path / "mounted", service.base_url, NYX_LOCAL=str(tmp_path / "here"), NYX_MAX_CALLS="80")
        settings = Settings.from_env(env)
        teacher = VLMRole.of("teacher", settings, Home.at(settings.home))
        replies = list(complete_all(teacher.for_step("raw_qa", None), map(question, range(3))))
        assert all(isinstance(reply, Reply) for reply in replies)
        there = Settings.from_env(env | {"NYX_LOCAL": str(tmp_path / "there")})
        watcher = budget_of(there, Home.at(there.home))
        booked = watcher.elsewhere()
        assert booked is not None
        assert booked.spent.calls + booked.booked.calls >= 3 + 60 // SHARE, "it lives, and may go on"
        wait_until(lambda: watcher.elsewhere().booked == Spending())  # it lives, and nobody asks it
        assert teacher.spent_of_cap().startswith("3 calls, ")
        assert teacher.spent_of_cap().endswith(" USD spent, at most 80 calls")
        assert watcher.elsewhere().spent.calls == 3
        assert len(list(complete_all(teacher.for_step("raw_qa", None), map(question, range(5))))) == 5
        assert watcher.elsewhere().booked.calls
        teacher.close()
    wait_until(lambda: watcher.elsewhere().booked == Spending())
    assert watcher.elsewhere().spent.calls == watcher.spent_by_all().calls == 5
