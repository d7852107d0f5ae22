"""What lies in the crawl folder: deliveries that can be taken, and those that cannot."""

from functools import partial

from nyx_assets.corpus.deliveries import find_deliveries
from nyx_assets.corpus.landing import has_landed, landed_rows
from nyx_assets.doctor.findings import Finding, bad, good, note, one_line
from resources.crawl_store import Crawl
from resources.home import Home
from training_kernels.errors import DataError

MAX_NAMED = 5


def examine_landing(home: Home, crawl: Crawl | None) -> Finding:
    """Whether the crawl folder is there and every delivery in it can be read.

    Args:
        crawl: that of the settings, a folder or the URL of one; None for that of the home.
    """
    crawl = crawl or home.crawl
    if crawl is None:
        return note("landing folder", "none yet", "`nyx run --crawl FOLDER`, or `nyx run` for the bundled sample")
    try:
        found = find_deliveries(crawl, counted=partial(landed_rows, home))
    except DataError as error:
        return bad("landing folder", one_line(error), "restore the folder, or set NYX_CRAWL to where it is now")
    new = [delivery.key for delivery in found.deliveries if not has_landed(home, delivery)]
    said = f"{crawl}: {len(found.deliveries)} deliveries" + (
        f", {len(new)} of them not registered yet: {_named(new)}" if new else ""
    )
    if found.refused:
        reasons = "; ".join(f"{one.key}: {one_line(one.reason)}" for one in found.refused[:MAX_NAMED])
        return bad(
            "landing folder",
            f"{said}; {len(found.refused)} refused: {reasons}",
            "mend or remove the files that are named",
        )
    if new:
        return note("landing folder", said, "`nyx run` takes them, or the sensor of `make up` once they are complete")
    return good("landing folder", said)


def _named(keys: list[str]) -> str:
    return ", ".join(keys[:MAX_NAMED]) + (" …" if len(keys) > MAX_NAMED else "")
