"""`python -m training_kernels RECIPE EXAMPLES OUT` as a person gives it."""

import hashlib
import io
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training_kernels.running import finish
from training_kernels.__main__ import main, pictures_of, start_of
from training_kernels.document_pictures import DocumentPictures
from training_kernels.documents import Document, Segment
from training_kernels.encoder import Encoder
from training_kernels.errors import DataError
from training_kernels.examples import Example, ExampleSet, write_examples
from training_kernels.images import PictureFolder
from training_kernels.manifest import identity, read_manifest

NUM_EXAMPLES = 6


def store(images: Path, width: int, height: int) -> str:
    """Writes a picture; returns the SHA-256 of its file."""
    data = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), 7 * NUM_EXAMPLES, dtype=np.uint8)).save(data, "PNG")
    digest = hashlib.sha256(data.getvalue()).hexdigest()
    path = images / digest[:2] / f"{digest}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.getvalue())
    return digest


def write(folder: Path, digest: str) -> None:
    """Examples whose positives all hold the picture."""
    documents = {f"q{number}": Document.of(f"which page is {number}") for number in range(NUM_EXAMPLES)}
    documents |= {f"d{number}": Document.of(Segment(image=digest), f"{number}") for number in range(NUM_EXAMPLES)}
    examples = [
        Example(example_id=f"e{number}", query=f"q{number}", positive=f"d{number}", negatives=(), source="made")
        for number in range(NUM_EXAMPLES)
    ]
    write_examples(folder, documents, examples)


def test_three_arguments_train_on_the_pictures_beside_the_examples_from_the_bundled_backbone(tmp_path, tiny_folder):
    write(tmp_path / "examples", store(tmp_path / "images", 60, 40))
    said = finish(["smoke", str(tmp_path / "examples"), str(tmp_path / "runs" / "out"), "--set", "max_steps=1"])
    assert f"checkpoint {tmp_path / 'runs' / 'out'} written" in said
    assert read_manifest(tmp_path / "runs" / "out").kind == "full"
    assert json.loads((tmp_path / "runs" / "out" / "metrics.json").read_text())["steps"] == 1
    (backbone,) = (tmp_path / "runs" / "backbones").iterdir()
    assert identity(backbone) == identity(tiny_folder)


def test_a_pretrained_model_as_it_was_downloaded_is_a_start_and_a_checkpoint_without_manifest_is_none(
    tmp_path, tiny_folder
):
    model = shutil.copytree(tiny_folder, tmp_path / "model", ignore=shutil.ignore_patterns("manifest.json"))
    start = start_of("smoke", model, tmp_path / "backbones")
    assert start.parent == tmp_path / "backbones"
    assert read_manifest(start).weights_folder(start) == model
    (model / "recipe.json").write_text("{}")
    assert start_of("smoke", model, tmp_path / "backbones") == model, "whose reader says that its manifest lacks"
    assert start_of("smoke", tiny_folder, tmp_path / "backbones") == tiny_folder


def test_pictures_in_the_examples_folder_come_before_those_beside_it(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "examples" / "images").mkdir(parents=True)
    assert pictures_of(tmp_path / "examples") == str(tmp_path / "examples" / "images")
    shutil.rmtree(tmp_path / "examples" / "images")
    assert pictures_of(tmp_path / "examples") == str(tmp_path / "images")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("missing", r"is not in .*images, where it would be .*; put its file there, or leave it out of"),
        ("no picture", r"cannot be read from .*\.png: UnidentifiedImageError: .*; put the whole file there"),
        ("cut off", r"cannot be read from .*\.png: OSError: .*; put the whole file there"),
        ("too long", r" has 1200 x 4 pixels, and .* more than 200 times as long as wide; leave it out of"),
    ],
)
def test_a_picture_that_cannot_be_read_is_named_before_the_first_step_with_its_document_and_file(
    fault, told, tmp_path, tiny_folder, monkeypatch, capsys
):
    images = tmp_path / "images"
    digest = store(images, *((1200, 4) if fault == "too long" else (60, 40)))
    path = images / digest[:2] / f"{digest}.png"
    if fault == "missing":
        path.unlink()
    elif fault != "too long":
        path.write_bytes(b"no picture" if fault == "no picture" else path.read_bytes()[:60])
    write(tmp_path / "examples", digest)
    words = ["smoke", tmp_path / "examples", tmp_path / "out", "--start-from", tiny_folder]
    monkeypatch.setattr(sys, "argv", ["training_kernels", *map(str, words)])
    assert main() == 1
    said = capsys.readouterr()
    line = said.err.strip().splitlines()[-1]
    assert line.startswith("DataError: document 'd")
    assert f"and {NUM_EXAMPLES - 1} others: picture {digest}" in line
    assert re.search(told, line), line
    assert not (tmp_path / "out.state").exists(), "training had begun"
    assert "Traceback" not in said.err


def test_a_picture_found_unreadable_while_training_is_named_with_its_documents(tmp_path, tiny_folder):
    """As where the folder lies on another machine, which is not looked at beforehand, or a file went meanwhile."""
    images = tmp_path / "images"
    wide, gone = store(images, 1200, 4), "ab" * 32
    documents = {"d1": Document.of(Segment(image=wide)), "d2": Document.of("a", Segment(image=gone))}
    pictures = DocumentPictures(PictureFolder(str(images)), [ExampleSet(documents, ())])
    encoder = Encoder.load(tiny_folder)
    with pytest.raises(
        DataError, match=f"^document 'd1': picture {wide}: a picture of 1200 x 4 pixels is more than 200"
    ):
        encoder.encode([documents["d1"]], pictures, side="query")
    with pytest.raises(DataError, match=f"^document 'd2': picture {gone} is not in {images}"):
        encoder.encode([documents["d2"]], pictures, side="query")
