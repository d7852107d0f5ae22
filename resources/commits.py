"""What an artefact was made from, and one complete version of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What an artefact was made from: the version of the code and of each input."""

    code_version: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Data version by name of input."""
    in_place_of: frozenset[str] = frozenset()
    """Code versions that a person had it made again in place of, with other settings; it is not stale under these."""

    def is_as_expected(self, expected: Self) -> bool:
        """Whether what was made from this is what would be made from `expected`, or was put in its place."""
        versions = {self.code_version, *self.in_place_of}
        return expected.code_version in versions and self.inputs == expected.inputs

    def put_in_place_of(self, before: Self) -> Self:
        """The same, put in the place of what was made from `before`, and of what that was put in the place of."""
        replaced = {before.code_version, *before.in_place_of} - {self.code_version}
        return replace(self, in_place_of=frozenset(replaced))


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
            "in_place_of": sorted(self.provenance.in_place_of),
            "written_at": self.written_at,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        return cls(
            data_version=content["data_version"],
            num_rows=content["num_rows"],
            provenance=Provenance(
                code_version=content["code_version"],
                inputs=content["inputs"],
                in_place_of=frozenset(content.get("in_place_of", ())),  # tables of earlier versions do not say
            ),
            written_at=content["written_at"],
        )


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
