"""What the environment says: the one place that reads NYX_* variables.

NYX_HOME      storage root; default nyx_home in the working directory
NYX_CRAWL     crawl folder; default the one that the home is made from, else the bundled sample
NYX_RECIPE    pipeline recipe (nyx_assets/recipes.py); default tiny
NYX_BACKBONE  backbone in place of the recipe's: a known name, a folder or a hub name
NYX_INDEX_URI Milvus server in place of the embedded index file
NYX_<ROLE>_BASE_URL, _MODEL, _API_KEY, _MAX_IN_FLIGHT, _TIMEOUT_SECONDS, _MAX_RETRIES,
              _USD_PER_MILLION_INPUT, _USD_PER_MILLION_OUTPUT:
              an OpenAI-compatible server for a role: TEACHER, GENERATOR, JUDGE; without a base URL the role is
              played by the offline stand-in
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from resources.vlm_openai import Endpoint
from training_kernels.errors import ConfigError

Role = Literal["teacher", "generator", "judge"]
ROLES: tuple[Role, ...] = ("teacher", "generator", "judge")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that differs between installations."""

    home: Path
    crawl_folder: Path | None
    """None: the folder that the home is made from, else the bundled sample."""
    recipe: str
    backbone: str | None
    """None: the recipe's."""
    index_uri: str | None
    """None: the embedded index file in the home."""
    endpoints: Mapping[Role, Endpoint]
    """Roles that are not here are played by the offline stand-in."""
    api_keys: Mapping[Role, str] = field(repr=False)

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Settings":
        """Settings from environment variables. Raises ConfigError naming the variable."""
        return cls(
            home=Path(env.get("NYX_HOME") or "nyx_home"),
            crawl_folder=Path(env["NYX_CRAWL"]) if env.get("NYX_CRAWL") else None,
            recipe=env.get("NYX_RECIPE") or "tiny",
            backbone=env.get("NYX_BACKBONE") or None,
            index_uri=env.get("NYX_INDEX_URI") or None,
            endpoints={role: endpoint for role in ROLES if (endpoint := _endpoint(role, env)) is not None},
            api_keys={role: env.get(f"NYX_{role.upper()}_API_KEY") or "none" for role in ROLES},
        )


def _endpoint(role: Role, env: Mapping[str, str]) -> Endpoint | None:
    prefix = f"NYX_{role.upper()}_"
    base_url = env.get(prefix + "BASE_URL")
    if not base_url:
        return None
    if not env.get(prefix + "MODEL"):
        raise ConfigError(f"{prefix}BASE_URL is set but {prefix}MODEL is not: name the model that {base_url} serves")
    return Endpoint(
        base_url=base_url,
        model=env[prefix + "MODEL"],
        max_in_flight=_whole_number(env, prefix + "MAX_IN_FLIGHT", default=8, least=1),
        timeout_seconds=_number(env, prefix + "TIMEOUT_SECONDS", default=300, least=1),
        max_retries=_whole_number(env, prefix + "MAX_RETRIES", default=6, least=0),
        price_per_million_input_tokens=_number(env, prefix + "USD_PER_MILLION_INPUT", default=0, least=0),
        price_per_million_output_tokens=_number(env, prefix + "USD_PER_MILLION_OUTPUT", default=0, least=0),
    )


def _number(env: Mapping[str, str], name: str, *, default: float, least: float) -> float:
    value = env.get(name) or str(default)
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not least <= number < math.inf:
        raise ConfigError(f"{name} must be a number of at least {least}, got {value!r}")
    return number


def _whole_number(env: Mapping[str, str], name: str, *, default: int, least: int) -> int:
    number = _number(env, name, default=default, least=least)
    if not number.is_integer():
        raise ConfigError(f"{name} must be a whole number of at least {least}, got {env[name]!r}")
    return int(number)
