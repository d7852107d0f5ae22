"""A page under construction, and the page that comes of it: texts and pictures in reading order, with their facts."""

import hashlib
import random
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, TypeVar

from PIL import Image

from sample_crawl.names import person_name, place_name

VARIANTS = 101
"""Page index modulo this decides the data of a page's pictures, so a crawl of any size has at most this many sets of
pictures a kind: their writer needs bounded time, disk and memory. Prime, so that no rotation of kinds shares a factor."""

Source = Literal["text", "picture"]
Choice = TypeVar("Choice")


class Figure(Protocol):
    """What a picture shows, as data. Equal figures are drawn as equal pictures."""

    suffix: ClassVar[str]

    def draw(self) -> Image.Image:
        """The picture in RGB."""
        ...


@dataclass(frozen=True, slots=True)
class Illustration:
    """A figure in a page, with the words that a web page gives to it."""

    figure: Figure
    caption: str
    alt_text: str

    @property
    def reference(self) -> str:
        """Path of the picture beside the Parquet files: equal figures share one file."""
        name = type(self.figure).__name__.lower()
        digest = hashlib.sha256(repr(self.figure).encode()).hexdigest()[:12]
        return f"images/{name}-{digest}.{self.figure.suffix}"


@dataclass(frozen=True, slots=True)
class Fact:
    """Something the page tells, as a question with an answer of one to five words."""

    question: str
    answer: str
    source: Source
    """Where a reader finds the answer: some facts stand only in the picture."""


@dataclass(frozen=True, slots=True)
class Page:
    """A web page before any dirt."""

    kind: str
    url: str
    title: str
    language: str
    pieces: tuple[str | Illustration, ...]
    facts: tuple[Fact, ...]

    @property
    def illustrations(self) -> tuple[Illustration, ...]:
        return tuple(piece for piece in self.pieces if isinstance(piece, Illustration))

    @property
    def text(self) -> str:
        """All texts, a blank line apart."""
        return "\n\n".join(piece for piece in self.pieces if isinstance(piece, str))


class Draft:
    """Collects a page piece by piece.

    Args:
        kind: name of the function that writes it.
        seed: of the crawl.
        index: of the page in the crawl; with the seed it decides everything.
    """

    def __init__(self, kind: str, *, seed: int, index: int) -> None:
        self.kind, self.index = kind, index
        self.rng = random.Random(f"{seed}/text/{index}")
        self.picture_rng = random.Random(f"{seed}/{kind}/{index % VARIANTS}")
        self.name = place_name(index, seed=seed)
        self.sentence_gap = " "
        self._drawn: set[str] = set()
        self._pieces: list[str | Illustration] = []
        self._facts: list[Fact] = []

    def person(self) -> str:
        """A person of this page."""
        return person_name(self.rng)

    def one_of(self, *wordings: Choice) -> Choice:
        """One of several equally true wordings."""
        return self.rng.choice(wordings)

    def fresh(self, things: tuple[str, ...]) -> str:
        """One of the things that this page has not had yet, or any of them once it has had all."""
        left = [thing for thing in things if thing not in self._drawn] or list(things)
        thing = self.rng.choice(left)
        self._drawn.add(thing)
        return thing

    def some(self, count: int, *sentences: str) -> str:
        """That many of the sentences, in a drawn order, as a stretch of text."""
        return self.sentence_gap.join(self.rng.sample(sentences, count))

    def say(self, *sentences: str) -> None:
        """A paragraph or a heading. Neighbouring paragraphs become one text, as OBELICS stores them."""
        paragraph = self.sentence_gap.join(sentences)
        if self._pieces and isinstance(self._pieces[-1], str):
            self._pieces[-1] += "\n\n" + paragraph
        else:
            self._pieces.append(paragraph)

    def show(self, figure: Figure, caption: str, *, alt_text: str) -> None:
        """A picture; its caption also stands in the text below it, as on a printed page."""
        self._pieces.append(Illustration(figure, caption, alt_text))
        self.say(caption)

    def tell(self, question: str, answer: str, *, source: Source = "text") -> None:
        """A fact that the pieces hold."""
        self._facts.append(Fact(question, answer, source))

    def page(self, title: str, *, language: str = "en") -> Page:
        slug = "-".join(self.name.lower().split())
        url = f"https://{self.kind.replace('_', '-')}.example.org/{slug}-{self.index}"
        return Page(self.kind, url, title, language, tuple(self._pieces), tuple(self._facts))
