"""What a batch's queries are held against, and which candidates are no negatives of which."""

from dataclasses import replace

import pytest

from training_kernels.candidates import Answers, Candidates
from training_kernels.config import LossConfig
from training_kernels.documents import Document
from training_kernels.examples import Example, ExampleSet

PLAIN = LossConfig(temperature=0.1, weight_by_dim=((4, 1.0),))


def example(name: str, query: str, positive: str, *negatives: str, answer: str = "") -> Example:
    return Example(example_id=name, query=query, positive=positive, negatives=negatives, source="made", answer=answer)


EXAMPLES = (
    example("e1", "q1", "io", "tea", "egg", answer="volcano"),
    example("e2", "q2", "map", "moons", "io-copy"),
    example("e3", "q3", "egg", "tea", "map", answer="ten minutes"),
    example("e4", "q1", "moons"),  # not in the batch: "moons" answers q1 as well
    example("e5", "q5", "tea", answer="volcano"),  # nor this: "tea" answers in the words of e1
    example("e6", "q6", "q3", answer=""),
)
NAMES = sorted({name for one in EXAMPLES for name in (one.query, one.positive, *one.negatives)} | {"egg-copy"})
TRAINING = ExampleSet(
    {name: Document.of(name) for name in NAMES},
    EXAMPLES,
    {"io": "io", "io-copy": "io", "egg": "egg", "egg-copy": "egg", "map": "map"},
)
BATCH = EXAMPLES[:3]


def candidates(negatives_per_query: int = 2, batch=BATCH, **changes) -> Candidates:
    config = replace(PLAIN, **changes)
    return Answers(TRAINING, config).candidates_of(batch, config, negatives_per_query=negatives_per_query)


def ignored(**changes) -> set[tuple[str, str]]:
    made = candidates(**changes)
    assert list(made.ignored) == sorted(made.ignored)
    return {(BATCH[row].query, made.shared[column]) for row, column in made.ignored}


def test_every_document_of_a_batch_is_a_candidate_once():
    assert candidates(1).shared == ("io", "map", "egg", "tea", "moons")
    assert candidates(0).shared == ("io", "map", "egg")
    assert candidates(2).shared == ("io", "map", "egg", "tea", "moons", "io-copy")
    assert candidates(2).positive == (0, 1, 2)
    assert candidates(2).own == ()


def test_another_positive_of_a_query_is_no_negative_of_it_whatever_the_recipe():
    assert ignored() == {("q1", "moons")}


def test_the_query_itself_is_no_negative_of_it():
    batch = (EXAMPLES[5], EXAMPLES[2])
    made = candidates(batch=batch)
    assert [(batch[row].query, made.shared[column]) for row, column in made.ignored] == [("q3", "q3")]


def test_near_copies_of_an_answer_are_ignored_by_recipe():
    assert ignored(false_negatives=("near_duplicate",)) == {("q1", "moons"), ("q1", "io-copy")}


def test_documents_that_answer_in_the_same_words_are_ignored_by_recipe():
    assert ignored(false_negatives=("same_answer",)) == {("q1", "moons"), ("q1", "tea")}
    both = ignored(false_negatives=("same_answer", "near_duplicate"))
    assert both == {("q1", "moons"), ("q1", "tea"), ("q1", "io-copy")}


def test_no_answer_is_not_an_answer_that_two_examples_share():
    assert not {query for query, _ in ignored(false_negatives=("same_answer",))} & {"q2"}


def test_own_negatives_stand_with_their_query_alone_and_are_no_candidates_of_the_others():
    made = candidates(2, hard_negatives="own")
    assert made.shared == ("io", "map", "egg")
    assert made.own == ((0, "tea"), (1, "moons"), (1, "io-copy"), (2, "tea"))


def test_an_own_negative_that_is_another_querys_positive_is_held_against_its_query_once():
    made = candidates(2, hard_negatives="own")
    for row, one in enumerate(BATCH):
        held = [*made.shared, *(document for owner, document in made.own if owner == row)]
        assert sorted(held) == sorted({*(each.positive for each in BATCH), *one.negatives})


@pytest.mark.parametrize(
    ("rules", "gone"), [((), set()), (("same_answer",), {(0, "tea")}), (("near_duplicate",), set())]
)
def test_an_own_negative_that_answers_the_query_is_left_out(rules, gone):
    everything = set(candidates(2, hard_negatives="own").own)
    assert everything - set(candidates(2, hard_negatives="own", false_negatives=rules).own) == gone
    copied = replace(EXAMPLES[2], negatives=("egg-copy", "tea"))
    own = candidates(2, batch=(*BATCH[:2], copied), hard_negatives="own", false_negatives=rules).own
    assert ((2, "egg-copy") in own) == ("near_duplicate" not in rules)
