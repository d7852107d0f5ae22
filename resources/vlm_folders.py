"""What lies where in a home's folders of VLM calls: <home>/vlm, and <local>/vlm where hosts share the home.

Replies are shared, so that no host pays for what another one paid for, and so is what each host books of the caps. Journals,
notes and the ledger are appended to and locked, which object stores cannot: they are of this machine, and the ledger is sent
to the home (mirror.py).
"""

from pathlib import Path

from resources.vlm_bookings import Bookings, Share
from resources.vlm_budget import Budget, Caps
from resources.vlm_replies import ReplyFolder


def replies_in(root: str | Path) -> ReplyFolder:
    """Every reply that was paid for."""
    return ReplyFolder(f"{root}/replies")


def budget_in(root: str | Path, caps: Caps, *, store: str = "") -> Budget:
    """What this machine spent, under caps.

    Args:
        store: the folder that hosts share; "" where it is the same as `root`.
    """
    journals = Path(root) / "journals"
    if store in ("", str(root)):
        return Budget(journals, caps, replies_in(root))
    return Budget(journals, caps, replies_in(store), share=Share(Bookings(f"{store}/bookings"), journals, caps))


def ledger_in(root: str | Path) -> str:
    """Where a row a call lies."""
    return str(Path(root) / "ledger")


def couriers_in(root: str | Path) -> Path:
    """Where couriers that are at work have their notes."""
    return Path(root) / "couriers"
