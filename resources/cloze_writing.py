"""What the offline stand-in writes about one document: cloze questions, wrong options, shorter answers, scores. No chance.

Each function reads one prompt of nyx_assets/nyxqa as its builders write it, and returns the JSON that it asks for.
"""

import json
import re
from collections.abc import Sequence
from itertools import islice

from resources import cloze
from resources.stop_words import STOP_WORDS
from training_kernels.documents import Segment

IMAGE_LABEL = re.compile(r"<image (\d+)>")
PAIRS_WANTED = re.compile(r"at most (\d+)")
WORDS_WANTED = re.compile(r"at most (\d+) words")
OPTIONS_WANTED = re.compile(r"Write (\d+) wrong options")

ARTICLES = {"a", "an", "the"}

WRONG_OPTIONS = 3
"""Beside the right one. A gap for which the text has as many is asked for first."""


def write_text_pairs(segments: Sequence[Segment]) -> str:
    """JSON of cloze questions on the text that follows the instruction."""
    limit, _, sentences, pool = read_writing_prompt(segments)
    return _pairs_json(_sentence_pairs(sentences, pool, limit=limit))


def write_picture_pairs(segments: Sequence[Segment]) -> str:
    """JSON of cloze questions on the document, about half of them on captions of pictures, each with its picture."""
    limit, document, sentences, pool = read_writing_prompt(segments)
    captions = captions_of(document)
    pairs = [
        pair
        for label, sentence in captions
        if (pair := cloze_pair(sentence, pool, label=label, beside=None)) is not None
    ][: (limit + 1) // 2]
    used = {sentence for _, sentence in captions}
    rest = [sentence for sentence in sentences if sentence not in used]
    return _pairs_json([*pairs, *_sentence_pairs(rest, pool, limit=limit - len(pairs))])


def write_several_picture_pairs(segments: Sequence[Segment]) -> str:
    """JSON of cloze questions on captions, each with its picture beside the next picture of the document."""
    limit, document, _, pool = read_writing_prompt(segments)
    labels = [segment.text for segment in document if segment.text and IMAGE_LABEL.fullmatch(segment.text)]
    pairs = [
        pair
        for label, sentence in captions_of(document)
        if (beside := next((other for other in labels if other != label), None)) is not None
        and (pair := cloze_pair(sentence, pool, label=label, beside=beside)) is not None
    ]
    return _pairs_json(pairs[:limit])


def read_writing_prompt(
    segments: Sequence[Segment],
) -> tuple[int, Sequence[Segment], list[str], list[cloze.Gap]]:
    """Pairs wanted at most, the document, its sentences, and everything that may be left out of them."""
    instruction, document = segments[0].text or "", segments[1:]
    wanted = PAIRS_WANTED.search(instruction)
    sentences = _sentences_in(document)
    pool = [gap for sentence in sentences for gap in cloze.gaps_of(sentence)]
    return int(wanted.group(1)) if wanted else 1, document, sentences, pool


def _sentences_in(document: Sequence[Segment]) -> list[str]:
    return [
        sentence
        for segment in document
        if segment.text is not None and not IMAGE_LABEL.fullmatch(segment.text)
        for sentence in cloze.sentences_of(segment.text)
    ]


def _sentence_pairs(sentences: Sequence[str], pool: list[cloze.Gap], *, limit: int) -> list[dict]:
    """Pairs from the sentences that offer most, at most `limit`."""
    ranked = sorted(dict.fromkeys(sentences), key=lambda sentence: -informative(sentence))
    found = (cloze_pair(sentence, pool, label=None, beside=None) for sentence in ranked)
    return list(islice((pair for pair in found if pair is not None), limit))


def _pairs_json(pairs: list[dict]) -> str:
    return json.dumps({"pairs": pairs}, ensure_ascii=False)


def informative(sentence: str) -> int:
    """How much a sentence offers to ask for: a name or number counts 2, a length of 8 to 40 tokens 1, code takes 4 off."""
    gaps = cloze.gaps_of(sentence)
    return (
        -4 * cloze.has_code(sentence)
        + 2 * bool(gaps and gaps[0].shape != "word")
        + (8 <= len(cloze.tokens_of(sentence).folded) <= 40)
    )


def captions_of(document: Sequence[Segment]) -> list[tuple[str, str]]:
    """Label and description of each picture: the sentence after it, or else the one before it."""
    captions = []
    for place, segment in enumerate(document):
        if segment.text is None or not IMAGE_LABEL.fullmatch(segment.text):
            continue
        after = cloze.sentences_of(_plain_text(document, place + 2))
        before = cloze.sentences_of(_plain_text(document, place - 1))
        for sentence in [*after[:1], *before[-1:]]:
            if any(cloze.cut_gap(sentence, gap) for gap in cloze.gaps_of(sentence)):
                captions.append((segment.text, sentence))
                break
    return captions


def _plain_text(document: Sequence[Segment], place: int) -> str:
    """The text of a place of the document; empty for a picture, a label, or beyond the ends."""
    if not 0 <= place < len(document):
        return ""
    text = document[place].text or ""
    return "" if IMAGE_LABEL.fullmatch(text) else text


def cloze_pair(sentence: str, pool: list[cloze.Gap], *, label: str | None, beside: str | None) -> dict | None:
    """Kind, question and answer from a sentence, of a gap that has three wrong answers in the text if one has; None if
    the sentence has no gap.

    Args:
        label: of the picture that the sentence describes.
        beside: of a picture shown with it.
    """
    best: dict | None = None
    for gap in cloze.gaps_of(sentence):
        cut = cloze.cut_gap(sentence, gap)
        if cut is None:
            continue
        question = gap_question(cut, label, beside)
        pair = {"type": "number" if gap.shape == "number" else "fact", "question": question, "answer": gap.answer}
        if len(cloze.distractors_for(gap, pool=pool, question=question, number=WRONG_OPTIONS)) == WRONG_OPTIONS:
            return pair
        best = best or pair
    return best


SPANISH = re.compile(r"\b(el|la|los|las|una?|que|del?|en|con|por|para|y)\b", re.IGNORECASE)
ENGLISH = re.compile(r"\b(the|an?|of|and|in|to|is|was|for|with|that|it)\b", re.IGNORECASE)


def gap_question(cut: str, label: str | None, beside: str | None) -> str:
    """The question to a sentence with a gap, in the sentence's language, with the picture that it describes."""
    if cloze.is_cjk(cut):
        shown = f"{label}（旁边是 {beside}）" if beside else label
        return f"{shown} 的说明“{cut}”，空缺处是什么？" if label else f"“{cut}”，空缺处是什么？"
    if len(SPANISH.findall(cut)) > len(ENGLISH.findall(cut)):
        shown = f"{label}, junto a {beside}," if beside else label
        return f"¿Qué falta en la descripción de {shown}: “{cut}”?" if label else f"¿Qué falta en la frase “{cut}”?"
    if label:
        shown = f"{label}, beside {beside}" if beside else label
        return f"What belongs in the gap in the description of {shown}: “{cut}”?"
    return f"What belongs in the gap: “{cut}”?"


def read_pair_prompt(segments: Sequence[Segment]) -> tuple[Sequence[Segment], str, str, str]:
    """Document, text of the question, answer, and what is asked for, of a prompt that shows a pair on its document."""
    texts = [segment.text or "" for segment in segments]
    at_question = max((i for i, text in enumerate(texts) if text == "Question:"), default=len(texts))
    at_answer = max((i for i, text in enumerate(texts) if text.startswith("Answer:")), default=len(texts))
    answer = texts[at_answer].removeprefix("Answer:").strip() if at_answer < len(texts) else ""
    return (
        segments[1:at_question],
        " ".join(texts[at_question + 1 : at_answer]),
        answer,
        " ".join(texts[at_answer + 1 :]),
    )


def score_pair(segments: Sequence[Segment]) -> str:
    """JSON score of a pair: the highest if its answer stands in the document, else the lowest."""
    document, _, answer, _ = read_pair_prompt(segments)
    if cloze.stands_in(answer, "\n".join(segment.text or "" for segment in document)):
        return json.dumps({"reason": "the answer stands in the document", "score": 10})
    return json.dumps({"reason": "the answer does not stand in the document", "score": 1})


def shorten_answer(segments: Sequence[Segment]) -> str:
    """JSON of the answer's first words from the first one that carries meaning on, as many as are asked for.

    An empty answer if the document does not hold these words together.
    """
    document, _, answer, wanted = read_pair_prompt(segments)
    match = WORDS_WANTED.search(wanted)
    words = answer.split()
    while words and words[0].casefold() in STOP_WORDS | ARTICLES:
        del words[0]
    shortened = " ".join(words[: int(match.group(1)) if match else 1]).strip(" ,;:.")
    found = cloze.stands_in(shortened, "\n".join(segment.text or "" for segment in document))
    return json.dumps({"answer": shortened if found else ""}, ensure_ascii=False)


def write_wrong_options(segments: Sequence[Segment]) -> str:
    """JSON of wrong answers of the right one's shape: from the document, or numbers beside a number."""
    document, question, answer, wanted = read_pair_prompt(segments)
    match = OPTIONS_WANTED.search(wanted)
    pool = [gap for sentence in _sentences_in(document) for gap in cloze.gaps_of(sentence)]
    shape = next((gap.shape for gap in pool if gap.answer == answer), cloze.shape_of(answer))
    wrong = cloze.distractors_for(
        cloze.Gap(answer, 0, len(answer), shape),
        pool=pool,
        question=question,
        number=int(match.group(1)) if match else WRONG_OPTIONS,
    )
    return json.dumps({"wrong_options": wrong}, ensure_ascii=False)
