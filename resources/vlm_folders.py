"""What lies where in a home's folder of VLM calls: <home>/vlm."""

from pathlib import Path

from resources.vlm_budget import Budget, Caps
from resources.vlm_replies import ReplyFolder


def replies_in(root: str | Path) -> ReplyFolder:
    """Every reply that was paid for."""
    return ReplyFolder(str(Path(root) / "replies"))


def budget_in(root: str | Path, caps: Caps) -> Budget:
    """What was spent, under caps."""
    return Budget(Path(root) / "journals", caps, replies_in(root))


def ledger_in(root: str | Path) -> str:
    """Where a row a call lies."""
    return str(Path(root) / "ledger")


def couriers_in(root: str | Path) -> Path:
    """Where couriers that are at work have their notes."""
    return Path(root) / "couriers"
