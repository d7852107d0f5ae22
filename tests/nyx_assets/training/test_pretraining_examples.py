"""Public examples as training reads them."""

from pathlib import Path

from nyx_assets.records import PUBLIC_EXAMPLES
from nyx_assets.training.examples import public_examples
from nyx_assets.training.mixture import PublicExample
from resources.home import Home
from resources.tables import Provenance
from training_kernels.documents import Document, Segment

PASSAGE, OTHER = Document.of("Io is yellow."), Document.of("Mars", Segment(image="aa"))


def test_documents_are_shared_by_content_and_an_example_stands_as_often_as_its_copies_say(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    made = [
        PublicExample(
            example_id="e1", source="s", query=Document.of("Which?"), positive=PASSAGE, negatives=(OTHER,), copies=3
        ),
        PublicExample(
            example_id="e2",
            source="t",
            query=Document.of("What?"),
            positive=OTHER,
            negatives=(PASSAGE, OTHER, Document.of("What?"), PASSAGE),
            copies=1,
        ),
    ]
    provenance = Provenance(code_version="1")
    with home.tables.write("public_examples", PUBLIC_EXAMPLES, partition=None, provenance=provenance) as writer:
        writer.append([example.to_row() for example in made])
    training = public_examples(home)
    documents, examples = training.documents, training.examples
    assert len(documents) == 4
    assert [(one.example_id, one.source) for one in examples] == [
        ("e1", "s"),
        ("e1#2", "s"),
        ("e1#3", "s"),
        ("e2", "t"),
    ]
    read = [
        (documents[one.query].text, documents[one.positive], [documents[name] for name in one.negatives])
        for one in examples
    ]
    assert read == [("Which?", PASSAGE, [OTHER])] * 3 + [("What?", OTHER, [PASSAGE])]


def test_public_documents_of_the_same_words_are_near_copies(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    shouted = Document.of("IO is   yellow, and has more volcanoes than any other moon")
    plain = Document.of("Io is yellow and has more volcanoes than any other moon.")
    example = PublicExample(
        example_id="e", source="s", query=Document.of("Which?"), positive=shouted, negatives=(plain, OTHER), copies=1
    )
    provenance = Provenance(code_version="1")
    with home.tables.write("public_examples", PUBLIC_EXAMPLES, partition=None, provenance=provenance) as writer:
        writer.append([example.to_row()])
    training = public_examples(home)
    (made,) = training.examples
    assert training.cluster_by_document.keys() == {made.positive, made.negatives[0]}
    assert len(set(training.cluster_by_document.values())) == 1
