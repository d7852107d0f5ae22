"""Prompts are versioned Markdown files beside the stage that uses them; their text is part of every request's digest.

A user's own stand in a folder (NYX_PROMPTS), each under the stage and name of the one whose place it takes:
`<folder>/nyxqa/write_text_only_qa.v1.md`.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from training_kernels.errors import ConfigError

STAGES = ("nyx_assets.captions", "nyx_assets.nyxqa", "nyx_assets.rag")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A system message, and the version that goes into the request: file name and shortened SHA-256 of the text."""

    text: str
    version: str


class _Own:
    """The folder of this process, which serves one pipeline at a time."""

    folder: Path | None = None


def use_prompts(folder: Path | None) -> None:
    """Have this process say what the files of a folder say, where it has any, in place of the prompts of their names.

    Raises ConfigError where the folder is not there, or holds a Markdown file whose name is no prompt's.
    """
    if folder is not None:
        if not folder.is_dir():
            raise ConfigError(f"NYX_PROMPTS must be a folder, got {folder}, which is none")
        known = sorted(f"{_stage(package)}/{name}.md" for package in STAGES for name in _names(package))
        unknown = sorted({file.relative_to(folder).as_posix() for file in folder.rglob("*.md")} - set(known))
        if unknown:
            raise ConfigError(
                f"NYX_PROMPTS={folder} has {unknown[0]}, which takes no prompt's place; allowed: {', '.join(known)}"
            )
    _Own.folder = folder


def load_prompt(package: str, name: str) -> Prompt:
    """The prompt `prompts/<name>.md` of a package, e.g. ("nyx_assets.nyxqa", "write_qa.v1"), or the user's own of its name."""
    own = _Own.folder / _stage(package) / f"{name}.md" if _Own.folder is not None else None
    if own is None or not own.is_file():
        return _packaged(package, name)
    text = own.read_text(encoding="utf-8").strip()
    if text.partition("\n")[0] != (task := _packaged(package, name).text.partition("\n")[0]):
        raise ConfigError(f"prompt {own} must begin with the line {task!r}, by which replies are told apart")
    return _prompt(name, text)


def prompt_versions(package: str, prefix: str = "") -> str:
    """The versions of a package's prompts whose names begin so, as text that changes when one of them does."""
    names = sorted(name for name in _names(package) if name.startswith(prefix))
    return "".join(f", {load_prompt(package, name).version}" for name in names)


@cache
def _packaged(package: str, name: str) -> Prompt:
    return _prompt(name, (files(package) / "prompts" / f"{name}.md").read_text(encoding="utf-8").strip())


def _prompt(name: str, text: str) -> Prompt:
    return Prompt(text, f"{name}@{hashlib.sha256(text.encode()).hexdigest()[:12]}")


def _names(package: str) -> Iterator[str]:
    for file in (files(package) / "prompts").iterdir():
        if file.name.endswith(".md"):
            yield file.name.removesuffix(".md")


def _stage(package: str) -> str:
    return package.rpartition(".")[2]
