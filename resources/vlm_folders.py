"""What lies where in a home's folders of VLM calls: <home>/vlm, and <local>/vlm where hosts share the home.

Replies are shared, so that no host pays for what another one paid for. Journals, notes and the ledger are appended to and
locked, which object stores cannot: they are of this machine, and the ledger is sent to the home (mirror.py).
"""

from pathlib import Path

from resources.vlm_budget import Budget, Caps
from resources.vlm_replies import ReplyFolder


def replies_in(root: str | Path) -> ReplyFolder:
    """Every reply that was paid for."""
    return ReplyFolder(f"{root}/replies")


def budget_in(root: str | Path, caps: Caps, *, replies: ReplyFolder | None = None) -> Budget:
    """What this machine spent, under caps; `replies` where they are not in the same folder."""
    return Budget(Path(root) / "journals", caps, replies or replies_in(root))


def ledger_in(root: str | Path) -> str:
    """Where a row a call lies."""
    return str(Path(root) / "ledger")


def couriers_in(root: str | Path) -> Path:
    """Where couriers that are at work have their notes."""
    return Path(root) / "couriers"
