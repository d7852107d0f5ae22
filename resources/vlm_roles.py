"""Teacher, generator and judge: which VLM plays a role, with its cache and its ledger around it."""

from resources.home import Home
from resources.settings import Role, Settings
from resources.vlm import VLM
from resources.vlm_cached import CachedVLM
from resources.vlm_ledger import MeteredVLM
from resources.vlm_offline import OfflineVLM
from resources.vlm_openai import OpenAIVLM


class VLMRole:
    """A role that assets ask for; opens the VLM behind it for one step."""

    def __init__(self, vlm: VLM, *, ledger_root: str) -> None:
        self._vlm = vlm
        self._ledger_root = ledger_root

    @classmethod
    def of(cls, role: Role, settings: Settings, home: Home) -> "VLMRole":
        """The role as the settings have it: an OpenAI-compatible server behind the cache, else the offline stand-in.

        The stand-in is not cached: it is free, and asking it again is faster than reading a file.
        """
        endpoint = settings.endpoints.get(role)
        vlm: VLM
        if endpoint is None:
            vlm = OfflineVLM()
        else:
            server = OpenAIVLM(endpoint, api_key=settings.api_keys[role], images=home.images)
            vlm = CachedVLM(server, str(home.root / "vlm" / "replies"))
        return cls(vlm, ledger_root=str(home.root / "vlm" / "ledger"))

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
