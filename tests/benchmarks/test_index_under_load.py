"""Searches go on, and go on being right, while the index under them is swapped, rolled back and made again."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.index import OpenIndex, measure
from resources.home import Home
from resources.index_exact import ExactIndex
from resources.index_milvus import MilvusIndex


@pytest.fixture(params=["exact", "milvus", "milvus_server"])
def open_index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenIndex]:
    if request.param == "exact":
        yield lambda: ExactIndex(str(tmp_path / "exact"))
    elif request.param == "milvus":
        yield lambda: MilvusIndex(str(tmp_path / "index.db"))
    else:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        program = str(Path(sys.executable).with_name("milvus-lite"))
        command = [program, "server", "--data-dir", str(tmp_path / "data"), "--port", str(port)]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for _ in range(200):
                with closing(socket.socket()) as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            yield lambda: MilvusIndex(f"http://127.0.0.1:{port}")
        finally:
            server.terminate()
            server.wait(timeout=20)


@pytest.mark.long
def test_no_search_fails_and_no_row_is_wrong_while_the_index_changes(open_index: OpenIndex, tmp_path: Path) -> None:
    home = Home.at(tmp_path / "home")
    report = measure(home, open_index, num_chunks=400, dim=16, index_type="FLAT", log=lambda line: None)
    assert report.failed == []
    assert report.wrong_rows == 0
    assert report.versions_answered == 3
    assert report.searches > 20
    assert report.recall_at_10 == 1.0
