"""What an artefact was made from, and one complete version of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What an artefact was made from: the version of the code and of each input."""

    code_version: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Data version by name of input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One complete version of a table or folder."""

    data_version: str
    """Digest of the content: equal content, equal version, whenever and from whatever it was made."""
    num_rows: int
    provenance: Provenance
    written_at: str
    """UTC, ISO 8601."""

    def to_json(self) -> dict[str, Any]:
        return {
            "data_version": self.data_version,
            "num_rows": self.num_rows,
            "code_version": self.provenance.code_version,
            "inputs": dict(self.provenance.inputs),
            "written_at": self.written_at,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        return cls(
            data_version=content["data_version"],
            num_rows=content["num_rows"],
            provenance=Provenance(code_version=content["code_version"], inputs=content["inputs"]),
            written_at=content["written_at"],
        )


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
