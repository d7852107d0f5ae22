"""Text of pages without the characters that no page or picture may hold, or that turn the words around them."""

import re

NOT_SHOWN = re.compile(
    "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff\\ufffe\\uffff]"
)
"""Control characters, lone surrogates, overrides of the writing direction. Joiners and marks stay: scripts need them."""


def legible(text: str) -> str:
    """The text with a space for each such character."""
    return NOT_SHOWN.sub(" ", text)
