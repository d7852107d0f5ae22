"""Messages that wait for NYX_ALERT_WEBHOOK to take them, in Dagster's own store: none is lost while its server is down.

They are posted in the order in which they came, and again at each tick of the sensor until the server has them.
"""

import json
from collections.abc import Callable
from urllib.error import HTTPError

import dagster as dg
from dagster import DagsterInstance

from resources.home import Home
from resources.settings import Settings
from resources.webhook import post

UNTOLD_KEY = "nyx/untold"
REFUSES_THE_MESSAGE = frozenset({400, 413, 422})
"""HTTP states that say that the message is at fault: posted again, it would be refused again, and hold up the others."""


def alerts_sensor(home: Home, settings: Settings) -> dg.SensorDefinition:
    """The sensor that tells what could not be told when it happened."""

    @dg.sensor(
        name="alerts",
        description="Posts to NYX_ALERT_WEBHOOK what its server did not take before, in order.",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def alerts(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        if settings.alert_webhook is None:
            return dg.SkipReason("NYX_ALERT_WEBHOOK is not set")
        num_left = post_waiting(home, context.instance, settings.alert_webhook, warn=context.log.warning)
        return dg.SkipReason(f"{num_left} messages wait for NYX_ALERT_WEBHOOK" if num_left else "all is told")

    return alerts


def add_waiting(home: Home, instance: DagsterInstance, text: str, **facts: str) -> None:
    """Have a message wait behind the others."""
    with home.alone("alerts", log=_quiet):
        _keep(instance, [*_waiting(instance), {"text": text, **facts}])


def post_waiting(home: Home, instance: DagsterInstance, url: str, *, warn: Callable[[str], None]) -> int:
    """Post what waits, until the server does not take one; returns how many wait still."""
    with home.alone("alerts", log=_quiet):
        waiting = _waiting(instance)
        while waiting:
            try:
                post(url, **waiting[0])
            except OSError as error:
                if not isinstance(error, HTTPError) or error.code not in REFUSES_THE_MESSAGE:
                    warn(f"NYX_ALERT_WEBHOOK did not take it, {len(waiting)} wait for the next tick: {error}")
                    return len(waiting)
                warn(
                    f"NYX_ALERT_WEBHOOK refuses this message, it stands in the log alone: {waiting[0]['text']} ({error})"
                )
            waiting = waiting[1:]
            _keep(instance, waiting)
        return 0


def _waiting(instance: DagsterInstance) -> list[dict[str, str]]:
    kept = instance.daemon_cursor_storage.get_cursor_values({UNTOLD_KEY}).get(UNTOLD_KEY)
    return json.loads(kept) if kept else []


def _keep(instance: DagsterInstance, waiting: list[dict[str, str]]) -> None:
    instance.daemon_cursor_storage.set_cursor_values({UNTOLD_KEY: json.dumps(waiting)})


def _quiet(message: str) -> None:
    """Another sensor posts; a tick waits for it without a word."""
