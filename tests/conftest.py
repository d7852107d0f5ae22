"""What all tests share: where the shared real data lies, and a process without network or GPU surprises."""

import fcntl
import ipaddress
import logging
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from sample_crawl import generate

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# A shell that starts tests in the background has them ignore SIGINT; Dagster then has SIGTERM ignored as well, and what
# tests start could not be ended any more.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")

ROOT = Path(__file__).resolve().parent.parent


LONGEST_FIRST = (
    "browser/test_landing_day.py",
    "browser/test_dagster_ui.py",
    "training_kernels/test_distributed.py",
    "sensors/test_refresh.py",
    "nyx_assets/nyxqa/test_assets.py",
    "nyx_assets/test_money.py",
    "nyx_assets/test_backfilling.py",
    "training_kernels/test_resume.py",
    "nyx_assets/doctor/test_doctor.py",
)
"""Files, below tests/, that go first: of two workers, none is left with a long one in the end."""


def pytest_configure(config: pytest.Config) -> None:
    """Tests say what a CPU does; a GPU is hidden from them, and from what they start, unless those for a GPU are run."""
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if why_not := why_no_gpu(config.option.markexpr, items):
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason=why_not))
    place = {ROOT / "tests" / file: number for number, file in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


def why_no_gpu(markexpr: str, items: list[pytest.Item]) -> str:
    """Why tests for a GPU cannot run, or ""."""
    if markexpr != "gpu":
        return "GPUs are hidden from all tests but those of `make test-gpu`"
    if not items:
        return ""
    import torch

    return "" if torch.cuda.is_available() else f"torch {torch.__version__} sees no CUDA device here"


class ReachedOutside(AssertionError):
    """A test tried to leave the machine."""


ATTEMPTS: list[str] = []
"""Every attempt to leave the machine since the guard last looked."""


def _refuse_to_leave(event: str, args: tuple) -> None:
    """Python's audit hook: sees every connection and every look-up of a name, whichever library makes it."""
    if event in ("socket.connect", "socket.sendto"):
        connection, address = args[0], args[1]
        if connection.family not in (socket.AF_INET, socket.AF_INET6):
            return
        host = address[0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0]
    else:
        return
    if not _is_here(host):
        ATTEMPTS.append(f"{event} {host!r}")
        raise ReachedOutside(f"a test reached outside the machine: {ATTEMPTS[-1]}; serve it on a loopback address")


def _is_here(host: str | bytes | None) -> bool:
    name = host.decode() if isinstance(host, bytes) else host or "localhost"
    if name in ("localhost", socket.gethostname()):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


sys.addaudithook(_refuse_to_leave)


@pytest.fixture(autouse=True)
def network_guard() -> Iterator[list[str]]:
    """Fails a test that tried to leave the machine, even if it caught the refusal."""
    ATTEMPTS.clear()
    yield ATTEMPTS
    assert not ATTEMPTS, f"this test reached outside the machine: {ATTEMPTS}"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real pages, queries and question sets that lies beside a checkout of the project."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared real pages are not here: ../shared/data beside the checkout")
    return folder


@pytest.fixture(scope="session")
def small_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that `nyx run` made of a small sample crawl with the recipe `smoke`; read it, or copy it to change it.

    Beside it lie `crawl/` and the run's own `report.json`. Processes that run tests side by side share it.
    """
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "small"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "report.json").is_file():
            make_small_home(folder)
    return folder / "home"


def make_small_home(folder: Path) -> None:
    crawl, home = folder / "crawl", folder / "home"
    generate(crawl, num_pages=18, num_partitions=2)
    nyx = Path(sys.executable).with_name("nyx")
    env = {**os.environ, "NYX_HOME": str(home), "NYX_RECIPE": "smoke", "OMP_NUM_THREADS": "1"}
    made = subprocess.run([nyx, "run", "--crawl", crawl, "--json"], env=env, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    (folder / "report.json").write_text(made.stdout)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[None]:
    """A server of this machine that speaks S3 (moto's), and the environment that leads this process and its children there."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "tests")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.filesystem("s3", use_listings_cache=False).mkdir("nyx-tests")
        yield
    server.stop()


@pytest.fixture
def bucket(s3_server: None) -> str:
    """An empty prefix of a bucket on the S3 server."""
    return f"s3://nyx-tests/{uuid.uuid4().hex}"
