"""A made world whose pictures and captions can be learnt from nothing in minutes: coloured shapes on coloured grounds.

Held-out scenes are never trained: what is found of them is understood by its parts. Every example has a picture drawn
anew (place, size and noise differ), for of few drawings a model learns the noise by heart.

Letters: P pixels along a side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Literal

import numpy as np
from PIL import Image

from training_kernels.documents import Document, Segment
from training_kernels.examples import Example, ExampleSet

SHAPES = ("circle", "square", "triangle", "cross", "ring", "diamond")
COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 170, 60),
    "blue": (45, 75, 220),
    "yellow": (235, 215, 45),
    "purple": (145, 50, 175),
    "orange": (245, 140, 30),
    "white": (245, 245, 245),
    "black": (15, 15, 15),
}
PLACES = {
    "top left": (0.27, 0.27),
    "top right": (0.73, 0.27),
    "bottom left": (0.27, 0.73),
    "bottom right": (0.73, 0.73),
}
"""Middle, as shares of width and height."""
SIZES = {"small": 0.10, "large": 0.19}
"""Half a side, as a share of the picture's."""
GROUNDS = {"grey": (128, 128, 128), "pink": (245, 190, 200), "cyan": (120, 220, 230), "brown": (110, 75, 45)}

SIDE_PIXELS = 56
"""Four visual tokens. Choice: the least at which a small shape is more than a patch's corner."""

NOISE = 10
"""Every pixel is off by at most this much, of 255; no colour above is nearer than this to either end."""

Task = Literal["text to picture", "picture to text", "mixed"]
TASKS: tuple[Task, ...] = ("text to picture", "picture to text", "mixed")
"""Mixed: the query is a picture of one scene with the caption of a second, its document the caption of the first with a
picture of the second, so that neither half is found without crossing from text to picture or back."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One shape of a scene."""

    size: str
    colour: str
    shape: str
    place: str


@dataclass(frozen=True, slots=True)
class Scene:
    """Things at places of their own, on a ground."""

    things: tuple[Thing, ...]
    ground: str

    def caption(self, generator: np.random.Generator) -> str:
        """One of three ways to say it, the things in any order."""
        things = [self.things[place] for place in generator.permutation(len(self.things))]
        match int(generator.integers(3)):
            case 0:
                said = [f"a {one.size} {one.colour} {one.shape} at the {one.place}" for one in things]
                return f"{', '.join(said)} on a {self.ground} background"
            case 1:
                said = [f"a {one.size} {one.colour} {one.shape} in the {one.place} corner" for one in things]
                return f"{self.ground} background with {' and '.join(said)}"
            case _:
                said = [f"there is a {one.size} {one.shape}, it is {one.colour}, {one.place}" for one in things]
                return f"{', '.join(said)}, over {self.ground}"


def scenes_of_one_thing() -> list[Scene]:
    """All 1,536."""
    every = product(SIZES, COLOURS, SHAPES, PLACES, GROUNDS)
    return [Scene((Thing(size, colour, shape, place),), ground) for size, colour, shape, place, ground in every]


def scenes_of_things(num_things: int, *, num_scenes: int, seed: int) -> list[Scene]:
    """So many different scenes of so many things; there are some 200,000 of two things, and 14 million of three."""
    generator = np.random.default_rng(seed)
    sizes, colours, grounds = list(SIZES), list(COLOURS), list(GROUNDS)
    place_sets = list(combinations(PLACES, num_things))
    scenes: dict[Scene, None] = {}
    while len(scenes) < num_scenes:
        places = place_sets[generator.integers(len(place_sets))]
        looks = generator.integers([len(sizes), len(colours), len(SHAPES)], size=(num_things, 3)).tolist()
        things = tuple(
            Thing(sizes[size], colours[colour], SHAPES[shape], place)
            for (size, colour, shape), place in zip(looks, places, strict=True)
        )
        scenes[Scene(things, grounds[generator.integers(len(grounds))])] = None
    return list(scenes)


class ScenePictures:
    """A picture source without files: the name of a picture is its scene's number and the number of the drawing."""

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self.scenes = scenes

    def open(self, digest: str) -> Image.Image:
        scene, drawing = map(int, digest.split("-"))
        return drawn(self.scenes[scene], np.random.default_rng([scene, drawing]))

    def size(self, digest: str) -> tuple[int, int]:
        return SIDE_PIXELS, SIDE_PIXELS


def drawn(scene: Scene, generator: np.random.Generator) -> Image.Image:
    """The scene with shapes a little moved and scaled, and noise."""
    row_P1, column_1P = np.ogrid[:SIDE_PIXELS, :SIDE_PIXELS]
    pixels = np.full((SIDE_PIXELS, SIDE_PIXELS, 3), GROUNDS[scene.ground], dtype=np.int16)
    for thing in scene.things:
        middle = np.array(PLACES[thing.place]) + generator.uniform(-0.04, 0.04, size=2)
        half = SIDE_PIXELS * SIZES[thing.size] * generator.uniform(0.9, 1.1)
        across_1P = (column_1P - SIDE_PIXELS * middle[0]) / half
        down_P1 = (row_P1 - SIDE_PIXELS * middle[1]) / half
        pixels[_covered(thing.shape, across_1P, down_P1)] = COLOURS[thing.colour]
    pixels += generator.integers(-NOISE, NOISE + 1, pixels.shape, dtype=np.int8)
    return Image.fromarray(pixels.astype(np.uint8))


def _covered(shape: str, across_1P: np.ndarray, down_P1: np.ndarray) -> np.ndarray:
    """Which pixels [P, P] a shape covers, its middle at 0 and its half side 1."""
    right_1P, below_P1 = np.abs(across_1P), np.abs(down_P1)
    match shape:
        case "circle":
            return across_1P**2 + down_P1**2 < 1
        case "square":
            return np.maximum(right_1P, below_P1) < 0.85
        case "triangle":
            return (down_P1 < 0.8) & (down_P1 > 2 * right_1P - 1)
        case "cross":
            return (np.minimum(right_1P, below_P1) < 0.33) & (np.maximum(right_1P, below_P1) < 1)
        case "ring":
            square = across_1P**2 + down_P1**2
            return (square < 1) & (square > 0.3)
        case _:
            return right_1P + below_P1 < 1


def training_set(
    scenes: Sequence[Scene], numbers: Sequence[int], *, tasks: Sequence[Task], num_examples: int, seed: int
) -> ExampleSet:
    """So many examples of each task over the scenes of these numbers, each scene about equally often.

    Two captions of a scene are the same answer, whatever their words, and two pictures of it as well: they share a
    cluster of near copies, so that no batch has one as the other's negative.
    """
    generator = np.random.default_rng([seed, 1])
    documents: dict[str, Document] = {}
    clusters: dict[str, str] = {}
    examples: list[Example] = []

    def document(document_id: str, cluster: str, *parts: str | Segment) -> str:
        documents.setdefault(document_id, Document.of(*parts))
        clusters[document_id] = cluster
        return document_id

    def picture(scene: int, example: int) -> Segment:
        return Segment(image=f"{scene}-{example}")

    for task in tasks:
        rounds = -(-num_examples // len(numbers))
        firsts = np.concatenate([generator.permutation(numbers) for _ in range(rounds)])[:num_examples]
        seconds = generator.permutation(firsts)
        for first, second in zip(firsts.tolist(), seconds.tolist(), strict=True):
            number = len(examples)
            said = scenes[first].caption(generator)
            if task == "mixed":
                cluster = f"{first}+{second}"
                other = scenes[second].caption(generator)
                query = document(f"query {number}", cluster, picture(first, 2 * number), other)
                positive = document(f"document {number}", cluster, said, picture(second, 2 * number + 1))
            else:
                shown = document(f"picture {number}", str(first), picture(first, 2 * number))
                text = document(said, str(first), said)
                query, positive = (text, shown) if task == "text to picture" else (shown, text)
            examples.append(Example(example_id=str(number), query=query, positive=positive, negatives=(), source=task))
    return ExampleSet(documents, tuple(examples), clusters)


def held_out_pairs(
    scenes: Sequence[Scene], numbers: Sequence[int], *, task: Task, seed: int
) -> tuple[list[Document], list[Document]]:
    """Queries and the documents that answer them, row by row, one of each scene, from drawings that nobody trains on."""
    generator = np.random.default_rng([seed, 2])
    pictures = [Document.of(Segment(image=f"{scene}-{10**9 + row}")) for row, scene in enumerate(numbers)]
    texts = [Document.of(scenes[scene].caption(generator)) for scene in numbers]
    if task == "text to picture":
        return texts, pictures
    if task == "picture to text":
        return pictures, texts
    order = np.roll(np.arange(len(numbers)), 1)
    queries = [Document((*pictures[row].segments, *texts[other].segments)) for row, other in enumerate(order)]
    answers = [Document((*texts[row].segments, *pictures[other].segments)) for row, other in enumerate(order)]
    return queries, answers
