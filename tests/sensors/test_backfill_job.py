"""The launchpad of the job `backfill`: chosen partitions made again, with a teacher and prompts of the run's own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nyx_assets.prompts import load_prompt
from resources.home import Home
from resources.settings import Settings, changed_settings, unpriced
from resources.vlm import STAND_IN_MODEL
from resources.vlm_server import OfflineService, serve_offline_vlm
from sensors.backfill_job import BackfillConfig
from tests.launchpad import Launchpad
from tests.nyx_assets.test_backfilling import CRAWLS, World, own_prompts
from training_kernels.errors import ConfigError

CALLS = 3
"""Of a crawl of the world: one chunk a page, asked about in one way."""
STALE = """
query Stale($asset: AssetKeyInput!) { assetNodeOrError(assetKey: $asset) { ... on AssetNode {
    harbour: staleStatus(partition: "harbour") inland: staleStatus(partition: "inland") islands: staleStatus(partition: "islands")
} } }"""


@pytest.fixture(scope="module")
def second() -> Iterator[OfflineService]:
    """Another teacher."""
    with serve_offline_vlm(OfflineService(model="second-teacher")) as service:
        yield service


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("backfill_job")
    with serve_offline_vlm(OfflineService()) as service, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NYX_HOME", str(folder / "home"))
        patch.setenv("NYX_CRAWL", str(folder / "crawl"))
        patch.setenv("NYX_RECIPE", "smoke")
        patch.setenv("NYX_TEACHER_BASE_URL", service.base_url)
        patch.setenv("NYX_TEACHER_MODEL", STAND_IN_MODEL)
        yield World(folder, service)


@pytest.fixture(scope="module")
def launchpad(made: World) -> Iterator[Launchpad]:
    launchpad = Launchpad(made.home, "backfill", made.home.root.parent)
    yield launchpad
    launchpad.close()


def paid(service: OfflineService) -> int:
    return sum(service.counts()["answers"].values())


def teachers(home: Home) -> dict[str, set[str]]:
    """Who wrote the pairs of each crawl."""
    return {crawl: set(home.tables.read("raw_qa", partition=crawl).column("teacher").to_pylist()) for crawl in CRAWLS}


def stale(launchpad: Launchpad, asset: str) -> dict[str, str]:
    return dict(launchpad.ask(STALE, asset={"path": [asset]}))


@pytest.mark.long
def test_every_field_has_a_description_and_a_default(launchpad: Launchpad) -> None:
    fields = launchpad.fields()
    assert fields.keys() >= set(BackfillConfig.model_fields)
    for name, field in BackfillConfig.model_fields.items():
        assert fields[name]["description"] == field.description
        assert not fields[name]["isRequired"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"partitions": ["harbour"], "all_partitions": True}, "exclude each other"),
        ({"partitions": "harbour", "asset": ["raw_qa"]}, "asset"),
        ({"max_usd": -1}, "max_usd"),
        ({"settings": {"NYX_TEACHR_MODEL": "x"}}, "NYX_TEACHR_MODEL is no setting"),
        ({"settings": {"NYX_HOME": "/elsewhere"}}, "NYX_HOME is of the whole installation"),
        ({"settings": {"NYX_RECIPE": ["smoke"]}}, "NYX_RECIPE"),
        (
            {"settings": {"NYX_TEACHER_MODEL": "b"}, "max_usd": 5},
            "put NYX_TEACHER_USD_PER_MILLION_INPUT and NYX_TEACHER_",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_name_before_there_is_a_run(
    launchpad: Launchpad, config: dict[str, Any], named: str
) -> None:
    before = launchpad.instance.get_runs_count()
    answer = launchpad.launch(**config)
    assert answer["__typename"] in ("RunConfigValidationInvalid", "PythonError"), answer
    assert named in str(answer)
    assert launchpad.instance.get_runs_count() == before


@pytest.mark.long
@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "say which"),
        ({"partitions": ["harbor"]}, "crawl partition 'harbor' is unknown; near it: harbour"),
        ({"assets": ["raw_qas"], "all_partitions": True}, "asset 'raw_qas' is unknown; near it: raw_qa"),
        ({"partitions": ["harbour"], "settings": {"NYX_PROMPTS": "/nowhere"}}, "NYX_PROMPTS must be a folder"),
    ],
)
def test_what_is_not_there_fails_the_run_in_words_and_makes_nothing(
    launchpad: Launchpad, made: World, config: dict[str, Any], said: str
) -> None:
    before = made.versions("raw_qa")
    assert said in launchpad.failure(**config)
    assert made.versions("raw_qa") == before


@pytest.mark.long
def test_two_partitions_get_another_teacher_and_prompt_and_only_what_depends_on_them_is_stale_and_made(
    launchpad: Launchpad, made: World, second: OfflineService, tmp_path: Path
) -> None:
    packaged = load_prompt("nyx_assets.nyxqa", "write_text_only_qa.v1")
    chosen = {
        "partitions": ["harbour", "inland"],
        "settings": {
            "NYX_TEACHER_BASE_URL": second.base_url,
            "NYX_TEACHER_MODEL": "second-teacher",
            "NYX_PROMPTS": str(own_prompts(tmp_path)),  # which the environment does not name
        },
    }
    raw, pairs = made.versions("raw_qa"), made.versions("filtered_qa")
    assert set(stale(launchpad, "filtered_qa").values()) == {"FRESH"}

    status, planned = launchpad.ended(**chosen, dry_run=True)
    assert (status, planned["calls"], paid(second)) == ("SUCCESS", 2 * CALLS, 0)
    status, stopped = launchpad.ended(**chosen, max_calls=CALLS)
    assert status == "FAILURE"
    assert f"limits of this run: max_calls {CALLS}" in stopped["failures"]
    assert paid(second) == CALLS
    status, done = launchpad.ended(**chosen)
    assert (status, done["made"]) == ("SUCCESS", {"raw_qa": 2})
    assert paid(second) == 2 * CALLS  # those of before are not paid again
    assert "filtered_qa of 2 partitions: harbour, inland" in done["stale after"]
    assert teachers(made.home) == {
        "harbour": {"second-teacher"}, "inland": {"second-teacher"}, "islands": {STAND_IN_MODEL},
    }  # fmt: skip
    versions = {
        crawl: set(made.home.tables.read("raw_qa", partition=crawl).column("prompt_version").to_pylist())
        for crawl in CRAWLS
    }
    assert versions["islands"] == {packaged.version}
    assert versions["harbour"] == versions["inland"] != versions["islands"]
    assert load_prompt("nyx_assets.nyxqa", "write_text_only_qa.v1") == packaged  # in this process, for what follows

    again = made.versions("raw_qa")
    assert stale(launchpad, "filtered_qa") == {"harbour": "STALE", "inland": "STALE", "islands": "FRESH"}
    first = paid(made.service)
    assert made.nyx("backfill", "filtered_qa", "--partitions", "harbour").exit_code == 0
    launchpad.job = "retrain"
    status, done = launchpad.ended(only_until="questions")
    launchpad.job = "backfill"
    assert status == "SUCCESS"
    assert done["made"]["filtered_qa"] == 1  # inland; harbour was made just before
    assert made.versions("raw_qa") == again  # what was made by another teacher stays
    after = made.versions("filtered_qa")
    assert (after["islands"], again["islands"]) == (pairs["islands"], raw["islands"])
    assert all(after[crawl][1] != pairs[crawl][1] for crawl in ("harbour", "inland"))
    assert set(stale(launchpad, "filtered_qa").values()) == {"FRESH"}
    assert paid(made.service) == first  # the second teacher wrote the same pairs, which were refined before
    assert {crawl for (asset, crawl) in made.asked() if asset == "filtered_qa"} == set(CRAWLS)

    launchpad.ended(partitions_like="h*", with_downstream=True)  # with what Dagster was started with
    assert teachers(made.home) == {
        "harbour": {STAND_IN_MODEL},
        "inland": {"second-teacher"},
        "islands": {STAND_IN_MODEL},
    }
    assert stale(launchpad, "filtered_qa")["harbour"] == "FRESH"
    assert paid(made.service) == first


ENV = {
    "NYX_HOME": "home",
    "NYX_TEACHER_BASE_URL": "http://one/v1",
    "NYX_TEACHER_MODEL": "a",
    "NYX_TEACHER_API_KEY": "secret of one",
    "NYX_OTHER_API_KEY": "secret of other",
    "PASSWORD": "no key",
}


def test_a_key_is_named_and_not_given_and_goes_to_no_other_server() -> None:
    changed = changed_settings(ENV, {"NYX_TEACHER_API_KEY": "NYX_OTHER_API_KEY", "NYX_TEACHER_MODEL": "b"})
    assert (changed.api_keys["teacher"], changed.endpoints["teacher"].model) == ("secret of other", "b")
    assert changed_settings(ENV, {"NYX_TEACHER_MODEL": "b"}).api_keys["teacher"] == "secret of one"
    assert changed_settings(ENV, {"NYX_TEACHER_BASE_URL": "http://two/v1"}).api_keys["teacher"] == "none"
    assert changed_settings(ENV, {}) == Settings.from_env(ENV)
    for value in ("sk-123", "PASSWORD"):
        with pytest.raises(
            ConfigError, match="NYX_TEACHER_API_KEY must be the name of an environment variable"
        ) as refused:
            changed_settings(ENV, {"NYX_TEACHER_API_KEY": value})
        assert value not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"NYX_JUDGE_MODEL": "b"},
            "NYX_JUDGE_MODEL is no setting, or has no effect",
        ),  # there is no server of the judge
        ({"NYX_RECIPES": "tiny"}, "near it: NYX_RECIPE"),
        ({"NYX_ALERT_WEBHOOK": "https://one"}, "is of the whole installation"),
        ({"NYX_MAX_USD": "1000"}, "is of the whole installation"),
        ({"NYX_TEACHER_BASE_URL": "http://me:password@two/v1"}, "must not hold a user or a password"),
    ],
)
def test_what_one_run_may_not_change_is_refused_by_name(given: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        changed_settings(ENV, given)


def test_what_a_dearer_model_costs_has_to_be_said() -> None:
    assert unpriced({"NYX_TEACHER_MODEL": "b", "NYX_TEACHER_USD_PER_MILLION_INPUT": "1"}) == [
        "NYX_TEACHER_USD_PER_MILLION_OUTPUT"
    ]
    assert unpriced({"NYX_EMBEDDER_BASE_URL": "http://two/v1"}) == ["NYX_EMBEDDER_USD_PER_MILLION_INPUT"]
    assert unpriced({"NYX_PROMPTS": "mine", "NYX_RECIPE": "tiny"}) == []
