"""How many tokens a request has before any server has counted them: an upper bound for caps, a guess for plans."""

import re
from functools import lru_cache

from PIL import Image

from resources.vlm import Request
from training_kernels.images import PictureFolder

TOKEN_SIDE_PIXELS = 28
"""Source: Qwen2.5-VL report, arXiv:2502.13923, section 2.1: patches of 14 pixels, 2 x 2 of them one token."""
TOKENS_AROUND_A_PICTURE = 2
TOKENS_AROUND_A_MESSAGE = 16
"""Choice: role, start and end marks of a chat template, and the template's own system line, take less."""
CHARACTERS_A_TOKEN = 4.0
"""Choice: the rule of thumb for English."""
DENSE = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
"""Characters that count as a token each: Chinese, Japanese, Korean."""


def most_input_tokens(request: Request, pictures: PictureFolder) -> int:
    """No tokenizer that works on bytes makes more: one token a byte of text, pictures at their full resolution."""
    num_bytes = sum(len(message.content.text.encode("utf-8", "surrogatepass")) for message in request.messages)
    return num_bytes + _around(request) + picture_tokens(request, pictures)


def likely_text_tokens(request: Request) -> float:
    """About as many as a server will count for the texts and the marks around them, without the pictures."""
    return sum(likely_tokens(message.content.text) for message in request.messages) + _around(request)


def likely_tokens(text: str) -> float:
    """About as many as a tokenizer makes of a text."""
    dense = len(DENSE.findall(text))
    return dense + (len(text) - dense) / CHARACTERS_A_TOKEN


def picture_tokens(request: Request, pictures: PictureFolder) -> int:
    """Tokens of all pictures of a request. Choice: counted as Qwen2.5-VL does, which is more than hosted models count."""
    return sum(
        _tokens_of_picture(pictures.root, image) for message in request.messages for image in message.content.images
    )


def _around(request: Request) -> int:
    return TOKENS_AROUND_A_MESSAGE * len(request.messages)


@lru_cache(maxsize=100_000)
def _tokens_of_picture(root: str, image: str) -> int:
    """A picture's bytes are named by its digest, so its size never changes; only its head is read."""
    folder = PictureFolder(root)
    with folder.fs.open(folder.path(image), "rb") as file, Image.open(file) as picture:
        width, height = picture.size
    return -(-width // TOKEN_SIDE_PIXELS) * -(-height // TOKEN_SIDE_PIXELS) + TOKENS_AROUND_A_PICTURE
