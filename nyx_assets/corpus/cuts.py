"""Where a text may be cut: after a paragraph, else a sentence, else a word, else between two characters.

Cuts after a line's end and before a gap are *seams*: byte-level BPE behind Qwen's pre-tokenizer has a token boundary
there in every text, so the token counts of the two sides add up to the count of the whole. At any other cut a side has
to be counted as it stands.

Source: the `Split` expression in Qwen2.5-VL's tokenizer.json. A run of line ends belongs to what stands before it, and
no token but a run of whitespace reaches over the start of a gap.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Protocol

GAP = r"[ \t\u00a0\u3000]"
"""Whitespace to every tokenizer; Python's own \\s also takes the separators U+001C to U+001F, which Qwen's does not."""

PARAGRAPH_END = re.compile(r"(?:\n[^\S\n]*\n|\r\r)(?=[^\S\r\n]*\S)")
"""The last line end of a blank line, with the text of the next paragraph behind it."""

SENTENCE_END = re.compile(
    r"[\r\n](?=[^\S\r\n]*\S)"  # a line that is not a sentence ends like one
    r"|[.!?…。！？](?<!\b[A-Z]\.)(?<!\b(?:Dr|Mr|Ms|St|vs|No|pp|cf)\.)(?<!\b(?:Mrs|Fig|Vol|etc)\.)"
    rf"[\"'”’»)\]]*(?={GAP}+[^\sa-z])"
)
SENTENCE_END_WITHOUT_GAP = re.compile(r"[。！？；][”’」』）\"']*(?=[^\s。！？；”’」』）\"'])")
WORD_END = re.compile(r"(?<=\S)(?=\s+\S)")

CHARACTERS_PER_TOKEN = 4.0
"""Where the search for a cut starts; it learns the text's own rate with the first count."""

WINDOW_CHARACTERS_PER_TOKEN = 32
"""How far a cut is looked for: no language averages more characters a token, and a huge word stays linear work."""

SEAM_SAMPLES = (
    ("One sentence.", " Another one"),
    ("It ended.\n\n", "Then it began"),
    ("a) item;\r\n", "b) item"),
    ("(see 12.)", "  34 of them"),
    ("first line \n", "\tsecond line"),
    ("“Is it?”", " “It is”"),
    ("naïve café.", "\u00a0À propos"),
    ("好吃。", "\u3000再来"),
    ("好吃。\n", "再来"),
    ("# ---\n", "--- #"),
    ("don't.", " 'S is not 's"),
)


class TokenCounter(Protocol):
    """What is needed of a tokenizer: training_kernels.tokenizer.TextTokenizer is one."""

    def count(self, texts: Sequence[str]) -> list[int]:
        """Number of tokens of each text as it stands."""
        ...


def seams_are_additive(tokenizer: TokenCounter) -> bool:
    """True if counts add up at seams, tried on samples: byte-level BPE passes, a tokenizer that marks starts does not."""
    left = tokenizer.count([left for left, _ in SEAM_SAMPLES])
    right = tokenizer.count([right for _, right in SEAM_SAMPLES])
    whole = tokenizer.count([left + right for left, right in SEAM_SAMPLES])
    return all(a + b == c for a, b, c in zip(left, right, whole, strict=True))


def paragraphs_of(text: str) -> list[str]:
    """The paragraphs, each with the blank lines behind it; together they are the text. Every cut is a seam."""
    return _split(PARAGRAPH_END, text)


def sentences_of(text: str) -> list[str]:
    """The lines and sentences, a sentence with the gap before it; together they are the text. Every cut is a seam."""
    return _split(SENTENCE_END, text)


def _split(ends: re.Pattern[str], text: str) -> list[str]:
    start_of_words = len(text) - len(text.lstrip())  # a cut before it would make a piece of nothing but whitespace
    cuts = [0, *(match.end() for match in ends.finditer(text, start_of_words)), len(text)]
    return [text[start:end] for start, end in pairwise(cuts)]


def cut_at_sentence(text: str, tokenizer: TokenCounter, *, budget: int, lead: str = "") -> tuple[str, int] | None:
    """The longest start of the text, at most `budget` tokens together with `lead`, that ends with a sentence.

    Returns it with its token count, lead included; None if not even the first sentence fits, or it is the only one.
    """
    window = text[: budget * WINDOW_CHARACTERS_PER_TOKEN]
    ends = [match.end() for match in SENTENCE_END_WITHOUT_GAP.finditer(window)]
    return _longest_start(text, ends, tokenizer, budget=budget, lead=lead)


def cut_anywhere(text: str, tokenizer: TokenCounter, *, budget: int) -> tuple[str, int]:
    """The longest start of the text of at most `budget` tokens: whole sentences, else words, else characters.

    Choice: a word's gap goes with the next word. Neither the start nor the rest is whitespace alone, and a character
    keeps its combining marks, unless there is no other place.
    """
    window = text[: budget * WINDOW_CHARACTERS_PER_TOKEN]
    inside_words = range(len(text) - len(text.lstrip()) + 1, min(len(text.rstrip()), len(window)))
    choices: tuple[Iterable[int], ...] = (
        (match.end() for match in SENTENCE_END_WITHOUT_GAP.finditer(window)),
        (match.end() for match in WORD_END.finditer(window)),
        (end for end in inside_words if _is_between_characters(window, end)),
        inside_words,
        range(1, len(window) + 1),
    )
    for ends in choices:
        if cut := _longest_start(text, list(ends), tokenizer, budget=budget):
            return cut
    raise AssertionError(f"one character is longer than {budget} tokens: {text[:1]!r}")


def _is_between_characters(text: str, end: int) -> bool:
    before, after = text[end - 1], text[end]
    joins = "\u200d"  # zero-width joiner, as between the people of a family emoji
    is_skin_tone = "\U0001f3fb" <= after <= "\U0001f3ff"
    return not (
        before == joins
        or after == joins
        or is_skin_tone
        or unicodedata.category(after).startswith("M")
        or (before == "\r" and after == "\n")
    )


def _longest_start(
    text: str, ends: Sequence[int], tokenizer: TokenCounter, *, budget: int, lead: str = ""
) -> tuple[str, int] | None:
    """text[:end] for the largest of the ascending `ends` that fits, and its exact count, lead included.

    Interpolates, because counts grow almost evenly with length: two or three counts where halving takes ten. A result
    within 3% of the budget ends the search.
    """
    fits, fitting_tokens, fails = -1, 0, len(ends)
    characters_per_token = CHARACTERS_PER_TOKEN
    num_counts = 0
    while fails - fits > 1 and budget - fitting_tokens > budget // 32:
        reached = ends[fits] if fits >= 0 else -len(lead)
        target = reached + (budget - fitting_tokens) * characters_per_token
        middle = bisect_right(ends, target) - 1 if num_counts < 8 else (fits + fails) // 2
        middle = min(max(middle, fits + 1), fails - 1)
        tokens = tokenizer.count([lead + text[: ends[middle]]])[0]
        num_counts += 1
        characters_per_token = (len(lead) + ends[middle]) / max(tokens, 1)
        if tokens <= budget:
            fits, fitting_tokens = middle, tokens
        else:
            fails = middle
    return (text[: ends[fits]], fitting_tokens) if fits >= 0 else None
