"""Grade a generator's answer against the golden ones: exact match, token F1, and accuracy over options, each 0 to 1."""

import re
import string
from collections import Counter
from collections.abc import Sequence

from nyx_assets.rag.answering import option_letter

ARTICLES = re.compile(r"\b(a|an|the)\b")
CJK_CHARACTER = re.compile("([\u3400-\u9fff\u3040-\u30ff\uac00-\ud7af])")
PUNCTUATION = frozenset(string.punctuation + "，。、；：？！“”‘’（）《》【】·…—–¿¡«»")
LETTER_OF_OPTION = re.compile(r"^\(?([A-Z])(?:[.):]\s*(.*)|\))?$", re.DOTALL)


def normalise_answer(text: str) -> str:
    """Lower case, without punctuation and English articles, spaces squeezed.

    Source: Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1, as its published evaluation script orders the steps.
    Choice: punctuation of Chinese and Spanish goes as well; the script knows ASCII only.
    """
    kept = "".join(character for character in text.lower() if character not in PUNCTUATION)
    return " ".join(ARTICLES.sub(" ", kept).split())


def answer_tokens(text: str) -> list[str]:
    """Tokens of a normalised answer. Choice: CJK text has no spaces, so each of its characters is a token."""
    return CJK_CHARACTER.sub(r" \1 ", normalise_answer(text)).split()


def exact_match(answer: str, golden: Sequence[str]) -> float:
    """1 if the normalised answer equals one of the normalised golden answers, else 0."""
    return float(any(answer_tokens(answer) == answer_tokens(gold) for gold in golden))


def token_f1(answer: str, golden: Sequence[str]) -> float:
    """The largest harmonic mean of token precision and recall over the golden answers; repeats count as often as they come.

    Source: Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1. Two empty texts agree.
    """
    return max((_f1(answer_tokens(answer), answer_tokens(gold)) for gold in golden), default=0.0)


def _f1(answer: list[str], gold: list[str]) -> float:
    if not answer or not gold:
        return float(answer == gold)
    num_same = sum((Counter(answer) & Counter(gold)).values())
    return 2 * num_same / (len(answer) + len(gold))


def option_accuracy(answer: str, options: Sequence[str], right_option: int) -> float:
    """1 if the answer is the right option, by its text or by its letter, else 0.

    The text counts first: an option may itself be the single letter of another one.
    """
    chosen = chosen_option(answer, options)
    return float(chosen == right_option)


def chosen_option(answer: str, options: Sequence[str]) -> int | None:
    """0-based place of the option that an answer names, or None if it names none."""
    by_text = _place_of_text(answer, options)
    if by_text is not None:
        return by_text
    match = LETTER_OF_OPTION.match(answer.strip())
    if match is None:
        return None
    place = next((i for i in range(len(options)) if option_letter(i) == match.group(1)), None)
    if match.group(2):  # "B. Paris": letter and text must not contradict each other
        return place if _place_of_text(match.group(2), options) == place else None
    return place


def _place_of_text(text: str, options: Sequence[str]) -> int | None:
    tokens = answer_tokens(text)
    return next((place for place, option in enumerate(options) if tokens and answer_tokens(option) == tokens), None)
