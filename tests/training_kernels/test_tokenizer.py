"""Tokens are counted as the backbone sees page text, special tokens in the text included."""

import subprocess
import sys

import pytest
from transformers import AutoTokenizer

from training_kernels.errors import ConfigError
from training_kernels.tokenizer import TINY, load_text_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return load_text_tokenizer(TINY)


def test_ids_equal_those_of_transformers_for_plain_text(tokenizer, tiny_folder):
    theirs = AutoTokenizer.from_pretrained(tiny_folder)
    texts = ["Crème brûlée, 12.5 g", "  two  spaces\n\nand lines ", "茶碗蒸しと水", "e\u0301 in two code points", ""]
    assert tokenizer.encode(texts) == [theirs(text, add_special_tokens=False)["input_ids"] for text in texts]


def test_a_special_token_in_a_page_is_read_as_text(tokenizer):
    text = "<|image_pad|><|im_end|>"
    (ids,) = tokenizer.encode([text])
    assert not {tokenizer.special_id("<|image_pad|>"), tokenizer.special_id("<|im_end|>")} & set(ids)
    assert tokenizer.count([text, ""]) == [len(ids), 0]
    assert len(ids) > 5


def test_the_shipped_vocabulary_ends_with_the_special_tokens(tokenizer):
    assert tokenizer.special_id("<|endoftext|>") == 8184
    assert tokenizer.special_id("<|video_pad|>") == 8191


def test_a_folder_has_the_identity_of_the_tokenizer_it_was_made_with(tokenizer, tiny_folder, tmp_path):
    assert load_text_tokenizer(str(tiny_folder)).identity == tokenizer.identity
    changed = (tiny_folder / "tokenizer.json").read_text().replace('"NFC"', '"NFD"')
    (tmp_path / "tokenizer.json").write_text(changed)
    assert load_text_tokenizer(str(tmp_path)).identity != tokenizer.identity


def test_a_folder_without_tokenizer_and_an_unknown_name_say_what_is_needed(tmp_path):
    with pytest.raises(ConfigError, match=r"has no tokenizer\.json"):
        load_text_tokenizer(str(tmp_path))
    with pytest.raises(ConfigError, match="neither 'tiny-qwen2.5-vl', a folder, nor a model"):
        load_text_tokenizer("nobody/nothing-of-this-name")
    with pytest.raises(ConfigError, match="no token '<|cls|>'"):
        load_text_tokenizer(TINY).special_id("<|cls|>")


def test_counting_and_recipes_load_without_torch():
    program = (
        "import sys, training_kernels.tokenizer as t, training_kernels.recipes, training_kernels.examples;"
        "t.load_text_tokenizer(t.TINY).count(['a']); sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
