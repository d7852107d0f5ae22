"""Which examples of the public sets are trained on: a seeded draw of each set, its pictures taken, leaks left out."""

import hashlib
import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from nyx_assets.recipes import MixtureRecipe, SetShare
from nyx_assets.records import content_id
from nyx_assets.training.placeholders import MarksDisagree
from nyx_assets.training.public_sets import RawDocument, RawExample, examples_of_row
from resources.images import ImageStore, PictureLimits
from resources.public_sets import PublicSets
from training_kernels.documents import Document
from training_kernels.errors import DataError

BROKEN_ROW = (ValueError, KeyError, TypeError, AttributeError, IndexError)
"""What a row of another shape than its set's makes the readers of its schema raise; DataError is a ValueError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicExample:
    """One example, its pictures in the store."""

    example_id: str
    source: str
    query: Document
    positive: Document
    negatives: tuple[Document, ...]
    copies: int
    """Times that it stands in an epoch."""

    def to_row(self) -> dict[str, Any]:
        """Row of PUBLIC_EXAMPLES."""
        return {
            "example_id": self.example_id,
            "source": self.source,
            "query": self.query.to_rows(),
            "positive": self.positive.to_rows(),
            "negatives": [negative.to_rows() for negative in self.negatives],
            "copies": self.copies,
        }


@dataclass(frozen=True, slots=True)
class Objection:
    """Why an example must not be trained on."""

    rule: str
    reason: str


LeakGuard = Callable[[Sequence[PublicExample]], Mapping[str, Objection]]
"""The examples that hold something of an evaluation suite, by example_id."""


@dataclass(frozen=True, slots=True)
class Refused:
    """An example, or a row that is none, that is not trained on."""

    source: str
    reference: str
    rule: str
    reason: str

    def to_row(self) -> dict[str, Any]:
        """Row of REFUSED_PUBLIC_EXAMPLES."""
        return {name: getattr(self, name) for name in ("source", "reference", "rule", "reason")}


@dataclass(frozen=True, slots=True)
class _Drawn:
    """An example with the file it came from, which its pictures lie beside."""

    example_id: str
    file: Path
    raw: RawExample


def mixed(
    sets: PublicSets,
    store: ImageStore,
    *,
    recipe: MixtureRecipe,
    limits: PictureLimits,
    seed: int,
    leak_guard: LeakGuard,
) -> Iterator[PublicExample | Refused]:
    """Examples of every set that the recipe has a share for, set by set, and what was refused.

    A set is held in memory up to its cap. An example that stands in a set twice is taken once.
    """
    for source, files in sets.files_by_set().items():
        share = next((share for share in recipe.shares if fnmatchcase(source, share.match)), None)
        if share is None:
            yield Refused(source, "", "no_share", f"no share of mixture {recipe.name!r} fits the set {source!r}")
            continue
        unreadable: list[Refused] = []
        drawn = _draw(_examples(sets, source, files, unreadable), cap=share.cap, seed=seed)
        yield from unreadable
        taken: list[PublicExample] = []
        for one in drawn:
            outcome = _taken(one, source, sets, store, share=share, recipe=recipe, limits=limits, seed=seed)
            if isinstance(outcome, Refused):
                yield outcome
            elif outcome.copies:
                taken.append(outcome)
        leaked = leak_guard(taken)
        for example in taken:
            objection = leaked.get(example.example_id)
            if objection is None:
                yield example
            else:
                yield Refused(source, example.example_id, objection.rule, objection.reason)


def _examples(sets: PublicSets, source: str, files: Sequence[Path], unreadable: list[Refused]) -> Iterator[_Drawn]:
    for file in files:
        for number, row in enumerate(sets.rows(file)):
            try:
                examples = examples_of_row(row)
            except MarksDisagree as error:
                unreadable.append(Refused(source, f"{file.name}#{number}", "marks_and_pictures", str(error)))
                continue
            except BROKEN_ROW as error:
                unreadable.append(Refused(source, f"{file.name}#{number}", "broken_row", f"{error!r}"[:300]))
                continue
            if not examples:
                unreadable.append(Refused(source, f"{file.name}#{number}", "no_positive", "the row names no positive"))
            for raw in examples:
                yield _Drawn(content_id(source, repr(raw.query), repr(raw.positive)), file, raw)


def _draw(examples: Iterator[_Drawn], *, cap: int, seed: int) -> list[_Drawn]:
    """At most `cap` examples, those whose id has the least hash with the seed, in order of that hash.

    So the draw is the same in whatever order the files are read, and a larger cap adds to a smaller one.
    """
    kept: dict[str, _Drawn] = {}
    heap: list[tuple[float, str]] = []
    for one in examples:
        if one.example_id in kept:
            continue
        place = -_place(seed, one.example_id)
        if len(heap) < cap:
            heapq.heappush(heap, (place, one.example_id))
        elif place > heap[0][0]:
            del kept[heapq.heapreplace(heap, (place, one.example_id))[1]]
        else:
            continue
        kept[one.example_id] = one
    return [kept[example_id] for _, example_id in sorted(heap, reverse=True)]


def _place(seed: int, example_id: str, purpose: str = "cap") -> float:
    """A number from 0 to 1 that is a function of its arguments."""
    digest = hashlib.sha256(f"{purpose}/{seed}/{example_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _taken(
    one: _Drawn,
    source: str,
    sets: PublicSets,
    store: ImageStore,
    *,
    share: SetShare,
    recipe: MixtureRecipe,
    limits: PictureLimits,
    seed: int,
) -> PublicExample | Refused:
    """The example with its pictures in the store. A negative whose picture is missing is left out of it."""
    whole, part = divmod(share.weight, 1)
    copies = int(whole) + (_place(seed, one.example_id, "weight") < part)

    def document(raw: RawDocument) -> Document:
        return raw.with_digests(
            {path: store.put(sets.picture(one.file, path), limits=limits).digest for path in raw.paths}
        )

    try:
        query, positive = document(one.raw.query), document(one.raw.positive)
    except DataError as error:
        return Refused(source, one.example_id, "picture", str(error)[:300])
    negatives: dict[Document, None] = {}
    for raw in one.raw.negatives:
        if len(negatives) == recipe.max_negatives:
            break
        try:
            negatives[document(raw)] = None
        except DataError:
            continue  # the example is whole without it, and the next negative takes its place
    negatives.pop(positive, None)
    return PublicExample(
        example_id=one.example_id,
        source=source,
        query=query,
        positive=positive,
        negatives=tuple(negatives),
        copies=copies,
    )
