"""Trains the tokenizer that ships with the tiny backbone: Qwen2.5's rules, a vocabulary of 8,192.

    python -m training_kernels.backbones.train_tiny_tokenizer CRAWL_FOLDER OUT

CRAWL_FOLDER holds OBELICS-schema Parquet files; only their `texts` are read.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from training_kernels.errors import DataError

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
"""The special tokens of Qwen2.5-VL that its encoder side uses, in its order."""

VOCABULARY = 8192
"""Tokens including the special ones. Choice: at width 128 the embedding table is 1 M parameters, half of the model."""

MIN_FREQUENCY = 3
"""Choice: a merge seen once or twice in a few megabytes is a proper name, not a piece of the language."""

QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How text is cut before merging. Source: tokenizer.json of Qwen2.5-VL (transformers: Qwen2Tokenizer)."""


def train_tokenizer(texts: Iterator[str]) -> Tokenizer:
    """Byte-level BPE behind NFC and Qwen2's word rule, as Qwen2.5-VL's; special tokens take the highest ids."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY - len(SPECIAL_TOKENS),
            min_frequency=MIN_FREQUENCY,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL_TOKENS])
    return tokenizer


def page_texts(crawl: Path) -> Iterator[str]:
    """Every text of every page of a crawl folder, file by file in order of name. Raises DataError without any file."""
    files = sorted(crawl.glob("*.parquet"))
    if not files:
        raise DataError(f"{crawl} holds no *.parquet file; name a folder of OBELICS-schema Parquet")
    for file in files:
        for texts in pq.read_table(file, columns=["texts"]).column("texts").to_pylist():
            yield from (text for text in texts if text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("crawl", type=Path, help="folder of OBELICS-schema Parquet")
    parser.add_argument("out", type=Path, help="tokenizer.json to write")
    arguments = parser.parse_args()
    tokenizer = train_tokenizer(page_texts(arguments.crawl))
    compact = json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":"))
    arguments.out.write_text(compact, encoding="utf-8")
    print(f"{arguments.out}: {tokenizer.get_vocab_size():,} tokens, {len(compact.encode()):,} bytes")


if __name__ == "__main__":
    main()
