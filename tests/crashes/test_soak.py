"""The soak of benchmarks/soak.py in small: two landings, one kill, an exact end state; and faults that it must see."""

import shutil
from pathlib import Path

import pytest

from benchmarks.soak import PAGES_A_LANDING, Outcome, faults, soak
from resources.home import Home


@pytest.mark.long
def test_two_landings_and_a_kill_end_with_every_page_once_in_tables_and_index(small_home: Path, tmp_path: Path) -> None:
    home = Path(shutil.copytree(small_home, tmp_path / "home"))
    crawl = Path(shutil.copytree(small_home.parent / "crawl", tmp_path / "crawl"))
    (home / "crawl.json").unlink()
    outcome = soak(home, crawl, landings=2, seconds=0, kills=1, kill_couriers=False, seed=1)
    assert outcome.faults == []
    assert outcome.kills == {"run": 1}
    assert outcome.requests == 2 * PAGES_A_LANDING
    assert outcome.answered_twice == 0

    damaged = Home.at(home)
    folder = home / "tables" / "crawl_documents"
    shutil.copytree(folder / "crawl=soak-00000", folder / "crawl=again")
    shutil.rmtree(home / "tables" / "chunked_corpus" / "crawl=soak-00001")
    said = "\n".join(faults(damaged, Outcome(pages=2 * PAGES_A_LANDING, answered_twice=1)))
    assert "page 0 stands 2 times" in said
    assert "pages have no chunk" in said
    assert "the tables hold" in said
    assert "1 answers too many" in said
