"""The settings that tables were made with, kept so that a plan can say which of them has changed.

A table's code version holds a digest of its settings. `<home>/settings/<digest>.json` holds what they were, by name; a run
writes it when it begins, once for each set of settings.
"""

import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path

from nyx_assets.records import content_id
from resources.home import Home

DIGEST_DIGITS = 8
MAX_NAMED = 4
"""Choice: what a person reads of one reason; a recipe that was exchanged differs in all its fields."""
SHOWN_CHARACTERS = 60


def settings_digest(values: Mapping[str, str], names: Sequence[str]) -> str:
    """What a code version holds of the settings of these names."""
    return content_id(*(values[name] for name in names))[:DIGEST_DIGITS]


def note_settings(home: Home, values: Mapping[str, str]) -> None:
    """Remember these settings; nothing is written where they are known."""
    content = json.dumps(dict(values), sort_keys=True, indent=1)
    place = _folder(home) / f"{content_id(content)}.json"
    if place.exists():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
    beside.write_text(content, encoding="utf-8")
    beside.replace(place)


def changed_settings(home: Home, values: Mapping[str, str], names: Sequence[str], digest: str) -> list[str]:
    """What differs between the settings behind a digest and those of today, each as "name: field=old, now field=new".

    Names alone where no run has noted the settings of that digest.
    """
    for noted in _noted(home):
        if all(name in noted for name in names) and settings_digest(noted, names) == digest:
            changed = [name for name in names if noted[name] != values[name]]
            return [f"{name}: {difference(noted[name], values[name])}" for name in changed]
    return [f"one of {', '.join(names)} (what they were is not noted)"]


def difference(before: str, after: str) -> str:
    """Where two values differ, field by field as their text has them."""
    old, new = _fields(before), _fields(after)
    changes = []
    for what, start, end, begin, stop in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if what != "equal":
            was, now = ", ".join(old[start:end]), ", ".join(new[begin:stop])
            changes.append(f"{_short(was) or 'nothing'}, now {_short(now) or 'nothing'}")
    said = "; ".join(changes[:MAX_NAMED])
    return said + (f"; and {len(changes) - MAX_NAMED} more" if len(changes) > MAX_NAMED else "")


def _fields(text: str) -> list[str]:
    """The text of a value cut at its brackets and commas."""
    return [part for part in (part.strip() for part in re.split(r"[(),]", text)) if part]


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def _noted(home: Home) -> Iterator[dict[str, str]]:
    for file in sorted(_folder(home).glob("*.json")):
        yield json.loads(file.read_text(encoding="utf-8"))


def _folder(home: Home) -> Path:
    return home.root / "settings"
