"""Teacher, generator and judge: which VLM plays a role, with its cache and its ledger around it."""

from pathlib import Path

from resources.endpoint_client import Endpoint
from resources.home import Home
from resources.settings import Role, Settings
from resources.vlm import VLM
from resources.vlm_budget import Budget
from resources.vlm_courier import CourierVLM
from resources.vlm_courier_wire import Order
from resources.vlm_folders import budget_in, ledger_in, replies_in
from resources.vlm_ledger import MeteredVLM
from resources.vlm_offline import OfflineVLM
from resources.vlm_replay import ReplayVLM
from resources.vlm_replies import ReplyFolder


def replies_of(home: Home) -> ReplyFolder:
    """Every reply that was paid for in a home."""
    return replies_in(f"{home.store}/vlm")


def budget_of(settings: Settings, home: Home) -> Budget:
    """What was spent in a home under the caps of the settings, by this machine and by others that share it."""
    return budget_in(home.root / "vlm", settings.caps, store=f"{home.store}/vlm")


def ledger_folder(home: Home) -> Path:
    """Where a row a call lies."""
    return Path(ledger_in(home.root / "vlm"))


class VLMRole:
    """A role that assets ask for; opens the VLM behind it for one step."""

    def __init__(self, vlm: VLM | CourierVLM, *, ledger_root: str, budget: Budget | None = None) -> None:
        """
        Args:
            budget: what its calls are counted against; None if they cost nothing.
        """
        self._vlm = vlm
        self._ledger_root = ledger_root
        self._budget = budget

    @classmethod
    def of(cls, role: Role, settings: Settings, home: Home) -> "VLMRole":
        """The role as the settings have it: an OpenAI-compatible server behind cache and courier, else the offline stand-in.

        The stand-in is not cached and not capped: it is free, and asking it again is faster than reading a file.
        """
        return cls._behind(settings.endpoints.get(role), settings.api_keys[role], settings, home)

    @classmethod
    def further_generators(cls, settings: Settings, home: Home) -> "tuple[VLMRole, ...]":
        """The generators beside the role, in the order of the settings; each behind the same cache, ledger and caps."""
        return tuple(
            cls._behind(endpoint, settings.further_api_keys[name], settings, home)
            for name, endpoint in settings.further_generators.items()
        )

    @classmethod
    def _behind(cls, endpoint: Endpoint | None, api_key: str, settings: Settings, home: Home) -> "VLMRole":
        replies = replies_of(home)
        vlm: VLM
        if endpoint is None:
            vlm = OfflineVLM()
        elif settings.is_replay:
            vlm = ReplayVLM(endpoint.model, replies, max_in_flight=endpoint.max_in_flight)
        else:
            return cls(
                CourierVLM(
                    Order(
                        service="chat",
                        endpoint=endpoint,
                        api_key=api_key,
                        caps=settings.caps,
                        images_root=home.images.root,
                        vlm_root=str(home.root / "vlm"),
                        replies_root=f"{home.store}/vlm",
                    )
                ),
                ledger_root=str(ledger_folder(home)),
                budget=budget_of(settings, home),
            )
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

    def spent_of_cap(self) -> str:
        """What was spent in the home so far, by whomever, against its caps; "" for a role whose calls are free."""
        return "" if self._budget is None else self._budget.against_cap()

    def close(self) -> None:
        """End the process that makes the role's calls, if there is one; the next call starts another."""
        if isinstance(self._vlm, CourierVLM):
            self._vlm.close()

    def for_step(self, asset: str, partition: str | None) -> VLM:
        """The VLM, its calls entered in the ledger under this asset and partition."""
        if isinstance(self._vlm, CourierVLM):
            return self._vlm.for_step(asset, partition)
        return MeteredVLM(self._vlm, self._ledger_root, asset=asset, partition=partition)
