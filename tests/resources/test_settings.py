"""The environment becomes settings, or a message that names the variable."""

from pathlib import Path

import pytest

from resources.settings import Settings
from training_kernels.errors import ConfigError

SERVER = {"NYX_JUDGE_BASE_URL": "http://127.0.0.1:8000/v1", "NYX_JUDGE_MODEL": "judge-7b"}


def test_an_empty_environment_is_the_embedded_default() -> None:
    settings = Settings.from_env({})
    assert settings.home == Path("nyx_home")
    assert settings.recipe == "tiny"
    assert settings.landing_seconds == 30
    assert settings.crawl is settings.backbone is settings.index_uri is None
    assert settings.endpoints == {}


def test_every_variable_arrives_where_it_belongs() -> None:
    settings = Settings.from_env(
        {
            "NYX_HOME": "h", "NYX_CRAWL": "c", "NYX_RECIPE": "nyx_paper", "NYX_BACKBONE": "b", "NYX_INDEX_URI": "http://m",
            "NYX_TEACHER_BASE_URL": "http://t/v1", "NYX_TEACHER_MODEL": "t-72b", "NYX_TEACHER_API_KEY": "key-of-t",
            "NYX_TEACHER_MAX_IN_FLIGHT": "32", "NYX_TEACHER_TIMEOUT_SECONDS": "12.5", "NYX_TEACHER_MAX_RETRIES": "0",
            "NYX_TEACHER_USD_PER_MILLION_INPUT": "0.15", "NYX_TEACHER_USD_PER_MILLION_OUTPUT": "0.6",
        }
    )  # fmt: skip
    assert (settings.home, settings.crawl) == (Path("h"), Path("c"))
    assert (settings.recipe, settings.backbone, settings.index_uri) == ("nyx_paper", "b", "http://m")
    assert set(settings.endpoints) == {"teacher"}
    teacher = settings.endpoints["teacher"]
    assert (teacher.base_url, teacher.model) == ("http://t/v1", "t-72b")
    assert (teacher.max_in_flight, teacher.timeout_seconds, teacher.max_retries) == (32, 12.5, 0)
    assert (teacher.price_per_million_input_tokens, teacher.price_per_million_output_tokens) == (0.15, 0.6)
    assert settings.api_keys["teacher"] == "key-of-t"
    assert "key-of-t" not in repr(settings)


def test_a_variable_that_is_set_to_nothing_is_not_set() -> None:
    assert Settings.from_env(
        {"NYX_HOME": "", "NYX_CRAWL": "", "NYX_RECIPE": "", "NYX_JUDGE_BASE_URL": ""}
    ) == Settings.from_env({})


def test_a_server_without_a_model_is_named() -> None:
    with pytest.raises(ConfigError, match="NYX_JUDGE_BASE_URL is set but NYX_JUDGE_MODEL is not: name the model"):
        Settings.from_env({"NYX_JUDGE_BASE_URL": "http://j/v1"})


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("MAX_IN_FLIGHT", "0", "must be a number of at least 1, got '0'"),
        ("MAX_IN_FLIGHT", "many", "must be a number of at least 1, got 'many'"),
        ("MAX_IN_FLIGHT", "2.5", "must be a whole number of at least 1, got '2.5'"),
        ("MAX_IN_FLIGHT", "inf", "must be a number"),
        ("MAX_RETRIES", "-1", "must be a number of at least 0, got '-1'"),
        ("TIMEOUT_SECONDS", "nan", "must be a number of at least 1, got 'nan'"),
        ("USD_PER_MILLION_OUTPUT", "-0.5", "must be a number of at least 0"),
    ],
)
def test_an_impossible_number_is_named_with_its_variable(name: str, value: str, says: str) -> None:
    with pytest.raises(ConfigError, match=f"^NYX_JUDGE_{name} {says}"):
        Settings.from_env({**SERVER, f"NYX_JUDGE_{name}": value})


def test_further_generators_have_a_server_each_and_keep_their_keys_to_themselves() -> None:
    env = {
        "NYX_GENERATORS": "Qwen, intern_8b", "NYX_ROUNDS": "3", "NYX_CAPTION_EMBEDDER": "sentence-transformers:e5",
        "NYX_QWEN_BASE_URL": "http://q/v1", "NYX_QWEN_MODEL": "q", "NYX_QWEN_API_KEY": "key-of-q",
        "NYX_INTERN_8B_BASE_URL": "http://i/v1", "NYX_INTERN_8B_MODEL": "i", "NYX_INTERN_8B_USD_PER_MILLION_INPUT": "2",
    }  # fmt: skip
    settings = Settings.from_env(env)
    found = settings.further_generators
    assert [(name, one.base_url, one.model) for name, one in found.items()] == [
        ("qwen", "http://q/v1", "q"),
        ("intern_8b", "http://i/v1", "i"),
    ]
    assert found["intern_8b"].price_per_million_input_tokens == 2
    assert settings.further_api_keys == {"qwen": "key-of-q", "intern_8b": "none"}
    assert "key-of-q" not in repr(settings)
    assert (settings.rounds, settings.caption_embedder) == (3, "sentence-transformers:e5")
    assert Settings.from_env({}).further_generators == {}


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"NYX_GENERATORS": "qwen"}, "NYX_QWEN_BASE_URL is not set"),
        ({"NYX_GENERATORS": "judge"} | SERVER, "none of teacher, generator, judge, embedder"),
        ({"NYX_GENERATORS": "a,a", "NYX_A_BASE_URL": "http://a", "NYX_A_MODEL": "a"}, "once"),
        ({"NYX_GENERATORS": "a-b"}, "letters, digits and underscores"),
        (
            {"NYX_GENERATORS": "a", "NYX_A_BASE_URL": "http://a", "NYX_A_MODEL": "m"}
            | {"NYX_GENERATOR_BASE_URL": "http://g", "NYX_GENERATOR_MODEL": "m"},
            "NYX_A_MODEL is 'm', which answers under another name",
        ),
        ({"NYX_ROUNDS": "0"}, "NYX_ROUNDS"),
    ],
)
def test_a_further_generator_that_cannot_be_told_apart_or_reached_is_refused(env: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Settings.from_env(env)


def test_machines_that_train_together_need_a_place_to_meet() -> None:
    env = {"NYX_TRAIN_NODES": "2", "NYX_TRAIN_PROCESSES": "8"}
    for place in ("", "host-a", "host-a:port"):
        with pytest.raises(
            ConfigError, match=r"NYX_TRAIN_NODES=2 machines meet at NYX_TRAIN_RENDEZVOUS=host:port, got"
        ):
            Settings.from_env(env | {"NYX_TRAIN_RENDEZVOUS": place})
    settings = Settings.from_env(env | {"NYX_TRAIN_RENDEZVOUS": "host-a:29500"})
    assert (settings.train_nodes, settings.train_processes, settings.train_rendezvous) == (2, 8, "host-a:29500")


def test_nothing_is_retrained_by_itself_unless_it_is_switched_on() -> None:
    assert Settings.from_env({"NYX_RETRAIN_SHARE": "0.5"}).retraining is None
    rule = Settings.from_env({"NYX_RETRAIN": "on", "NYX_RETRAIN_PAGES": "500"}).retraining
    assert rule is not None
    assert (rule.min_share, rule.min_pages, rule.cron) == (0.1, 500, "")
    at_night = {"NYX_RETRAIN": "on", "NYX_RETRAIN_CRON": "0 3 * * *", "NYX_RETRAIN_TIMEZONE": "Europe/Berlin"}
    assert str(Settings.from_env(at_night).retraining) == "anything at 0 3 * * * (Europe/Berlin)"
    both = Settings.from_env(at_night | {"NYX_RETRAIN_SHARE": "0.2"}).retraining
    assert str(both) == "20.0% of the chunks that were trained on or anything at 0 3 * * * (Europe/Berlin)"
    with pytest.raises(ConfigError, match="set NYX_RETRAIN=on as well"):
        Settings.from_env({"NYX_RETRAIN_CRON": "0 3 * * *"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NYX_RETRAIN", "yes"),
        ("NYX_RETRAIN_SHARE", "-1"),
        ("NYX_RETRAIN_TIMEZONE", "Mars/Olympus"),
        ("NYX_MAX_ATTEMPTS", "0"),
        ("NYX_ALERT_WEBHOOK", "hooks.me/x"),
    ],
)
def test_a_setting_of_the_daemon_that_makes_no_sense_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name} "):
        Settings.from_env({"NYX_RETRAIN": "on", name: value})


def test_the_address_of_the_webhook_is_not_shown() -> None:
    settings = Settings.from_env({"NYX_ALERT_WEBHOOK": "https://hooks.example/secret"})
    assert settings.alert_webhook == "https://hooks.example/secret"
    assert "secret" not in repr(settings)
