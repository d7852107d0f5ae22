"""Caps, budget moment and replay, as the environment gives them."""

import math
from datetime import UTC, datetime

import pytest

from resources.settings import Settings
from training_kernels.errors import ConfigError


def test_without_settings_there_is_no_cap_and_servers_are_asked():
    settings = Settings.from_env({})
    assert (settings.caps.max_calls, settings.caps.max_tokens, settings.caps.max_usd) == (math.inf, math.inf, math.inf)
    assert settings.caps.since == 0
    assert not settings.is_replay


def test_caps_are_read_each_from_its_own_variable():
    caps = Settings.from_env({"NYX_MAX_CALLS": "50", "NYX_MAX_TOKENS": "2e6", "NYX_MAX_USD": "1.5"}).caps
    assert (caps.max_calls, caps.max_tokens, caps.max_usd) == (50, 2_000_000, 1.5)


def test_a_moment_without_a_zone_is_utc():
    moment = datetime(2026, 11, 1, 12, 30, tzinfo=UTC).timestamp()
    assert Settings.from_env({"NYX_BUDGET_SINCE": "2026-11-01T12:30"}).caps.since == moment
    assert Settings.from_env({"NYX_BUDGET_SINCE": "2026-11-01T14:30+02:00"}).caps.since == moment


def test_replay_is_asked_for_by_name():
    assert Settings.from_env({"NYX_VLM": "replay"}).is_replay
    assert not Settings.from_env({"NYX_VLM": "live"}).is_replay


@pytest.mark.parametrize(
    ("name", "value"),
    [("NYX_MAX_CALLS", "many"), ("NYX_MAX_USD", "-1"), ("NYX_BUDGET_SINCE", "yesterday"), ("NYX_VLM", "off")],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(name, value):
    with pytest.raises(ConfigError, match=name):
        Settings.from_env({name: value})
