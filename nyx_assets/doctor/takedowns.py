"""What other hosts took down of a home that they share, and this one still has of its own."""

from nyx_assets.doctor.findings import Finding, good, note
from nyx_assets.takedown.this_host import not_done_here
from resources.home import Home


def examine_takedowns(home: Home) -> Finding:
    """Whether this host's index, report, previews and log of fetches are rid of what was taken down."""
    if left := not_done_here(home):
        return note(
            "takedowns",
            f"{len(left)} not removed yet from what this host has of its own, e.g. {left[0].kind} {left[0].value}",
            "`nyx run`, or `nyx takedown` of the same",
        )
    return good("takedowns", "nothing that was taken down is left to remove from this host")
