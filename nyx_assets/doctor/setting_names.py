"""Are there NYX_ variables that nothing reads?"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from nyx_assets.doctor.findings import Finding, bad, good
from resources.settings import ROLES, Settings

WITH_EVERYTHING = {
    "NYX_FETCH": "on",
    "NYX_FETCH_CONTACT": "https://example.org",
    **{
        f"NYX_{role}_{name}": value
        for role in (*(role.upper() for role in ROLES), "EMBEDDER")
        for name, value in (("BASE_URL", "http://127.0.0.1/v1"), ("MODEL", "m"))
    },
}
"""An environment in which the settings look at every variable that there is."""


class _Looked(Mapping[str, str]):
    """An environment that remembers which variables were looked at."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def known_settings() -> set[str]:
    """Every variable that Settings.from_env reads."""
    env = _Looked(WITH_EVERYTHING)
    Settings.from_env(env)
    return env.names


def examine_setting_names(env: Mapping[str, str]) -> Finding:
    """Whether every NYX_ variable is one that is read: a slip of the pen changes nothing, and says nothing."""
    known = known_settings()
    set_here = sorted(name for name in env if name.startswith("NYX_"))
    unknown = []
    for name in (name for name in set_here if name not in known):
        near = get_close_matches(name, known, n=1, cutoff=0.8)
        unknown.append(f"{name}, which nothing reads" + (f" ({near[0]}?)" if near else ""))
    if unknown:
        return bad(
            "settings", "; ".join(unknown), "correct or unset; the head of resources/settings.py lists all there are"
        )
    return good("settings", ", ".join(set_here) if set_here else "none set: the defaults, no VLM, the recipe tiny")
