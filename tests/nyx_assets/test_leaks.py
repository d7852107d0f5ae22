"""A planted leak of each kind is found; what only looks like one is not."""

import random

import pytest

from nyx_assets.leaks import QuestionSet, in_two_splits, leaks
from training_kernels.documents import Document, Segment

HASHES = {"a": "00" * 32, "b": "ff" * 32, "c": "0f" * 32, "a2": "01" + "00" * 31, "plain": None}
"""Perceptual hashes by picture; a2 is a near copy of a."""


def picture(name: str) -> Segment:
    return Segment(image=name)


def words(seed: int, num: int = 60) -> str:
    drawn = random.Random(seed)
    return " ".join(f"w{drawn.randrange(4000)}" for _ in range(num))


def found(training: QuestionSet, suite: QuestionSet) -> set[tuple[str, str, str, str]]:
    return {
        (leak.kind, leak.suite_id, leak.training_id, leak.sign)
        for leak in leaks(training, suite, hash_of=HASHES.__getitem__)
    }


def asked(**queries: Document) -> QuestionSet:
    return QuestionSet(queries, {})


def answered(**answers: Document) -> QuestionSet:
    return QuestionSet({}, answers)


NOTHING = QuestionSet({}, {})


def test_a_question_asked_in_training_leaks_whatever_its_case_and_length():
    training = asked(t1=Document.of("who built it"), t2=Document.of("Which clock stopped at noon in 1911?"))
    suite = asked(s1=Document.of("Who built it?"), s2=Document.of("which clock stopped at noon in 1911"))
    suite = QuestionSet(suite.queries | {"s3": Document.of("Which clock stopped at dawn in 1911?")}, {})
    assert found(training, suite) == {("query", "s1", "t1", "text"), ("query", "s2", "t2", "text")}


def test_an_edited_copy_of_a_gold_text_leaks_and_another_text_does_not():
    edited = words(1).replace("w1", "edited", 1)
    training = answered(t1=Document.of(edited), t2=Document.of(words(2)))
    suite = answered(s1=Document.of(words(1)), s3=Document.of(words(3)))
    assert found(training, suite) == {("answer", "s1", "t1", "text")}
    (leak,) = leaks(training, suite, hash_of=HASHES.__getitem__)
    assert 0.8 <= leak.similarity < 1
    assert str(leak).startswith("answer s1 stands in training as t1: ")


@pytest.mark.parametrize("shown", ["a", "a2"])
def test_an_answer_that_shows_a_training_picture_or_a_near_copy_leaks(shown):
    training = answered(t1=Document.of(words(1), picture("a")), t2=Document.of(words(2), picture("b")))
    suite = answered(s1=Document.of(words(3), picture(shown)), s2=Document.of(picture("c")))
    assert found(training, suite) == {("answer", "s1", "t1", "picture")}


def test_a_question_about_a_picture_leaks_only_with_its_picture():
    training = asked(t1=Document.of("What is shown here in the yard?", picture("a")))
    same_words = {"s1": Document.of("What is shown here in the yard?", picture("b"))}
    same_picture = {"s2": Document.of("Which year is on the wall of it?", picture("a2"))}
    both = {"s3": Document.of("what is shown here, in the yard", picture("a2"))}
    picture_alone = {"s4": Document.of(picture("a"))}
    suite = QuestionSet(same_words | same_picture | both | picture_alone, {})
    assert found(training, suite) == {("query", "s3", "t1", "text"), ("query", "s4", "t1", "picture")}


def test_queries_are_held_against_queries_and_answers_against_answers():
    text = Document.of(words(1))
    assert found(asked(t1=text), answered(s1=text)) == set()
    assert found(answered(t1=text), asked(s1=text)) == set()


def test_a_picture_on_very_many_training_documents_gives_nothing_away():
    logo = {f"t{number}": Document.of(words(number), picture("a")) for number in range(20)}
    suite = answered(s1=Document.of(words(99), picture("a")))
    assert found(QuestionSet({}, logo), suite) == set()
    assert len(found(QuestionSet({}, dict(list(logo.items())[:10])), suite)) == 10


def test_every_training_copy_is_named_so_that_each_can_be_left_out():
    training = {f"t{number:02}": Document.of(words(1)) for number in range(200)}
    assert (
        len(found(QuestionSet(training, {}), asked(s1=Document.of(words(1)), s2=Document.of(words(1).upper())))) == 400
    )


def test_copies_within_the_suite_or_within_training_are_no_leaks():
    training = answered(t1=Document.of(words(1)), t2=Document.of(words(1) + " more"), t3=Document.of(words(3)))
    suite = answered(s1=Document.of(words(2)), s2=Document.of(words(2) + " more"))
    assert found(training, suite) == set()


def test_nothing_leaks_into_nothing():
    suite = QuestionSet({"s1": Document.of("a")}, {"s1": Document.of(picture("plain"))})
    assert leaks(NOTHING, suite, hash_of=HASHES.__getitem__) == []
    assert leaks(suite, NOTHING, hash_of=HASHES.__getitem__) == []


CHUNKS = {"k1": Document.of("one", picture("a")), "k2": Document.of("two", picture("b")), "k3": Document.of("three")}


def pair(doc_id: str, chunk_id: str, split: str, *parts) -> dict:
    return {
        "doc_id": doc_id,
        "chunk_id": chunk_id,
        "split": split,
        "question": Document.of("what is it", *parts).to_rows(),
    }


def faults(*pairs, furniture=(), **clusters) -> dict[str, int]:
    clusters = {"page": {}, "cluster": {}, "chunk": {}, "picture": {}} | clusters
    found = in_two_splits(pairs, CHUNKS, clusters=clusters, furniture=set(furniture))
    return {kind: len(messages) for kind, messages in found.items() if messages}


def test_each_kind_of_thing_in_two_splits_is_found():
    train, test = pair("d1", "k1", "train", picture("a")), pair("d2", "k2", "test")
    assert faults(train, test, pair("d3", "k3", "dev")) == {}
    assert faults(train, pair("d1", "k2", "test")) == {"page": 1, "cluster": 1}
    assert faults(train, test, page={"d1": "d1", "d2": "d1"}) == {"page": 1}
    assert faults(train, test, cluster={"d1": "site/a", "d2": "site/a"}) == {"cluster": 1}
    assert faults(train, pair("d2", "k1", "dev")) == {"chunk": 1, "picture": 1}
    assert faults(train, test, chunk={"k1": "k1", "k2": "k1"}) == {"chunk": 1}
    assert faults(train, test, picture={"a": "a", "b": "a"}) == {"picture": 1}
    assert faults(train, pair("d3", "k3", "test", picture("a"))) == {"picture": 1}


def test_furniture_may_stand_in_two_splits_and_a_page_may_not():
    train, test = pair("d1", "k1", "train"), pair("d2", "k2", "test", picture("a"))
    assert faults(train, test, furniture=[("picture", "a")]) == {}
    assert faults(train, test, furniture=[("chunk", "a")]) == {"picture": 1}
    assert faults(train, pair("d1", "k2", "dev"), furniture=[("picture", "a")]) == {"page": 1, "cluster": 1}
