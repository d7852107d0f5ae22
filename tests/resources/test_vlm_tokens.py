"""Token counts before the server has counted: never below what a tokenizer makes, and near it for plans."""

import hashlib

import pytest
from PIL import Image

from resources.vlm import Message, Request, Sampling
from resources.vlm_tokens import likely_text_tokens, most_input_tokens, picture_tokens
from training_kernels.documents import Document, Segment
from training_kernels.images import PictureFolder
from training_kernels.tokenizer import load_text_tokenizer

TEXTS = [
    "The lighthouse was repainted in 1988, and its keeper wrote every storm into the book that is kept there still.",
    "灯塔于一九八八年重新粉刷，守塔人把每一场风暴都记在至今仍保存在那里的册子里。",
    "x=1;y=[2,3];print(f'{x!r}')\n\t\t# ünïcödé 🙂🙂",
]


def request_of(*parts) -> Request:
    messages = (Message("system", Document.of("Answer.")), Message("user", Document(tuple(parts))))
    return Request(messages=messages, sampling=Sampling(temperature=0, max_output_tokens=8, seed=0), prompt_version="p")


def pictures_with(tmp_path, width: int, height: int) -> tuple[PictureFolder, str]:
    file = tmp_path / "picture.png"
    Image.new("RGB", (width, height)).save(file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    folder = PictureFolder(str(tmp_path / "images"))
    place = folder.path_of(digest, "png")
    folder.fs.makedirs(place.rsplit("/", 1)[0])
    folder.fs.pipe_file(place, file.read_bytes())
    return folder, digest


@pytest.mark.parametrize("text", TEXTS)
def test_the_bound_is_above_what_a_real_tokenizer_makes(tmp_path, text):
    tokenizer = load_text_tokenizer("tiny-qwen2.5-vl")
    (counted,) = tokenizer.count([text])
    assert most_input_tokens(request_of(Segment(text=text)), PictureFolder(str(tmp_path))) >= counted


def test_text_is_counted_by_its_script():
    empty = likely_text_tokens(request_of(Segment(text="")))
    assert likely_text_tokens(request_of(Segment(text="a" * 400))) - empty == 100
    assert likely_text_tokens(request_of(Segment(text="灯" * 400))) - empty == 400


def test_a_picture_counts_a_token_for_each_square_of_28_pixels_that_it_touches(tmp_path):
    folder, digest = pictures_with(tmp_path, 57, 29)  # 3 squares wide, 2 high, and two marks
    assert picture_tokens(request_of(Segment(text="a"), Segment(image=digest)), folder) == 3 * 2 + 2
    twice = request_of(Segment(image=digest), Segment(text="a"), Segment(image=digest))
    assert picture_tokens(twice, folder) == 16
