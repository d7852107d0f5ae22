"""What all tests share: where the shared real data lies, and a process without network or GPU surprises."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sample_crawl import generate

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")

ROOT = Path(__file__).resolve().parent.parent


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

    Beside it lie `crawl/` and the run's own `report.json`.
    """
    folder = tmp_path_factory.mktemp("small")
    crawl, home = folder / "crawl", folder / "home"
    generate(crawl, num_pages=18, num_partitions=2)
    nyx = Path(sys.executable).with_name("nyx")
    env = {**os.environ, "NYX_HOME": str(home), "NYX_RECIPE": "smoke", "OMP_NUM_THREADS": "1"}
    made = subprocess.run([nyx, "run", "--crawl", crawl, "--json"], env=env, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    (folder / "report.json").write_text(made.stdout)
    return home
