"""Which language a text is in, by py3langid: a small naive Bayes model over byte n-grams, without chance or network."""

from functools import lru_cache
from typing import Any

SURE = 0.5
"""Probability from which a language counts as known. Choice: more likely than all others together."""


@lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@lru_cache(maxsize=4096)
def language_of(text: str) -> str | None:
    """ISO 639 code of a text's language, or None where no language is likelier than all others together.

    Remembered, because a chunk has several questions.
    """
    if not any(map(str.isalpha, text)):
        return None
    language, probability = _identifier().classify(text)
    return language if probability >= SURE else None


def probability_of(language: str, text: str) -> float:
    """Probability, 0 to 1, that a text is in a language, given that it is in one of those the model knows."""
    return dict(_identifier().rank(text))[language]
