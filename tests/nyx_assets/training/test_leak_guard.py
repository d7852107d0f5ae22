"""Planted leaks of each kind are found, whichever suite they are of, and nothing else."""

import random

import pytest

from nyx_assets.leaks import QuestionSet, leaks
from nyx_assets.training.leak_guard import PICTURE_LEAK, TEXT_LEAK, HeldOut
from nyx_assets.training.mixture import PublicExample
from training_kernels.documents import Document, Segment

CHUNK = (
    "The lighthouse of Orsund was lit in the spring of 1861 by its keeper Ada Quill, who had come from the mainland "
    "with her two brothers and a cow, and it burned colza oil until the winter of 1904."
)
SUITES = {
    "nyxqa": QuestionSet(
        {"q1": Document.of("Who lit the lighthouse of Orsund in the spring of 1861?")},
        {"c1": Document.of(CHUNK, Segment(image="aa"))},
    ),
    "own": QuestionSet({"q2": Document.of(Segment(image="bb"))}, {"c2": Document.of("Plums are blue in October.")}),
}
HASHES = {"aa": "00" * 32, "bb": "ff" * 32, "cc": "0f" * 32, "aa again": "03" + "00" * 31, "plain": None}
"""Perceptual hashes by picture; "aa again" is a near copy of aa."""
HELD_OUT = HeldOut(SUITES, HASHES.get)
FREE = Document.of("What do plums and sugar give after an hour on the stove?")


def example(name: str, query: Document, positive: Document) -> PublicExample:
    return PublicExample(
        example_id=name, source="s", query=query, positive=positive, negatives=(Document.of(CHUNK),), copies=1
    )


def test_copies_and_near_copies_in_query_and_positive_are_found_in_every_suite() -> None:
    found = HELD_OUT.leaks(
        [
            example("free", FREE, Document.of("Jam is boiled for an hour, then it is put into glasses while hot.")),
            example("same question", Document.of("who lit the lighthouse of Orsund in the spring of 1861"), FREE),
            example("edited chunk", FREE, Document.of(CHUNK.replace("1904", "1905"))),
            example("picture of a chunk", FREE, Document.of("A cow.", Segment(image="aa"))),
            example("picture question", Document.of(Segment(image="bb")), FREE),
            example("other picture", Document.of(Segment(image="cc")), FREE),
            example("same topic", FREE, Document.of("The lighthouse of Orsund has two lamps and a horn for the fog.")),
        ]
    )
    assert found.keys() == {"same question", "edited chunk", "picture of a chunk", "picture question"}
    assert found["same question"].rule == TEXT_LEAK
    assert found["same question"].reason.startswith("nyxqa: query q1 stands in training as same question")
    assert found["picture question"].rule == PICTURE_LEAK
    assert found["picture question"].reason.startswith("own: query q2")


OTHER_WORDS = Document.of("A cow.")


@pytest.mark.parametrize("shown", ["aa", "aa again"])
@pytest.mark.parametrize("side", ["query", "positive"])
def test_a_held_out_picture_or_a_near_copy_is_found_on_either_side_beside_any_words(shown: str, side: str) -> None:
    document = Document.of("In which year was this photograph taken?", Segment(image=shown))
    planted = example("planted", document, OTHER_WORDS) if side == "query" else example("planted", FREE, document)
    found = HELD_OUT.leaks([planted, example("free", Document.of("What?", Segment(image="cc")), OTHER_WORDS)])
    assert found.keys() == {"planted"}
    assert found["planted"].rule == PICTURE_LEAK
    assert found["planted"].reason.startswith("nyxqa: ")
    assert "c1" in found["planted"].reason


def test_a_picture_that_many_examples_ask_about_is_found_in_each_of_them() -> None:
    many = [
        example(f"e{number}", Document.of(f"What of it, {number}?", Segment(image="bb")), FREE) for number in range(40)
    ]
    assert HELD_OUT.leaks(many).keys() == {one.example_id for one in many}


def test_a_held_out_chunk_as_a_negative_gives_nothing_away() -> None:
    negative = Document.of(CHUNK, Segment(image="aa"))
    one = PublicExample(example_id="e", source="s", query=FREE, positive=OTHER_WORDS, negatives=(negative,), copies=1)
    assert HELD_OUT.leaks([one]) == {}


def test_a_plain_area_is_found_by_its_file_only() -> None:
    suite = HeldOut({"own": QuestionSet({}, {"c": Document.of("x", Segment(image="plain"))})}, HASHES.get)
    shown = {name: example(name, FREE, Document.of(Segment(image=name))) for name in ("plain", "aa")}
    assert suite.leaks(list(shown.values())).keys() == {"plain"}


@pytest.mark.long
def test_what_the_guard_lets_through_of_each_set_passes_the_blocking_check_over_all_sets() -> None:
    """The check compares everything at once; a leak that only shows then would stop the whole manifest."""
    draw = random.Random(4)
    template = [f"w{number}" for number in range(60)]

    def edited() -> str:
        words = list(template)
        for place in draw.sample(range(60), draw.choice((0, 1, 2, 8, 30))):
            words[place] = f"x{draw.randrange(9999)}"
        return " ".join(words)

    pictures = {f"p{number}": f"{draw.getrandbits(12):064x}" for number in range(60)}
    held_out = QuestionSet(
        {f"q{number}": Document.of(edited(), Segment(image=f"p{number}")) for number in range(3)},
        {f"c{number}": Document.of(edited(), Segment(image=f"p{number + 3}")) for number in range(3)},
    )
    guard = HeldOut({"nyxqa": held_out}, pictures.get)
    sets = [
        [
            example(
                f"{name}{number}",
                Document.of(edited(), *([Segment(image=f"p{draw.randrange(6, 60)}")] if number % 3 else [])),
                Document.of(edited(), *([Segment(image=f"p{draw.randrange(6, 60)}")] if number % 2 else [])),
            )
            for number in range(150)
        ]
        for name in "ab"
    ]
    passed = [one for examples in sets for one in examples if one.example_id not in guard.leaks(examples)]
    assert 0 < len(passed) < 300
    training = QuestionSet(
        {one.example_id: one.query for one in passed}, {one.example_id: one.positive for one in passed}
    )
    assert leaks(training, held_out, hash_of=pictures.get) == []


def test_with_nothing_held_out_or_nothing_to_check_nothing_leaks() -> None:
    assert HeldOut({}, HASHES.get).leaks([example("any", FREE, FREE)]) == {}
    assert HELD_OUT.leaks([]) == {}
