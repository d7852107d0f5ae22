"""Deliveries that were refused for their content, kept in Dagster's records: they are not opened again until they change.

A long file of JSON lines in a store is brought whole to be counted; some that cannot be read would take all the time that
each tick of the sensor has.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict

from dagster import DagsterInstance

from nyx_assets.corpus.deliveries import RefusedDelivery

REFUSED_KEY = "nyx/refused"
"""Where Dagster's records keep them, with their reasons, beside the cursor, which is kept anew with each tick."""


def refused_before(instance: DagsterInstance) -> dict[str, RefusedDelivery]:
    """By key, as far as Dagster's records know."""
    kept = instance.daemon_cursor_storage.get_cursor_values({REFUSED_KEY}).get(REFUSED_KEY)
    return {one["key"]: RefusedDelivery(**one) for one in json.loads(kept)} if kept else {}


def remember_refused(instance: DagsterInstance, refused: Iterable[RefusedDelivery]) -> None:
    """Keep those of the crawl as it is now, in place of what was kept."""
    lasting = {one.key: one for one in refused if one.is_of_content}
    if lasting != refused_before(instance):
        instance.daemon_cursor_storage.set_cursor_values(
            {REFUSED_KEY: json.dumps([asdict(one) for one in lasting.values()])}
        )
