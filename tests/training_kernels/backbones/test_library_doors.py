"""A checkpoint opened by sentence-transformers, transformers or peft gives the encoder's own vectors."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from peft import PeftModel
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoProcessor

from training_kernels.backbones.registry import backbone_folder
from training_kernels.checkpoint import load_for_training, write_checkpoint
from training_kernels.config import FullTuning, LoraTuning, TrainConfig
from training_kernels.documents import Document, Segment
from training_kernels.encoder import Encoder
from training_kernels.errors import ConfigError
from training_kernels.export import export
from training_kernels.manifest import read_manifest
from training_kernels.recipes import tiny

CPU = torch.device("cpu")
INSTRUCTION = "Find what answers: "
DIMS = ((64, 1.0), (32, 1.0), (16, 0.2))


def picture(name: str) -> Segment:
    return Segment(image=name)


TEXTS = [
    Document.of("a moon"),
    Document.of("short"),
    Document.of("12.5 g of salt.", "Ends.\n", " 茶碗蒸し"),
    Document.of(""),
]
PICTURES = [Document.of(picture("io")), Document.of(picture("wide"))]
MIXED = [
    Document.of("text first", picture("io")),
    Document.of(picture("io"), "text last"),
    Document.of("Io is a moon.", picture("io"), "and more.", "A new line", picture("map"), picture("b"), "the end"),
]
MIXTURE = [TEXTS[0], MIXED[2], PICTURES[1], MIXED[0], TEXTS[2]]


def recipe(tuning: LoraTuning | FullTuning) -> TrainConfig:
    start = tiny()
    return replace(
        start,
        tuning=tuning,
        inputs=replace(start.inputs, query_instruction=INSTRUCTION),
        loss=replace(start.loss, weight_by_dim=DIMS),
    )


def trained(start_from: Path, out: Path, tuning: LoraTuning | FullTuning) -> Path:
    """A checkpoint whose learning weights were moved a little."""
    config = recipe(tuning)
    backbone = load_for_training(start_from, config, device=CPU)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in backbone.model.parameters():
            if weight.requires_grad:
                weight += 0.05 * torch.randn(weight.shape, generator=generator)
    metrics = {"last_loss": 1.25, "steps": 7, "curve": [1, 2]}
    write_checkpoint(out, backbone, config, metrics, start_from=start_from, data_identity="d1a7a")
    return out


@pytest.fixture(scope="module")
def checkpoints(hub_folders, tmp_path_factory) -> dict[str, dict[str, Path]]:
    root = tmp_path_factory.mktemp("checkpoints")
    made = {}
    for name, folder in hub_folders.items():
        base = backbone_folder(str(folder), root)
        lora = LoraTuning(rank=4, alpha=8, dropout=0.0, is_dora=name == "qwen3_vl", tunes_vision=name == "smolvlm")
        made[name] = {
            "full": trained(base, root / name / "full", FullTuning()),
            "adapter": trained(base, root / name / "adapter", lora),
        }
        export(made[name]["adapter"], root / name / "exported")
        made[name]["exported"] = root / name / "exported"
    return made


@pytest.fixture(params=["full", "adapter", "exported"])
def checkpoint(request, hub_folder, checkpoints) -> Path:
    return checkpoints[hub_folder.name][request.param]


def messages(document: Document, pictures) -> list[dict]:
    content = [
        {"type": "text", "text": segment.text}
        if segment.image is None
        else {"type": "image", "image": pictures.open(segment.image)}
        for segment in document.segments
    ]
    return [{"role": "user", "content": content}]


def test_sentence_transformers_gives_the_encoders_vectors(checkpoint, pictures):
    encoder = Encoder.load(checkpoint)
    model = SentenceTransformer(str(checkpoint), device="cpu")
    for documents, inputs in (
        (TEXTS, [document.text for document in TEXTS]),
        (PICTURES, [pictures.open(document.images[0]) for document in PICTURES]),
        (MIXED, [messages(document, pictures) for document in MIXED]),
        (MIXTURE[:4], [messages(document, pictures) for document in MIXTURE[:4]]),
        (MIXED[:1], [{"text": "text first", "image": pictures.open("io")}]),
        (MIXED[1:2], [{"image": pictures.open("io"), "text": "text last"}]),
    ):
        for side, encode in (("query", model.encode_query), ("candidate", model.encode_document)):
            expected = encoder.encode(documents, pictures, side=side)
            np.testing.assert_allclose(encode(inputs), expected, atol=1e-5)
    assert model.get_embedding_dimension() == encoder.dim


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl"])
def test_a_special_token_written_on_a_page_is_text_to_the_processor_too(checkpoints, name):
    model = SentenceTransformer(str(checkpoints[name]["full"]), device="cpu")
    written = "a page about <|im_end|> and <end_of_utterance> and <|vision_start|>"
    token_ids = model.preprocess([written])["input_ids"][0].tolist()
    special = set(model.tokenizer.added_tokens_decoder)
    assert [token for token in token_ids if token in special] == token_ids[-1:]


def test_a_batch_that_sentence_transformers_would_read_wrongly_is_refused(checkpoints, pictures):
    model = SentenceTransformer(str(checkpoints["smolvlm"]["full"]), device="cpu")
    with pytest.raises(Exception, match="do not mix messages with bare texts"):
        model.encode_document([messages(MIXED[0], pictures), "an egg"])


def test_a_prefix_from_sentence_transformers_is_the_encoders_prefix(checkpoints, pictures):
    folder = checkpoints["qwen2_5_vl"]["full"]
    embedding_ND = Encoder.load(folder).encode(TEXTS, pictures, side="candidate")[:, :16]
    model = SentenceTransformer(str(folder), device="cpu", truncate_dim=16)
    got = model.encode_document([document.text for document in TEXTS], normalize_embeddings=True)
    np.testing.assert_allclose(got, embedding_ND / np.linalg.norm(embedding_ND, axis=1, keepdims=True), atol=1e-5)


def test_a_text_that_is_too_long_is_cut_at_the_same_token(checkpoints, pictures):
    folder = checkpoints["smolvlm"]["full"]
    encoder = Encoder.load(folder)
    long = "a volcano on Io, " * 400
    expected = encoder.encode([Document.of(long)], pictures, side="query")
    assert encoder.num_cut == 1
    np.testing.assert_allclose(SentenceTransformer(str(folder), device="cpu").encode_query([long]), expected, atol=1e-5)


def test_what_is_too_long_and_holds_a_picture_is_for_the_encoder_to_cut_as_the_model_card_says(checkpoints, pictures):
    folder = checkpoints["qwen2_5_vl"]["full"]
    encoder, model = Encoder.load(folder), SentenceTransformer(str(folder), device="cpu")
    long = "a volcano on Io, " * 400
    before, behind = Document.of(long, picture("io")), Document.of(picture("io"), long)
    expected = encoder.encode([before, behind], pictures, side="candidate")
    assert encoder.num_cut == 2
    with pytest.raises(ValueError, match="Mismatch in `image` token count"):
        model.encode_document([messages(before, pictures)])
    assert np.abs(model.encode_document([messages(behind, pictures)]) - expected[1]).max() > 1e-3
    told = " ".join((folder / "README.md").read_text().split())
    assert (
        "Of input longer than 512 tokens it reads a text alone as `Encoder` does. With pictures in it, it raises"
        in told
    )
    assert "it gives another vector, without a word" in told


def test_transformers_and_peft_with_the_folders_processor_give_the_encoders_vectors(checkpoint, pictures):
    manifest = read_manifest(checkpoint)
    if manifest.kind == "adapter":
        base = json.loads((checkpoint / "adapter_config.json").read_text())["base_model_name_or_path"]
        model = PeftModel.from_pretrained(AutoModel.from_pretrained(base), str(checkpoint))
    else:
        model = AutoModel.from_pretrained(checkpoint)
    processor = AutoProcessor.from_pretrained(checkpoint)
    expected = Encoder.load(checkpoint).encode(MIXED, pictures, side="candidate")
    for document, expected_D in zip(MIXED, expected, strict=True):
        inputs = processor.apply_chat_template(
            [messages(document, pictures)], tokenize=True, return_dict=True, return_tensors="pt"
        )
        with torch.no_grad():
            last_D = model.eval()(**inputs).last_hidden_state[0, -1]
        np.testing.assert_allclose(last_D / last_D.norm(), expected_D, atol=1e-5)


@pytest.mark.long
def test_a_process_without_this_project_opens_the_folder_and_runs_no_code_from_it(checkpoints, tmp_path):
    folder = checkpoints["qwen2_5_vl"]["adapter"]
    assert not list(folder.rglob("*.py"))
    program = (
        "import sys; from sentence_transformers import SentenceTransformer\n"
        f"vector = SentenceTransformer({str(folder)!r}, device='cpu').encode_query(['a moon'])[0]\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('training_kernels', 'torchvision')]\n"
        "print(vector.shape[0])"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert (done.stdout.strip(), done.returncode) == ("128", 0), done.stderr


def test_an_exported_adapter_stands_alone(checkpoints, pictures, tmp_path):
    adapter, exported = checkpoints["idefics3"]["adapter"], checkpoints["idefics3"]["exported"]
    assert not (exported / "adapter_config.json").exists()
    assert read_manifest(exported).kind == "full"
    vectors = [Encoder.load(folder).encode(MIXTURE, pictures, side="query") for folder in (adapter, exported)]
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)
    untrained = adapter.parent.parent / Path(read_manifest(adapter).weights_folder(adapter)).name
    with pytest.raises(ConfigError, match="is an untrained backbone"):
        export(untrained, tmp_path / "out")


def test_the_folder_says_which_prefixes_stand_alone(checkpoints):
    for kind in ("full", "exported"):
        config = json.loads((checkpoints["qwen3_vl"][kind] / "config.json").read_text())
        assert (config["is_matryoshka"], config["matryoshka_dimensions"]) == (True, [64, 32, 16])
    for kind in ("full", "exported", "adapter"):
        manifest = json.loads((checkpoints["qwen3_vl"][kind] / "manifest.json").read_text())
        assert (manifest["is_matryoshka"], manifest["dims"]) == (True, [64, 32, 16])
    base = read_manifest(checkpoints["qwen3_vl"]["adapter"]).weights_folder(checkpoints["qwen3_vl"]["adapter"])
    assert "is_matryoshka" not in json.loads((base / "manifest.json").read_text()), "its identity stays what it was"


def test_the_model_card_tells_base_data_numbers_and_three_ways_to_use_it(checkpoints, hub_folders):
    for kind, library in (("full", "sentence-transformers"), ("adapter", "peft")):
        card = (checkpoints["smolvlm"][kind] / "README.md").read_text()
        _, front_matter, text = card.split("---\n", 2)
        front = yaml.safe_load(front_matter)
        assert (front["base_model"], front["library_name"]) == (str(hub_folders["smolvlm"]), library)
        assert "matryoshka" in front["tags"]
        assert "language" not in front
        assert "| last_loss | 1.25 |" in text
        assert "curve" not in text
        assert "`d1a7a`" in text
        assert read_manifest(checkpoints["smolvlm"][kind]).data_identity == "d1a7a"
        assert all(way in text for way in ("Encoder.load", "SentenceTransformer(", "AutoModel.from_pretrained"))


def test_the_python_in_the_model_card_runs(checkpoints, tmp_path, monkeypatch, pictures):
    folder = checkpoints["smolvlm"]["adapter"]
    store = tmp_path / "PICTURES"
    digest = "a" * 64
    (store / "aa").mkdir(parents=True)
    pictures.open("io").save(store / "aa" / f"{digest}.png")
    pictures.open("io").save(tmp_path / "moon.png")
    (tmp_path / "FOLDER").symlink_to(folder)
    card = (folder / "README.md").read_text().replace("PICTURE_SHA256", digest)
    blocks = [part.split("```")[0] for part in card.split("```python\n")[1:]]
    assert len(blocks) == 3
    monkeypatch.chdir(tmp_path)
    scope: dict = {}
    for block in blocks:
        exec(block, scope)
    assert scope["vectors"].shape == (1, 64)
    assert scope["candidates"].shape == (1, 64)
    assert scope["queries"].shape == (1, 16)
    vector = scope["vector"].detach().numpy()
    np.testing.assert_allclose(vector / np.linalg.norm(vector), scope["candidates"][0], atol=1e-5)
