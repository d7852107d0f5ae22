"""A document is read as one string between its pictures."""

import pytest

from training_kernels.documents import Document, Segment
from training_kernels.errors import DataError

IO = Segment(image="io")


def test_texts_that_follow_each_other_are_one_run_a_line_apart():
    document = Document.of("a", "b", IO, "c", IO, IO, "d", "e", "f")
    assert document.runs() == Document.of("a\nb", IO, "c", IO, IO, "d\ne\nf").segments
    assert Document.of().runs() == ()


def test_the_instruction_stands_right_before_the_first_text_or_picture():
    assert Document.of("a", "b").runs("Find: ") == Document.of("Find: a\nb").segments
    assert Document.of(IO, "a").runs("Find: ") == Document.of("Find: ", IO, "a").segments


@pytest.mark.parametrize(
    "broken",
    [
        {"kind": "image", "text": "a picture", "image": None},
        {"kind": "text", "text": None, "image": "io"},
        {"kind": "video", "text": "a", "image": None},
        {"kind": None, "text": "a", "image": None},
        {"kind": "text", "text": "a", "image": "io"},
        {"kind": "text", "text": None, "image": None},
    ],
)
def test_a_segment_that_is_not_what_its_kind_says_is_refused_with_its_place(broken):
    sound = Document.of("a", IO, "")
    assert Document.from_rows(sound.to_rows()) == sound
    with pytest.raises(DataError, match=rf"segments\[3\] has kind={broken['kind']!r}, text={broken['text']!r}"):
        Document.from_rows([*sound.to_rows(), broken])
