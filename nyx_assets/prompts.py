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
