"""New deliveries in the crawl folder become crawl partitions once they are complete."""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import dagster as dg
from dagster import DagsterInstance

from nyx_assets.corpus.crawl_listing import Listing
from nyx_assets.corpus.deliveries import Delivery, FoundDeliveries, Opening, RefusedDelivery, find_deliveries
from nyx_assets.corpus.landing import landed_rows
from nyx_assets.main_job import Pipeline
from nyx_assets.partitions import CRAWL
from nyx_assets.quarantine import is_quarantined
from nyx_assets.quick_records import together
from nyx_assets.registering import landed_events, not_quarantined, untold_inputs, untold_of_partition
from resources.home import Home
from resources.settings import Settings
from sensors.refusals import refused_before, remember_refused
from training_kernels.errors import DataError

MAX_LANDINGS_PER_TICK = 500
"""Choice: their listings are written and reported within seconds; what is over waits for the next tick."""

MAX_SECONDS_PER_TICK = 20.0
"""Choice: a third of what Dagster grants a tick before it counts as failed, and everything in it as not done."""

LANDED_KEY = "nyx/landed"
"""Where Dagster's records keep the fingerprints of what landed."""

MAX_NAMED = 5
"""Choice: the reason of a skipped tick is one line in the UI."""


def landings_sensor(home: Home, settings: Settings, pipeline_of: Callable[[], Pipeline]) -> dg.SensorDefinition:
    """The sensor of this home's crawl folder.

    What landed and is no partition in Dagster's records (they were lost, or it was released from quarantine elsewhere) is
    registered again, at the tick after Dagster was told of what is current of it: the sensor of REFRESH, which looks at the
    records in between, takes for changed what it hears of together with the partition.
    """

    @dg.sensor(
        name="landings",
        description="Registers deliveries in the crawl folder that are complete: marked so, or unchanged since the last tick.",
        minimum_interval_seconds=settings.landing_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def landings(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        crawl = settings.crawl or home.crawl
        if crawl is None:
            return dg.SkipReason("no crawl folder yet: set NYX_CRAWL, or run `nyx run` once")
        cursor = json.loads(context.cursor or "{}")
        seen: dict[str, str] = cursor.get("seen", {})
        landed = remembered(context.instance) | cursor.get("landed", {})
        registered = frozenset(context.instance.get_dynamic_partitions(str(CRAWL.name)))
        try:
            found = find_deliveries(
                crawl,
                known=landed,
                refused_before=refused_before(context.instance),
                counted=partial(landed_rows, home),
                opening=Opening(
                    is_ripe=lambda listing: is_complete(listing, seen),
                    at_most=MAX_LANDINGS_PER_TICK,
                    seconds=MAX_SECONDS_PER_TICK,
                ),
            )
        except DataError as error:
            return dg.SkipReason(str(error))
        if cursor.get("landed"):  # of the tick before: now that its cursor came back, Dagster was told of them
            remember(context.instance, {key: landed[key] for key in found.unchanged})
        remember_refused(context.instance, found.refused)
        for one in found.refused:
            context.log.warning(f"delivery {one.key} is refused: {one.reason}")
        wanted = not_quarantined(home, found.deliveries)
        complete = [delivery for delivery in wanted if is_complete(delivery, seen)][:MAX_LANDINGS_PER_TICK]
        last = time.monotonic() + MAX_SECONDS_PER_TICK
        landed_now, events = _land(home, context.instance, complete, last=last)
        unregistered = [delivery.key for delivery in landed_now if delivery.key not in registered]
        unregistered += [key for key in found.unchanged if key not in registered and not is_quarantined(home, key)]
        to_register, num_told = _told(
            home, context.instance, pipeline_of().specs, unregistered[:MAX_LANDINGS_PER_TICK], last=last
        )
        new_cursor = json.dumps(
            {
                "seen": _fingerprints([*found.deliveries, *found.unopened, *found.refused]),
                "landed": _fingerprints(landed_now),
            }
        )
        return dg.SensorResult(
            skip_reason=None if landed_now or to_register else _what_is_there(found, wanted, num_told),
            dynamic_partitions_requests=[CRAWL.build_add_request(to_register)] if to_register else [],
            asset_events=events,
            cursor=new_cursor,
        )

    return landings


def _land(
    home: Home, instance: DagsterInstance, complete: Iterable[Delivery], *, last: float
) -> tuple[list[Delivery], list[dg.AssetMaterialization]]:
    """Those that this tick had time to take note of, and what Dagster is to be told of them."""
    landed: list[Delivery] = []
    events: list[dg.AssetMaterialization] = []
    for delivery in complete:
        events += landed_events(home, instance, [delivery])
        landed.append(delivery)
        if time.monotonic() > last:
            break
    return landed, events


def _told(
    home: Home, instance: DagsterInstance, specs: Mapping[str, dg.AssetSpec], keys: Sequence[str], *, last: float
) -> tuple[list[str], int]:
    """Partitions of which there is nothing more to tell Dagster; of how many others it was told now.

    What is missing in its records would be made again.
    """
    if not keys:
        return [], 0
    known: list[str] = []
    events = [*untold_inputs(home, instance, specs)]
    num_told = 0
    for key in keys:
        untold = [*untold_of_partition(home, instance, specs, key)]
        events += untold
        if untold:
            num_told += 1
        else:
            known.append(key)
        if time.monotonic() > last:
            break
    with together(instance):
        for event in events:
            instance.report_runless_asset_event(event)
    return known, num_told


def remembered(instance: DagsterInstance) -> dict[str, str]:
    """Fingerprint by key of every delivery that landed, as far as Dagster's records know.

    They stand beside the cursor: that is written anew at each tick, and kept with each tick for a week.
    """
    kept = instance.daemon_cursor_storage.get_cursor_values({LANDED_KEY}).get(LANDED_KEY)
    return json.loads(kept) if kept else {}


def remember(instance: DagsterInstance, landed: Mapping[str, str]) -> None:
    instance.daemon_cursor_storage.set_cursor_values({LANDED_KEY: json.dumps(landed)})


def is_complete(delivery: Delivery | Listing, seen: Mapping[str, str]) -> bool:
    """True if its writer marked it complete, or nothing of it changed since the last tick."""
    return delivery.is_marked_complete or seen.get(delivery.key) == delivery.fingerprint


def _fingerprints(deliveries: Iterable[Delivery | Listing | RefusedDelivery]) -> dict[str, str]:
    return {delivery.key: delivery.fingerprint for delivery in deliveries}


def _what_is_there(found: FoundDeliveries, wanted: Sequence[Delivery], num_told: int) -> str:
    """Why a tick has nothing to register, by number and name."""
    said = [f"{len(found.unchanged)} deliveries landed before"]
    if num_told:
        said.append(f"{num_told} of them, made before, are registered again at the next tick")
    for keys, what in (
        (
            sorted([*(delivery.key for delivery in wanted), *(listing.key for listing in found.unopened)]),
            "waiting to be the same at the next tick, or marked complete",
        ),
        (
            sorted({delivery.key for delivery in found.deliveries} - {delivery.key for delivery in wanted}),
            "quarantined, see `nyx quarantine list`",
        ),
        ([one.key for one in found.refused], "refused, see the log of the tick"),
    ):
        if keys:
            names = ", ".join(keys[:MAX_NAMED]) + (" …" if len(keys) > MAX_NAMED else "")
            said.append(f"{len(keys)} {what}: {names}")
    return "; ".join(said)
