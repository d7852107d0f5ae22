"""A document is read as one string between its pictures."""

from training_kernels.documents import Document, Segment

IO = Segment(image="io")


def test_texts_that_follow_each_other_are_one_run_a_line_apart():
    document = Document.of("a", "b", IO, "c", IO, IO, "d", "e", "f")
    assert document.runs() == Document.of("a\nb", IO, "c", IO, IO, "d\ne\nf").segments
    assert Document.of().runs() == ()


def test_the_instruction_stands_right_before_the_first_text_or_picture():
    assert Document.of("a", "b").runs("Find: ") == Document.of("Find: a\nb").segments
    assert Document.of(IO, "a").runs("Find: ") == Document.of("Find: ", IO, "a").segments
