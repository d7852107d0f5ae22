"""Rules that look at a pair without asking anybody: each measures something and objects beyond its threshold."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from nyx_assets.nyxqa.language import language_of, probability_of
from nyx_assets.nyxqa.pairs import Check, Means, Objection, Outcome, Pair
from nyx_assets.nyxqa.personal_data import personal_data_of
from nyx_assets.rag.bm25 import terms
from nyx_assets.rag.grading import normalise_answer
from nyx_assets.records import document_key
from training_kernels.documents import Document, Segment

SOURCE_NOUN = r"(?:text|passage|document|article|excerpt|paragraph|page|chapter|section|context|author)s?"
NAMES_ITS_SOURCE = re.compile(
    rf"\b(?:this|these|(?:the )?(?:above|following|given|provided)) {SOURCE_NOUN}\b"
    rf"|\b(?:in|from|by|to|of|does|do|did) the (?:text|passage|document|excerpt|author)\b"
    r"|\b(?:image|picture|figure|photo|table) (?:above|below)\b"
    r"|\bseg[uú]n (?:el|este) (?:texto|documento|art[ií]culo|pasaje)\b|\ben est[ea] (?:texto|documento|p[aá]gina)\b"
    r"|(?:本文|上文|文中|原文|该文档|这篇文章|根据文章)",
    re.IGNORECASE,
)
PICTURE_LABEL = re.compile(
    r"[<\[(]\s*(?:image|img|picture)[\s#№_-]*\d*\s*[>\])]|\b(?:image|picture) ?[#№]?\d+\b", re.IGNORECASE
)
POINTS_AT_A_PICTURE = re.compile(
    r"\b(?:this|these|in the|the (?:shown|given)) (?:image|picture|photo|photograph|figure|diagram|drawing)s?\b"
    r"|\b(?:en|de) (?:la|esta) (?:imagen|foto)\b|(?:图中|这张图|上图|照片中)",
    re.IGNORECASE,
)
CJK_RUN = re.compile("[\u3400-\u9fff\u3040-\u30ff\uac00-\ud7af]+")
CJK_CHARACTERS_A_WORD = 2
"""Choice: a Chinese word has two characters on average."""

REPEATED_TERMS = 3
"""Length of the runs that repeats_itself counts. Choice: two words repeat in good questions ("the year of"), three do not."""

Measure = Callable[[Pair], tuple[float, str] | None]
"""What a rule measures of a pair, and the sentence that says so; None where there is nothing to measure."""


def num_words(text: str) -> int:
    """Words of a text; a run of CJK characters counts as one word for every two characters, rounded up."""
    cjk = sum(-(-len(run) // CJK_CHARACTERS_A_WORD) for run in CJK_RUN.findall(text))
    return cjk + len([word for word in CJK_RUN.sub(" ", text).split() if any(map(str.isalnum, word))])


def words_on_the_poorer_side(pair: Pair) -> tuple[float, str]:
    """Words of the question or of the answer, whichever has fewer."""
    if not pair.question.text.strip():
        return 0, "the question has no words"
    return (1, "") if normalise_answer(pair.answer) else (0, f"the answer {pair.answer!r} has no words")


def mentions_of_the_source(pair: Pair) -> tuple[float, str]:
    """A retrieval question must stand alone; 'in this passage' gives the document away."""
    found = NAMES_ITS_SOURCE.findall(pair.question.text)
    return len(found), f"the question speaks of {', '.join(map(repr, found))}"


def unresolved_pictures(pair: Pair) -> tuple[float, str]:
    """Labels that stand for no picture, and, in a question that shows none, words that point at one."""
    text = pair.question.text
    found = PICTURE_LABEL.findall(text) + ([] if pair.question.images else POINTS_AT_A_PICTURE.findall(text))
    return len(found), f"the question shows {len(pair.question.images)} picture(s) and speaks of {found}"


def answers_in_the_question(pair: Pair) -> tuple[float, str]:
    """A question that contains its answer, as words of its own, tests string matching, not retrieval."""
    needle = normalise_answer(pair.answer)
    left = "" if CJK_RUN.match(needle) else r"(?<!\w)"  # CJK words have no boundaries
    right = "" if CJK_RUN.match(needle[-1:]) else r"(?!\w)"
    found = len(re.findall(f"{left}{re.escape(needle)}{right}", normalise_answer(pair.question.text))) if needle else 0
    return found, f"the question contains its answer {pair.answer!r}"


def words_of_the_question(pair: Pair) -> tuple[float, str]:
    words = num_words(pair.question.text)
    return words, f"the question has {words} words"


def most_repeated_run(pair: Pair) -> tuple[float, str] | None:
    """How often the question's most frequent run of three terms stands in it."""
    found = terms(pair.question.text)
    runs = Counter(zip(*(found[start:] for start in range(REPEATED_TERMS)), strict=False))
    if not runs:
        return None
    run, number = runs.most_common(1)[0]
    return number, f"the question says {' '.join(run)!r} {number} times"


def probability_of_the_chunks_language(pair: Pair) -> tuple[float, str] | None:
    """Probability that the question is in the language of its chunk, where that is clear."""
    language = language_of(pair.document.text)
    if language is None or not any(map(str.isalpha, pair.question.text)):
        return None
    probability = probability_of(language, pair.question.text)
    return probability, f"the chunk is in {language!r}, the question with probability {probability:.2g}"


def at_most(rule: str, measure: Measure) -> Check:
    """The check that objects to more than the threshold."""
    return _compare(rule, measure, lambda measured, threshold: measured > threshold, "at most")


def at_least(rule: str, measure: Measure) -> Check:
    """The check that objects to less than the threshold."""
    return _compare(rule, measure, lambda measured, threshold: measured < threshold, "at least")


def _compare(rule: str, measure: Measure, objects: Callable[[float, float], bool], allowed: str) -> Check:
    def check(pairs: Sequence[Pair], threshold: float, means: Means) -> Iterator[Outcome]:
        for pair in pairs:
            found = measure(pair)
            if found is not None and objects(found[0], threshold):
                yield Objection(rule, f"{found[1]}; {allowed} {threshold:g} allowed", float(found[0]))
            else:
                yield pair

    return check


def repeated_pair(pairs: Sequence[Pair], threshold: float, means: Means) -> Iterator[Outcome]:
    """Keep the first `threshold` pairs of a page with the same question.

    Per page, so that a page in two crawls has the same pairs kept whatever else its partition holds.
    """
    asked_before: dict[tuple[str, str], list[str]] = {}
    for pair in pairs:
        earlier = asked_before.setdefault((pair.chunk["doc_id"], question_key(pair.question)), [])
        earlier.append(pair.qa_id)
        if len(earlier) > threshold:
            reason = f"the same question of this page as {earlier[0]}; at most {threshold:g} allowed"
            yield Objection("repeated_pair", reason, float(len(earlier)))
        else:
            yield pair


def question_key(question: Document) -> str:
    """Equal for questions that differ only in case, punctuation, articles or spaces; pictures count."""
    return document_key(
        Document(
            tuple(
                segment if segment.text is None else Segment(text=normalise_answer(segment.text))
                for segment in question.segments
            )
        )
    )


RULES: dict[str, Check] = {
    "empty": at_least("empty", words_on_the_poorer_side),
    "names_its_source": at_most("names_its_source", mentions_of_the_source),
    "unresolved_picture": at_most("unresolved_picture", unresolved_pictures),
    "leaks_its_answer": at_most("leaks_its_answer", answers_in_the_question),
    "personal_data": at_most("personal_data", personal_data_of),
    "question_too_short": at_least("question_too_short", words_of_the_question),
    "question_too_long": at_most("question_too_long", words_of_the_question),
    "repeats_itself": at_most("repeats_itself", most_repeated_run),
    "other_language": at_least("other_language", probability_of_the_chunks_language),
    "repeated_pair": repeated_pair,
}
