"""Which leases of a home that hosts share are held, and by whom: where locks do not reach."""

from nyx_assets.doctor.findings import Finding, good, note
from resources.home import Home
from resources.leases import LEASE_SECONDS


def examine_leases(home: Home) -> Finding:
    """Who is at work on what, on any host; and who holds something and has fallen silent, so that the next one takes over."""
    held = home.leases.held_now()
    if not held:
        return good("leases", "none held: no host is at work in this home")
    silent = [one for one in held if one.silent_seconds is not None and one.silent_seconds > LEASE_SECONDS]
    said = [
        f"{one.what} is held by {one.holder.rstrip(',')}"
        + (f", silent for {one.silent_seconds:,.0f} s" if one in silent else "")
        for one in held
    ]
    if silent:
        return note(
            "leases",
            "; ".join(said),
            f"nothing, if those hosts are dead or asleep: whoever needs what they hold waits {LEASE_SECONDS:g} s and takes over; "
            "else look whether they reach the store, and whether the clocks of hosts and store agree",
        )
    return note("leases", "; ".join(said), "hosts are at work; whoever needs the same waits for them")
