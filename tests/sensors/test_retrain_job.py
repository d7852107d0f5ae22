"""The launchpad of the job `retrain`, by GraphQL as the UI asks: it explains itself, takes effect, and refuses nonsense."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRun

from nyx_assets.registering import register_deliveries
from resources.home import Home
from resources.settings import Settings
from resources.vlm import STAND_IN_MODEL, complete_all
from resources.vlm_budget import Caps
from resources.vlm_roles import VLMRole, budget_of
from resources.vlm_server import OfflineService, serve_offline_vlm
from sensors.job_runs import caps_of
from sensors.retrain_job import RetrainConfig, Stage
from tests.deliveries import write_pages
from tests.launchpad import Launchpad
from tests.resources.test_vlm_courier import environment, question


@pytest.fixture(scope="module")
def service() -> Iterator[OfflineService]:
    with serve_offline_vlm(OfflineService()) as service:
        yield service


def paid(service: OfflineService) -> int:
    return sum(service.counts()["answers"].values())


@pytest.fixture(scope="module")
def launchpad(
    small_home: Path, service: OfflineService, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Launchpad]:
    """A home that was trained once, and to which a crawl of three pages came since."""
    folder = tmp_path_factory.mktemp("launchpad")
    shutil.copytree(small_home, folder / "home")
    shutil.copytree(small_home.parent / "crawl", folder / "crawl")
    write_pages(
        folder / "crawl" / "capes.parquet",
        *(f"Lighthouse {number} of Norvik was built in {1800 + number} by Marta Olsen." for number in range(3)),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NYX_HOME", str(folder / "home"))
        patch.setenv("NYX_CRAWL", str(folder / "crawl"))
        patch.setenv("NYX_RECIPE", "smoke")
        patch.setenv("NYX_TEACHER_BASE_URL", service.base_url)
        patch.setenv("NYX_TEACHER_MODEL", STAND_IN_MODEL)
        launchpad = Launchpad(Home.at(folder / "home"), "retrain", folder)
        register_deliveries(launchpad.home, launchpad.instance, folder / "crawl")
        yield launchpad
        launchpad.close()


def test_every_field_has_a_description_and_a_default_and_stages_are_listed(launchpad: Launchpad) -> None:
    fields = launchpad.fields()
    assert fields.keys() >= set(RetrainConfig.model_fields)
    for name, field in RetrainConfig.model_fields.items():
        assert fields[name]["description"] == field.description
        assert not fields[name]["isRequired"]
    assert [stage["value"] for stage in fields["Stage"]["values"]] == [stage.name for stage in Stage]


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"max_calls": -1}, "max_calls"),
        ({"max_usd": -0.5}, "max_usd"),
        ({"max_cals": 5}, "max_cals"),
        ({"only_until": "question"}, "only_until"),
        ({"dry_run": "perhaps"}, "dry_run"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_name_before_there_is_a_run(
    launchpad: Launchpad, config: dict[str, Any], named: str
) -> None:
    before = launchpad.instance.get_runs_count()
    answer = launchpad.launch(**config)
    assert answer["__typename"] in ("RunConfigValidationInvalid", "PythonError"), answer
    assert named in str(answer)
    assert launchpad.instance.get_runs_count() == before


def test_a_dry_run_plans_then_a_limit_of_calls_stops_and_a_run_until_the_questions_trains_nothing(
    launchpad: Launchpad, service: OfflineService
) -> None:
    home, trained = launchpad.home, launchpad.home.artifacts.require("pretrained_checkpoint").commit
    status, planned = launchpad.ended(dry_run=True, only_until="questions")
    assert status == "SUCCESS"
    assert 1 <= planned["calls"] <= 30
    assert "raw_qa capes: missing" in planned["plan"]
    assert "checkpoint" not in planned["plan"]
    assert home.commit("crawl_documents", "capes") is None
    assert paid(service) == 0

    status, failed = launchpad.ended(only_until="questions", max_calls=2)
    assert status == "FAILURE"
    assert (
        "limits of this run: max_calls 2, from what was spent before; the cap NYX_MAX_CALLS=2 leaves no room"
        in failed["failures"]
    )
    assert paid(service) == 2
    assert home.commit("raw_qa", "capes") is None

    status, done = launchpad.ended(only_until="questions", max_calls=2000, max_usd=1.0)
    assert status == "SUCCESS"
    assert {"raw_qa", "filtered_qa"} <= done["made"].keys()
    assert not {"negatives", "pretrained_checkpoint", "final_index"} & done["made"].keys()
    assert home.commit("filtered_qa", "capes") is not None
    assert home.artifacts.require("pretrained_checkpoint").commit == trained


def test_a_limit_counts_from_what_all_hosts_of_a_shared_home_spent_and_goes_on_with_what_dagster_starts_again(
    tmp_path: Path,
) -> None:
    limits = RetrainConfig(max_calls=5, max_usd=1.0)
    with serve_offline_vlm(OfflineService()) as service, DagsterInstance.ephemeral() as instance:
        env = environment(tmp_path / "mounted", service.base_url, NYX_MAX_CALLS="100", NYX_MAX_USD="50")
        settings, elsewhere = (Settings.from_env(env | {"NYX_LOCAL": str(tmp_path / one)}) for one in ("here", "there"))
        home = Home.at(settings.home)

        def spend(num_calls: int) -> None:
            there = VLMRole.of("teacher", elsewhere, Home.at(elsewhere.home))
            assert len(list(complete_all(there.for_step("raw_qa", None), map(question, range(num_calls))))) == num_calls
            there.close()

        spend(7)
        spent = budget_of(settings, home).spent_by_all()
        assert spent.calls == 7
        assert spent.usd > 0

        def caps(config: RetrainConfig, run_id: str, **of_run: Any) -> Caps:
            return caps_of(config, settings, home, instance, DagsterRun(job_name="retrain", run_id=run_id, **of_run))

        limited = caps(limits, "one")
        assert (limited.max_calls, limited.max_usd) == (12, pytest.approx(spent.usd + 1.0))
        assert caps(RetrainConfig(max_calls=5000), "other") == settings.caps, "the home's own caps stay above"
        spend(10)  # seven of them are kept
        of_run = {"root_run_id": "one", "parent_run_id": "one"}
        assert caps(limits, "by the daemon", **of_run, tags={"dagster/retry_number": "1"}) == limited
        assert caps(limits, "by a person", **of_run).max_calls == 15
