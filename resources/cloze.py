"""Cloze rules: which word of a sentence makes a good gap, and which word of a text fills a gap. No model, no chance.

A token is a number, a run of letters, or one CJK character; CJK text is not cut into words, so its gaps are runs of
two to four characters.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from resources.stop_words import STOP_WORDS

GAP = "____"

CJK = "\u3400-\u9fff\u3040-\u30ff\uac00-\ud7af"
NUMBER = r"\d+(?:[.,:]\d+)*"
TOKEN = re.compile(rf"{NUMBER}|[{CJK}]|[^\W\d_{CJK}]+(?:['’-](?!s\b)[^\W\d_{CJK}]+)*")
CJK_CHARACTER = re.compile(f"[{CJK}]")
CODE_MARK = re.compile(r"[{}<>=_\\|#@~^$`;]|::|\w\(|https?:")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？；])|\s*\n+\s*")
CJK_GLUE = re.compile(rf"[^{CJK}]+|[的了和是在将把与及或用入中后前上下为有个到也就再可以约需不要即其]")
CAPITALISED_RUN = re.compile(r"[A-ZÀ-ÖØ-Þ][^\W\d_]+(?: [A-ZÀ-ÖØ-Þ][^\W\d_]+){0,2}")

Shape = Literal["number", "name", "word", "cjk"]

FEWEST_TOKENS = 6
"""Of a sentence that a question is made from, besides the gap; shorter ones name nothing to look for."""

TOKENS_BEFORE, TOKENS_AFTER = 12, 8
"""How much of a sentence stands around its gap: about the length of a typed question."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of a sentence that may be left out."""

    answer: str
    start: int
    end: int
    shape: Shape


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a text, folded, where each stands in it, and at which places a token stands."""

    text: str
    folded: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    places: dict[str, list[int]]


@lru_cache(maxsize=8192)
def tokens_of(text: str) -> Tokens:
    """The tokens of a text; remembered, because one document is shown with many questions."""
    matches = list(TOKEN.finditer(text))
    folded = tuple(match.group().casefold() for match in matches)
    places: dict[str, list[int]] = {}
    for place, token in enumerate(folded):
        places.setdefault(token, []).append(place)
    return Tokens(text, folded, tuple(match.span() for match in matches), places)


def sentences_of(text: str) -> list[str]:
    """Sentences and lines, in order, without the empty ones."""
    return [sentence for part in SENTENCE_END.split(text) if (sentence := part.strip())]


def is_cjk(text: str) -> bool:
    """True if most letters of a text are CJK characters."""
    num_cjk = len(CJK_CHARACTER.findall(text))
    return num_cjk > 0 and 2 * num_cjk > sum(map(str.isalpha, text))


def has_code(text: str) -> bool:
    """True if a text looks like a line of a program, a listing or a formula, about which nothing can be asked in words."""
    return len(CODE_MARK.findall(text)) >= 2


def gaps_of(sentence: str) -> list[Gap]:
    """What may be left out of a sentence, best first: names, then numbers, then long words; no word that comes twice."""
    if is_cjk(sentence):
        found = [*_numbers(sentence), *_cjk_runs(sentence)]
    else:
        found = [*_names(sentence), *_numbers(sentence), *_long_words(sentence)]
    tokens = tokens_of(sentence)
    starts, ends = {start for start, _ in tokens.spans}, {end for _, end in tokens.spans}
    return [
        gap
        for gap in found
        if gap.start in starts
        and gap.end in ends  # whole tokens: no part of "1.5" or of "Jupiter-C"
        and "_" not in (sentence[gap.start - 1 : gap.start], sentence[gap.end : gap.end + 1])
        and not _comes_again(gap, sentence, tokens)
    ]


def cut_gap(sentence: str, gap: Gap) -> str | None:
    """The sentence around its gap, cut to a question's length; None if too little is left to look for."""
    spans = tokens_of(sentence).spans
    before = [span for span in spans if span[1] <= gap.start]
    after = [span for span in spans if span[0] >= gap.end]
    if len(before) + len(after) < FEWEST_TOKENS:
        return None
    scale = 2 if is_cjk(sentence) else 1  # a CJK word has two characters on average
    first = max(0, len(before) - TOKENS_BEFORE * scale)
    last = min(len(after), TOKENS_AFTER * scale)
    start = before[first][0] if first else 0
    end = after[last - 1][1] if last < len(after) else len(sentence)
    cut = sentence[start : gap.start] + GAP + sentence[gap.end : end]
    return ("… " if first else "") + cut.strip() + (" …" if last < len(after) else "")


def distractors_for(gap: Gap, *, pool: list[Gap], question: str, number: int) -> list[str]:
    """Wrong answers of the gap's shape from the same text, nearest in length first; numbers are made where none is left."""
    seen = set(tokens_of(question).folded) | set(tokens_of(gap.answer).folded)
    candidates: dict[str, str] = {}
    for other in pool:
        folded = tokens_of(other.answer).folded
        if other.shape == gap.shape and folded and not seen.intersection(folded):
            candidates.setdefault(" ".join(folded), other.answer)
    if gap.shape == "number":
        for made in _numbers_beside(gap.answer):
            if made not in seen:
                candidates.setdefault(made, made)
    ranked = sorted(
        candidates.values(),
        key=lambda text: (
            gap.shape == "number" and not any(other.answer == text for other in pool),
            abs(len(text) - len(gap.answer)),
            hashlib.sha256(f"{gap.answer}\0{text}".encode()).digest(),
        ),
    )
    return ranked[:number]


def shape_of(answer: str) -> Shape:
    """The shape of an answer that was found in no gap: by its characters alone."""
    if re.fullmatch(NUMBER, answer):
        return "number"
    if is_cjk(answer):
        return "cjk"
    return "name" if answer[:1].isupper() else "word"


def fill_gap(before: tuple[str, ...], after: tuple[str, ...], text: str) -> tuple[str, float]:
    """What stands in `text` where the question has its gap, and the support for it: the share, 0 to 1, of the tokens
    around the gap that stand around it there as well, in place.

    `before` and `after` are folded tokens of the question. Gaps of one to four tokens are tried.
    """
    around = len(before) + len(after)
    tokens = tokens_of(text)
    best, best_support = "", 0.0
    for start, stop in _possible_gaps(before, after, tokens):
        matching = sum(x == y for x, y in zip(reversed(before), reversed(tokens.folded[:start])))
        matching += sum(x == y for x, y in zip(after, tokens.folded[stop:]))
        if matching / around > best_support:
            best_support = matching / around
            best = text[tokens.spans[start][0] : tokens.spans[stop - 1][1]]
    return best, best_support


def stands_in(answer: str, text: str) -> bool:
    """True if the answer's tokens stand in the text, together and in order."""
    wanted, tokens = tokens_of(answer).folded, tokens_of(text)
    return bool(wanted) and any(
        tokens.folded[place : place + len(wanted)] == wanted for place in tokens.places.get(wanted[0], ())
    )


LONGEST_GAP_TOKENS = 4


def _possible_gaps(before: tuple[str, ...], after: tuple[str, ...], tokens: Tokens) -> list[tuple[int, int]]:
    """Token ranges of `tokens` that have the question's next token on both sides, or on the one side there is."""
    size = len(tokens.folded)
    starts = [place + 1 for place in tokens.places.get(before[-1], ())] if before else []
    stops = set(tokens.places.get(after[0], ())) if after else set()
    if before and after:
        return [
            (start, stop)
            for start in starts
            for stop in range(start + 1, start + LONGEST_GAP_TOKENS + 1)
            if stop in stops
        ]
    if before:
        return [(start, start + 1) for start in starts if start < size]
    return [(stop - 1, stop) for stop in sorted(stops) if stop > 0]


def _comes_again(gap: Gap, sentence: str, tokens: Tokens) -> bool:
    if gap.shape == "cjk":
        return sentence.count(gap.answer) > 1
    return any(len(tokens.places.get(token, ())) > 1 for token in tokens_of(gap.answer).folded)


def _numbers(sentence: str) -> list[Gap]:
    return [
        Gap(m.group(), m.start(), m.end(), "number")
        for m in re.finditer(rf"(?<![\w.-]){NUMBER}(?![\w-])", sentence, re.ASCII)
    ]


def _names(sentence: str) -> list[Gap]:
    first = TOKEN.search(sentence)
    after_first = first.end() if first else 0
    return [
        Gap(match.group(), match.start(), match.end(), "name")
        for match in CAPITALISED_RUN.finditer(sentence, after_first)
        if match.group().casefold() not in STOP_WORDS
        and len(match.group()) > 3
        and _is_mid_sentence(sentence, match.start())
    ]


def _is_mid_sentence(sentence: str, start: int) -> bool:
    """A capital after a full stop or a list's mark says nothing about a name."""
    return sentence[:start].rstrip()[-1:] not in (".", "!", "?", ":", "-", "•", "*", "“", '"', "")


def _long_words(sentence: str) -> list[Gap]:
    found = [
        Gap(match.group(), match.start(), match.end(), "word")
        for match in TOKEN.finditer(sentence)
        if len(match.group()) >= 6 and match.group().islower() and match.group() not in STOP_WORDS
    ]
    return sorted(found, key=lambda gap: (-len(gap.answer), gap.start))


def _cjk_runs(sentence: str) -> list[Gap]:
    found, start = [], 0
    for glue in [*CJK_GLUE.finditer(sentence), None]:
        end = len(sentence) if glue is None else glue.start()
        if 2 <= end - start <= 4 and start > 0:
            found.append(Gap(sentence[start:end], start, end, "cjk"))
        start = end if glue is None else glue.end()
    return sorted(found, key=lambda gap: (-len(gap.answer), gap.start))


def _numbers_beside(answer: str) -> list[str]:
    """Numbers near a number, in its own writing: the last digit group changed, the rest kept."""
    head, tail = re.fullmatch(r"(.*?)(\d+)", answer).groups()  # type: ignore[union-attr]  # a number ends in a digit
    value = int(tail)
    steps = (1, 2, -1, 5, 10, -2)
    return [f"{head}{value + step:0{len(tail)}d}" for step in steps if value + step >= 0]
