"""Planted leaks of each kind are found, whichever suite they are of, and nothing else."""

from nyx_assets.leaks import QuestionSet
from nyx_assets.training.leak_guard import HeldOut
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
HASHES = {"aa": "00" * 32, "bb": "ff" * 32, "cc": "0f" * 32}
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
    assert found["same question"].startswith("nyxqa: query q1 stands in training as same question")
    assert found["picture question"].startswith("own: query q2")


def test_with_nothing_held_out_or_nothing_to_check_nothing_leaks() -> None:
    assert HeldOut({}, HASHES.get).leaks([example("any", FREE, FREE)]) == {}
    assert HELD_OUT.leaks([]) == {}
