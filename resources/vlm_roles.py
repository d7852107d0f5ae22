"""Teacher, generator and judge: which VLM plays a role, with its cache and its ledger around it."""

from pathlib import Path

from resources.home import Home
from resources.settings import Role, Settings
from resources.vlm import VLM
from resources.vlm_budget import Budget
from resources.vlm_cached import CachedVLM
from resources.vlm_ledger import MeteredVLM
from resources.vlm_offline import OfflineVLM
from resources.vlm_openai import OpenAIVLM
from resources.vlm_replay import ReplayVLM
from resources.vlm_replies import ReplyFolder


def replies_of(home: Home) -> ReplyFolder:
    """Every reply that was paid for in a home."""
    return ReplyFolder(str(home.root / "vlm" / "replies"))


def budget_of(settings: Settings, home: Home) -> Budget:
    """What was spent in a home, under the caps of the settings."""
    return Budget(home.root / "vlm" / "journals", settings.caps, replies_of(home))


def ledger_folder(home: Home) -> Path:
    """Where a row a call lies."""
    return home.root / "vlm" / "ledger"


class VLMRole:
    """A role that assets ask for; opens the VLM behind it for one step."""

    def __init__(self, vlm: VLM, *, ledger_root: str) -> None:
        self._vlm = vlm
        self._ledger_root = ledger_root

    @classmethod
    def of(cls, role: Role, settings: Settings, home: Home) -> "VLMRole":
        """The role as the settings have it: an OpenAI-compatible server behind the cache, else the offline stand-in.

        The stand-in is not cached and not capped: it is free, and asking it again is faster than reading a file.
        """
        endpoint = settings.endpoints.get(role)
        replies = replies_of(home)
        vlm: VLM
        if endpoint is None:
            vlm = OfflineVLM()
        elif settings.is_replay:
            vlm = ReplayVLM(endpoint.model, replies, max_in_flight=endpoint.max_in_flight)
        else:
            server = OpenAIVLM(endpoint, api_key=settings.api_keys[role], images=home.images)
            vlm = CachedVLM(server, replies, budget_of(settings, home))
        return cls(vlm, ledger_root=str(ledger_folder(home)))

    @property
    def model(self) -> str:
        return self._vlm.model

    @property
    def is_stand_in(self) -> bool:
        """True if no real VLM plays this role; every table and report that shows its output says so."""
        return self._vlm.is_stand_in

    @property
    def described(self) -> str:
        """The model's name, with a warning where it is none."""
        return f"{self.model} (offline stand-in, no VLM)" if self.is_stand_in else self.model

    def for_step(self, asset: str, partition: str | None) -> VLM:
        """The VLM, its calls entered in the ledger under this asset and partition."""
        return MeteredVLM(self._vlm, self._ledger_root, asset=asset, partition=partition)
