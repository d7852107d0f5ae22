"""New deliveries in the crawl folder become crawl partitions once they are complete."""

import json

import dagster as dg

from nyx_assets.corpus.deliveries import Delivery, find_deliveries
from nyx_assets.corpus.landing import has_landed, land
from nyx_assets.partitions import CRAWL
from nyx_assets.registering import landed_event
from resources.home import Home
from resources.settings import Settings
from training_kernels.errors import DataError

MAX_LANDINGS_PER_TICK = 500
"""Choice: their listings are written and reported within seconds; what is over waits for the next tick."""


def landings_sensor(home: Home, settings: Settings) -> dg.SensorDefinition:
    """The sensor of this home's crawl folder."""

    @dg.sensor(
        name="landings",
        description="Registers deliveries in the crawl folder that are complete: marked so, or unchanged since the last tick.",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def landings(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        folder = settings.crawl_folder or home.crawl_folder
        if folder is None:
            return dg.SkipReason("no crawl folder yet: set NYX_CRAWL, or run `nyx run` once")
        cursor = json.loads(context.cursor or "{}")
        seen: dict[str, str] = cursor.get("seen", {})
        landed: dict[str, str] = cursor.get("landed", {})
        try:
            found = find_deliveries(folder, known=landed)
        except DataError as error:
            return dg.SkipReason(str(error))
        for one in found.refused:
            context.log.warning(f"delivery {one.key} is refused: {one.reason}")
        complete = [delivery for delivery in found.deliveries if is_complete(delivery, seen)][:MAX_LANDINGS_PER_TICK]
        new = [delivery for delivery in complete if not has_landed(home, delivery)]
        events = [landed_event(delivery, land(home, delivery)) for delivery in new]
        still_landed = {key: landed[key] for key in found.unchanged}
        return dg.SensorResult(
            # those that landed before are registered again: a lost cursor or instance must not hide them
            dynamic_partitions_requests=[CRAWL.build_add_request([delivery.key for delivery in complete])],
            asset_events=events,
            cursor=json.dumps(
                {
                    "seen": {delivery.key: delivery.fingerprint for delivery in found.deliveries},
                    "landed": still_landed | {delivery.key: delivery.fingerprint for delivery in complete},
                }
            ),
        )

    return landings


def is_complete(delivery: Delivery, seen: dict[str, str]) -> bool:
    """True if its writer marked it complete, or nothing of it changed since the last tick."""
    return delivery.is_marked_complete or seen.get(delivery.key) == delivery.fingerprint
