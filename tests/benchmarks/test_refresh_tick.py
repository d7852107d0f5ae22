"""The home of benchmarks/refresh.py: nothing is to be made in it, and a landing is."""

from pathlib import Path

from benchmarks.refresh import Resting, report, seconds_of_retraining, trained_home
from nyx_assets.quarantine import LANDED


def test_a_home_at_rest_asks_for_nothing_and_one_landing_for_its_chain(tmp_path: Path) -> None:
    home = Resting(tmp_path / "home", 3)
    try:
        home.tick()
        assert home.tick()[1] == 0
        report(home.instance, LANDED, "c00000", "2")
        assert home.tick()[1] == 3  # crawl_documents, rejected_documents, link_rot
        assert home.tick()[1] == 0
    finally:
        home.close()


def test_a_home_that_was_trained_on_has_nothing_new(tmp_path: Path) -> None:
    assert seconds_of_retraining(trained_home(tmp_path / "home", 3)) > 0
