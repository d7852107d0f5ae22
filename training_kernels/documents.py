"""A document is an ordered mix of texts and pictures: what is embedded, on the query side and on the candidate side."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from training_kernels.errors import DataError

Modality = Literal["text", "image", "mixed"]


@dataclass(frozen=True, slots=True)
class Segment:
    """One run of text, or one picture named by the SHA-256 of its file. Exactly one of the two is set."""

    text: str | None = None
    image: str | None = None

    def __post_init__(self) -> None:
        if (self.text is None) == (self.image is None):
            raise DataError(f"a segment is a text or a picture, got text={self.text!r} and image={self.image!r}")

    @property
    def kind(self) -> Literal["text", "image"]:
        return "text" if self.image is None else "image"

    def to_row(self) -> dict[str, str | None]:
        """The struct that tables store: kind, text, image."""
        return {"kind": self.kind, "text": self.text, "image": self.image}


@dataclass(frozen=True, slots=True)
class Document:
    """Segments in reading order."""

    segments: tuple[Segment, ...]

    @classmethod
    def of(cls, *parts: str | Segment) -> "Document":
        """A document of texts (plain strings) and ready segments, in the order given."""
        return cls(tuple(Segment(text=part) if isinstance(part, str) else part for part in parts))

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]]) -> "Document":
        """The document that a `segments` column holds.

        Raises DataError, with the place in the column, for a segment that is not what its kind says.
        """
        return cls(tuple(_segment(place, row) for place, row in enumerate(rows)))

    def to_rows(self) -> list[dict[str, str | None]]:
        """What a `segments` column holds."""
        return [segment.to_row() for segment in self.segments]

    @property
    def text(self) -> str:
        """All texts, one after the other, a line apart; pictures leave no trace."""
        return "\n".join(segment.text for segment in self.segments if segment.text is not None)

    def runs(self, instruction: str = "") -> tuple[Segment, ...]:
        """The segments with texts that follow each other joined, a line apart, and the instruction before the first.

        Tokens of a run are those of the whole string, as any library makes them that is handed the document as one.
        """
        runs = [Segment(text=instruction)] if instruction else []
        follows_text = False
        for segment in self.segments:
            if segment.text is not None and runs and runs[-1].text is not None:
                runs[-1] = Segment(text=f"{runs[-1].text}{chr(10) if follows_text else ''}{segment.text}")
            else:
                runs.append(segment)
            follows_text = segment.text is not None
        return tuple(runs)

    @property
    def images(self) -> tuple[str, ...]:
        """Digests of the pictures, in reading order, repeats included."""
        return tuple(segment.image for segment in self.segments if segment.image is not None)

    @property
    def modality(self) -> Modality:
        """What a retriever has to read: text alone, pictures alone, or both."""
        has_text = any(segment.text and segment.text.strip() for segment in self.segments)
        if not self.images:
            return "text"
        return "mixed" if has_text else "image"


def _segment(place: int, row: Mapping[str, Any]) -> Segment:
    kind, text, image = row["kind"], row["text"], row["image"]
    is_sound = (kind == "text" and image is None and text is not None) or (
        kind == "image" and text is None and image is not None
    )
    if not is_sound:
        raise DataError(
            f"segments[{place}] has kind={kind!r}, text={_shown(text)}, image={image!r}; a segment has kind 'text' and a text, or "
            "kind 'image' and the SHA-256 of a picture, and null in the other field"
        )
    return Segment(text=text, image=image)


def _shown(text: object) -> str:
    """A text short enough for a message."""
    return repr(text if not isinstance(text, str) or len(text) <= 60 else f"{text[:60]}…")
