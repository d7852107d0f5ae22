"""Prompts are versioned Markdown files beside the stage that uses them; their text is part of every request's digest."""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Prompt:
    """A system message, and the version that goes into the request: file name and shortened SHA-256 of the text."""

    text: str
    version: str


@cache
def load_prompt(package: str, name: str) -> Prompt:
    """The prompt `prompts/<name>.md` of a package, e.g. ("nyx_assets.nyxqa", "write_qa.v1")."""
    text = (files(package) / "prompts" / f"{name}.md").read_text(encoding="utf-8").strip()
    return Prompt(text, f"{name}@{hashlib.sha256(text.encode()).hexdigest()[:12]}")


def prompt_versions(package: str, prefix: str = "") -> str:
    """The versions of a package's prompts whose names begin so, as text that changes when one of them does."""
    files_there = (file.name for file in (files(package) / "prompts").iterdir())
    names = sorted(name.removesuffix(".md") for name in files_there if name.startswith(prefix) and name.endswith(".md"))
    return "".join(f", {load_prompt(package, name).version}" for name in names)
