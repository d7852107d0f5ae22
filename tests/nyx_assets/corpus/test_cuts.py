"""Cuts: where they fall, and that token counts add up there."""

import random

import pytest

from nyx_assets.corpus.cuts import cut_anywhere, cut_at_sentence, paragraphs_of, seams_are_additive, sentences_of
from training_kernels.tokenizer import TINY, load_text_tokenizer

NASTY = [
    *("word", "Tea", "it's", "don'T", " ", "  ", "\t", "\n", "\n\n", "\r\n", ". ", "! ", "?", "...", "Dr.", "1234"),
    *("é", "e\u0301", "\u0338", "\u200d", "\x1c", "\x1f", "\x85", "\u2028", "\u00a0", "\u3000", "\x0b", "。", "好"),
    *("下一步", "”", ")", "<|image_pad|>", "👩‍👩‍👧", "\ufeff", "한", "กำ", "_", "#", ", ", " Be", "\u200b", "\x00"),
]


@pytest.fixture(scope="module")
def tokenizer():
    return load_text_tokenizer(TINY)


class MarksStarts:
    """Counts words, and one more for the start of every text, as tokenizers with a start token do."""

    def count(self, texts):
        return [1 + len(text.split()) for text in texts]


def nasty_text(seed: int) -> str:
    rng = random.Random(seed)
    weights = [rng.random() ** 3 for _ in NASTY]
    return "".join(rng.choices(NASTY, weights, k=rng.randrange(1, 120)))


def test_counts_add_up_at_every_seam_of_any_text(tokenizer):
    num_seams = 0
    for seed in range(600):
        text = nasty_text(seed)
        for pieces in (paragraphs_of(text), sentences_of(text)):
            assert "".join(pieces) == text
            assert len(pieces) == 1 or all(piece.strip() for piece in pieces)
            assert sum(tokenizer.count(pieces)) == tokenizer.count([text])[0], (seed, pieces)
            num_seams += len(pieces) - 1
    assert num_seams > 3000


def test_a_tokenizer_that_marks_starts_is_found_out(tokenizer):
    assert seams_are_additive(tokenizer)
    assert not seams_are_additive(MarksStarts())


def test_paragraphs_end_with_their_blank_lines():
    text = "\n\n Title\n\n  \nOne\nline.\r\n\r\nTwo.\n\n"
    assert paragraphs_of(text) == ["\n\n Title\n\n  \n", "One\nline.\r\n\r\n", "Two.\n\n"]


def test_sentences_keep_their_marks_and_leave_the_gap_to_the_next():
    text = "Dr. No met J. R. at 3.5 km. “Really?” Yes! It was e.g. wet...\n  Then\nend. Ça va. 好。 再来。不"
    assert sentences_of(text) == [
        "Dr. No met J. R. at 3.5 km.",
        " “Really?”",
        " Yes!",
        " It was e.g. wet...\n",
        "  Then\n",
        "end.",
        " Ça va.",
        " 好。",
        " 再来。不",
    ]


def test_a_sentence_without_gap_is_cut_at_the_last_full_stop_that_fits(tokenizer):
    text = "先把水烧开。然后放入面条！煮三分钟，关火。盛出即可"
    whole = tokenizer.count([text])[0]
    starts = ["先把水烧开。", "先把水烧开。然后放入面条！", "先把水烧开。然后放入面条！煮三分钟，关火。"]
    counts = tokenizer.count(starts)
    for budget in range(1, whole):
        fitting = [(start, count) for start, count in zip(starts, counts, strict=True) if count <= budget]
        cut = cut_at_sentence(text, tokenizer, budget=budget)
        assert cut == (fitting[-1] if fitting else None), budget


@pytest.mark.parametrize("budget", [8, 21, 200])
def test_a_cut_fits_its_budget_nearly_fills_it_and_is_counted_exactly(tokenizer, budget):
    for text in ("donaudampfschiff" * 700, "好吃的面条加水" * 300, "tea and milk " * 400, "𝔘𝔫𝔦" * 400):
        start, tokens = cut_anywhere(text, tokenizer, budget=budget)
        assert text.startswith(start)
        assert [tokens] == tokenizer.count([start])
        assert budget * 0.6 <= tokens <= budget


def test_a_cut_inside_words_spares_words_where_it_can_and_combining_marks_always(tokenizer):
    start, _ = cut_anywhere("first " + "x" * 900, tokenizer, budget=20)
    assert start == "first"
    zalgo = "e\u0301\u0323\u0308" * 60
    for budget in range(12, 60):
        start, _ = cut_anywhere(zalgo, tokenizer, budget=budget)
        assert len(start) % 4 == 0, budget


def test_a_cut_leaves_no_rest_of_whitespace_alone(tokenizer):
    word = "x" * 160
    start, _ = cut_anywhere(word + "\n\n", tokenizer, budget=tokenizer.count([word])[0])
    assert 0 < len(start) < len(word)
    start, _ = cut_anywhere(" \n\t\n" + word, tokenizer, budget=tokenizer.count([" \n\t\n"])[0] + 1)
    assert start.strip()
