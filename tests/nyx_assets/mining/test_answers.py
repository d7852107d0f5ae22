"""When a text counts as holding an answer."""

import pytest

from nyx_assets.mining.answers import contains_answer


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("It was lit by the Ada  QUILL.", "Ada Quill", True),
        ("Quill, Ada", "Ada Quill", False),
        ("a megalith", "lit", False),
        ("the Moon of Ors", "moon", True),
        ("It holds the key", "The key", True),
        ("in 1861, at dawn", "1861", True),
        ("in 21861", "1861", False),
        ("with 12 lamps", "12", False),
        ("12 lamps burn", "12 lamps", True),
        ("is it so? yes", "Yes", False),
        ("go up", "up", False),
        ("放入红烧肉即可", "红烧肉", True),
        ("放入红烧肉即可", "烧肉", True),
        ("放入红烧肉即可", "肉", False),
        ("anything", "…", False),
    ],
)
def test_an_answer_counts_as_contained_by_whole_telling_words_only(text: str, answer: str, expected: bool) -> None:
    assert contains_answer(text, answer) is expected
