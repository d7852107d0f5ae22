"""Is what is installed what the project was tested with?"""

import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from nyx_assets.doctor.findings import Finding, bad, good, note

CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints.txt"
OPTIONAL_FROM = "# extra"
"""Pins from this comment on are of extras: they may be absent, but not another version."""
PYTHONS = ((3, 11), (3, 14))
"""From the first, below the second; pyproject.toml says the same."""
NAMED = ("torch", "transformers", "dagster", "milvus-lite")
"""Versions that a person wants to see."""


def examine_python(running: tuple[int, int] = sys.version_info[:2]) -> Finding:
    """Whether this Python is one that the project runs on."""
    low, high = PYTHONS
    said = f"{running[0]}.{running[1]} at {sys.executable}"
    if low <= running < high:
        return good("python", f"{said}, {platform.system()} {platform.machine()}")
    return bad(
        "python", said, f"use Python {low[0]}.{low[1]} or later, below {high[0]}.{high[1]}: `make PYTHON=python3.11`"
    )


def pinned(text: str) -> Iterator[tuple[str, str, bool]]:
    """Name, version and whether it may be absent, of each pin of a constraints file."""
    is_optional = False
    for line in text.splitlines():
        is_optional = is_optional or line.startswith(OPTIONAL_FROM)
        name, is_pin, number = line.partition("#")[0].strip().partition("==")
        if is_pin:
            yield name, number, is_optional


def installed_version(name: str) -> str | None:
    """The version of an installed package, with its local build ("2.13.0+cpu"), or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def examine_packages(
    constraints: Path = CONSTRAINTS, installed: Callable[[str], str | None] = installed_version
) -> Finding:
    """Whether every pinned package is there in the pinned version; a local build (torch's +cpu, +cu126) is no difference."""
    named = ", ".join(f"{name} {installed(name) or 'absent'}" for name in NAMED)
    if not constraints.is_file():
        return note(
            "packages", f"{named}; not compared: {constraints} is not there", "install from a checkout to compare"
        )
    different: Mapping[str, str] = {
        name: f"{name} is {found or 'absent'}, tested with {wanted}"
        for name, wanted, is_optional in pinned(constraints.read_text(encoding="utf-8"))
        if ((found := installed(name)) or not is_optional) and (found or "").partition("+")[0] != wanted
    }
    if different:
        return bad(
            "packages",
            "; ".join(different.values()),
            f"{sys.executable} -m pip install -c {constraints} {' '.join(different)}",
        )
    return good("packages", f"{named}; all as pinned in {constraints.name}")
