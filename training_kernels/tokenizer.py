"""Counts text tokens as a backbone will see them, without loading torch."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Encoding, Tokenizer

from training_kernels.errors import ConfigError

TINY = "tiny-qwen2.5-vl"
"""Name of the embedded backbone: Qwen2.5-VL's architecture at a width that trains in a minute on two cores."""

TINY_TOKENIZER = Path(__file__).parent / "backbones" / "tiny_tokenizer.json"


class TextTokenizer:
    """A backbone's tokenizer, used on page text: a literal `<|image_pad|>` in a page is text, not a picture."""

    def __init__(self, tokenizer_json: str) -> None:
        self.identity = hashlib.sha256(tokenizer_json.encode()).hexdigest()
        """SHA-256 of tokenizer.json: part of what a token count depends on."""
        self._tokenizer = Tokenizer.from_str(tokenizer_json)
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text; no special token is added, and none is recognised in the text."""
        return [encoding.ids for encoding in self._encoded(texts)]

    def count(self, texts: Sequence[str]) -> list[int]:
        """Number of tokens of each text."""
        return [len(encoding) for encoding in self._encoded(texts)]

    def _encoded(self, texts: Sequence[str]) -> list[Encoding]:
        return self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)

    def special_id(self, token: str) -> int:
        """Id of a special token such as `<|vision_start|>`. Raises ConfigError if the vocabulary lacks it."""
        token_id = self._tokenizer.token_to_id(token)
        if token_id is None:
            raise ConfigError(f"the tokenizer has no token {token!r}; take the one that belongs to the weights")
        return token_id


def load_text_tokenizer(backbone: str) -> TextTokenizer:
    """The tokenizer of a backbone: the embedded one, a folder's, or a hub name's.

    Raises ConfigError where a folder or hub repository has no tokenizer.json.
    """
    return TextTokenizer(_tokenizer_file(backbone).read_text(encoding="utf-8"))


def _tokenizer_file(backbone: str) -> Path:
    if backbone == TINY:
        return TINY_TOKENIZER
    if Path(backbone).is_dir():
        file = Path(backbone) / "tokenizer.json"
        if not file.is_file():
            raise ConfigError(
                f"backbone folder {backbone} has no tokenizer.json; save its tokenizer beside its weights"
            )
        return file
    from transformers.utils import cached_file

    try:
        found = cached_file(backbone, "tokenizer.json")
    except OSError as error:
        raise ConfigError(
            f"backbone {backbone!r} is neither {TINY!r}, a folder, nor a model of the hub that can be reached: {error}; "
            f"where there is a network run `hf download {backbone}`, then copy the folder that it prints here and give its path"
        ) from error
    return Path(str(found))
