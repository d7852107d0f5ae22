"""One process at a time works on what a lease names, on storage without locks; none waits for the dead."""

import signal
import subprocess
import sys
import threading
import time
import uuid

import pytest
from botocore.exceptions import EndpointConnectionError

from resources.leases import Leases
from training_kernels.errors import LeaseLost

HOLDER = """
import sys
sys.path[:0] = sys.argv[2:]
from resources.leases import Leases
with Leases(sys.argv[1], seconds=1.0).held("pages of one", log=print):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(params=["memory", "s3", "folder"])
def root(request: pytest.FixtureRequest, tmp_path) -> str:
    if request.param == "s3":
        return f"{request.getfixturevalue('bucket')}/leases"
    return f"memory://{uuid.uuid4().hex}" if request.param == "memory" else str(tmp_path / "mounted")


def quiet(message: str) -> None:
    """Nobody reads it."""


def test_a_lease_is_free_then_held_then_free_again(root: str) -> None:
    ours, theirs = Leases(root), Leases(root)
    for _ in range(3):
        with ours.held("pages/of one", log=quiet), theirs.held_if_free("pages/of one") as theirs_now:
            assert theirs_now is None
            with theirs.held_if_free("pages") as other:
                assert other is not None
        assert theirs.holder("pages/of one") == "nobody"


def test_who_waits_says_for_whom_and_goes_on_when_the_lease_is_given_back(root: str) -> None:
    said: list[str] = []
    order: list[str] = []
    ours, theirs = Leases(root, seconds=3.0), Leases(root, seconds=3.0)

    def wait() -> None:
        with theirs.held("index", log=said.append):
            order.append("second")

    with ours.held("index", log=quiet):
        waiting = threading.Thread(target=wait)
        waiting.start()
        deadline = time.monotonic() + 20
        while not said and time.monotonic() < deadline:
            time.sleep(0.01)
        order.append("first")
    waiting.join(20)
    assert order == ["first", "second"]
    assert "waiting: process" in said[0]
    assert "works on index" in said[0]


def test_a_holder_that_renews_keeps_its_lease_longer_than_the_silence_that_ends_one(root: str) -> None:
    ours, theirs = Leases(root, seconds=0.9), Leases(root, seconds=0.9)
    taken = threading.Event()

    def wait() -> None:
        with theirs.held("index", log=quiet):
            taken.set()

    with ours.held("index", log=quiet) as lease:
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not taken.wait(2.5)
        ours.require(lease)
    assert taken.wait(20)
    waiting.join()


def test_a_holder_keeps_its_lease_over_a_time_in_which_the_store_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = f"memory://{uuid.uuid4().hex}"
    ours, theirs = Leases(root, seconds=0.9), Leases(root, seconds=0.9)
    taken = threading.Event()
    failed: list[str] = []
    find = ours._fs.find

    def unreachable(path: str, **options):
        if threading.current_thread().name == "lease index" and len(failed) < 3:
            failed.append(path)
            raise EndpointConnectionError(endpoint_url="http://store")
        return find(path, **options)

    def wait() -> None:
        with theirs.held("index", log=quiet):
            taken.set()

    monkeypatch.setattr(ours._fs, "find", unreachable)
    with ours.held("index", log=quiet) as lease:
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not taken.wait(2.0)
        assert len(failed) == 3
        ours.require(lease)
    assert taken.wait(20)
    waiting.join()


def test_of_many_who_ask_at_once_one_gets_the_lease(root: str) -> None:
    """The creation alone: whoever has read the same state asks for the same number."""
    barrier, won = threading.Barrier(8), []

    def ask() -> None:
        leases = Leases(root)
        barrier.wait()
        if leases._created("index", 1) is not None:
            won.append(1)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


def test_the_lease_of_a_killed_process_is_taken_over_and_not_before_it_was_silent(bucket: str) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, bucket, *sys.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    ours = Leases(bucket, seconds=1.0)
    assert ours.take("pages of one") is None
    begun = time.monotonic()
    with ours.held("pages of one", log=quiet) as lease:
        assert time.monotonic() - begun > 1.0
        assert lease.number == 2


def test_a_holder_that_slept_finds_out_before_it_puts_anything_in_place(root: str) -> None:
    asleep, awake = Leases(root, seconds=1000.0), Leases(root, seconds=0.2)
    with asleep.held("index", log=quiet) as lost:
        asleep.require(lost)
        gone = pytest.raises(LeaseLost, match=r"index: this process was silent .* took it over")
        with awake.held("index", log=quiet), gone:
            asleep.require(lost)
    assert awake.take("index") is not None  # the sleeper gave back what was its own, and no more


def test_a_lease_that_another_host_takes_between_two_looks_is_only_held(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On S3, `find` asks twice where it found nothing: for files below, then for the path itself."""
    ours, theirs = Leases(bucket), Leases(bucket)
    look = type(ours._fs)._info

    async def late(self, path: str, *arguments, **options):
        with monkeypatch.context() as once:
            once.setattr(type(ours._fs), "_info", look)
            await self._pipe_file(f"{path}/00000001.json", b'{"process": 1}')
        return await look(self, path, *arguments, **options)

    monkeypatch.setattr(type(ours._fs), "_info", late)
    taken = ours.take("index of a")
    monkeypatch.undo()
    assert taken is None
    assert theirs.take("index of a") is None


def test_who_waits_for_all_waits_for_what_is_held_now_and_not_for_the_dead_nor_for_itself(root: str) -> None:
    said: list[str] = []
    ours, theirs = Leases(root, seconds=0.6), Leases(root, seconds=0.6)
    dead = theirs.take("of a host that died")
    assert dead is not None
    with theirs.held("given/back", log=quiet):
        pass
    ended = threading.Event()

    def work() -> None:
        with theirs.held("pages of one", log=quiet):
            begun.set()
            time.sleep(1.3)
            ended.set()

    begun = threading.Event()
    working = threading.Thread(target=work)
    working.start()
    assert begun.wait(20)
    with ours.held("takedown", log=quiet):
        ours.wait_for_all(["takedown"], log=said.append)
        assert ended.is_set()
    working.join()
    assert [line.split(" works on ")[1] for line in said] == ["of a host that died", "pages of one"]
    Leases(f"{root}-new").wait_for_all([], log=said.append)
    assert len(said) == 2


def test_who_waits_for_all_waits_for_who_takes_over_meanwhile_as_well(root: str) -> None:
    ours, heir = Leases(root, seconds=5.0), Leases(root, seconds=0.3)
    assert ours.take("pages of one") is not None  # by a process that died
    waits, ended = threading.Event(), threading.Event()

    def take_over() -> None:
        assert waits.wait(20)
        with heir.held("pages of one", log=quiet) as lease:
            assert lease.number == 2
            time.sleep(0.5)
            ended.set()

    taking = threading.Thread(target=take_over)
    taking.start()
    ours.wait_for_all([], log=lambda line: waits.set())
    assert ended.is_set()
    taking.join()


def test_whether_a_holder_is_done_shows_to_who_looks_again(root: str) -> None:
    ours, theirs = Leases(root, seconds=1.5), Leases(root, seconds=1.5)
    with theirs.held("pages", log=quiet) as held:
        taken = ("pages", held.number)
        assert (ours.number("pages"), ours.is_over(*taken)) == (held.number, None), "it may be silent or not"
        assert ours.over({taken}, log=quiet) == set(), "it was renewed"
        assert ours.is_over("pages", held.number - 1), "another holds it"
        assert ours.is_over("pages", held.number + 1) is None, "it was taken in another store"
    assert ours.over({taken}, log=quiet) == {taken}
    silent = theirs.take("pictures")
    assert silent is not None
    said: list[str] = []
    began = time.monotonic()
    assert ours.over({("pictures", silent.number), taken}, log=said.append) == {("pictures", silent.number), taken}
    assert 1.5 <= time.monotonic() - began < 10.0
    assert said == ["waiting: do their holders live, of pictures?"]


def test_a_time_in_which_the_store_does_not_answer_is_no_silence(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Leases(root, seconds=0.3)
    held = Leases(root).take("pages")
    assert held is not None
    assert ours.is_over("pages", held.number) is None

    def unreachable(what: str) -> tuple[int, bytes]:
        raise EndpointConnectionError(endpoint_url="http://store")

    with monkeypatch.context() as patch:
        patch.setattr(ours, "_latest", unreachable)
        with pytest.raises(EndpointConnectionError):
            ours.is_over("pages", held.number)
    time.sleep(0.4)
    assert ours.is_over("pages", held.number) is None
    time.sleep(0.4)
    assert ours.is_over("pages", held.number)


def test_names_that_nobody_holds_cost_who_waits_for_all_one_listing_together(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    looks: list[str] = []
    ours, theirs = Leases(root, seconds=0.6), Leases(root, seconds=0.6)
    for number in range(8):
        with theirs.held(f"pages/of {number}", log=quiet):
            pass
    fs, folder = ours._fs, f"{ours._base}/pages%2Fof 3".replace(" ", "%20")
    fs.pipe_file(f"{folder}/00000002.json", b'{"given_back": "now"}')
    fs.pipe_file(f"{folder}/00000001.json", b'{"process": 1}')  # of one that was taken over, not removed yet
    assert theirs.take("pages/of 7") is not None
    look = fs.find
    monkeypatch.setattr(fs, "find", lambda path, **options: looks.append(path) or look(path, **options))
    ours.wait_for_all([], log=said.append)
    assert [line.split(" works on ")[1] for line in said] == ["pages/of 7"]  # dead: it is waited for until it is silent
    assert [path for path in looks if not path.endswith("%2Fof%207")] == [ours._base]
