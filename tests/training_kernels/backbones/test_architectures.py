"""Each architecture gives what a plain transformers forward gives, whatever a document is batched with."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModel, Idefics3Processor, PreTrainedTokenizerFast
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from training_kernels import encoder as encoder_module
from training_kernels.backbones.registry import backbone_folder
from training_kernels.documents import Document, Segment
from training_kernels.encoder import Encoder
from training_kernels.errors import ConfigError, DataError

BUDGET = {"min_pixels": 3136, "max_pixels": 12_544}


def picture(name: str) -> Segment:
    return Segment(image=name)


DOCUMENTS = [
    Document.of("Io is the innermost moon", picture("io"), "and it has volcanoes.", "a new line", picture("map")),
    Document.of(picture("wide")),
    Document.of("short"),
    Document.of(picture("a"), picture("b"), "two pictures first " * 9),
    Document.of(""),
    Document.of("a long one " * 60),
]


@pytest.fixture
def encoder(hub_folder, tmp_path) -> Encoder:
    loaded = Encoder.load(backbone_folder(str(hub_folder), tmp_path))
    return Encoder(loaded.backbone, replace(loaded.inputs, **BUDGET), dims=loaded.dims)


def plain_inputs(hub_folder, document, pictures):
    """What the architecture's own processor makes of a document that is written as one string."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(hub_folder / "tokenizer.json"), padding_side="right")
    images = [pictures.open(digest) for digest in document.images]
    text = ""
    for position, segment in enumerate(document.segments):
        if segment.image is not None:
            text += "<PICTURE>"
        else:
            text += ("\n" if position and document.segments[position - 1].image is None else "") + segment.text
    if hub_folder.name.startswith("qwen"):
        processor = Qwen2VLImageProcessorPil.from_pretrained(
            hub_folder, size={"shortest_edge": BUDGET["min_pixels"], "longest_edge": BUDGET["max_pixels"]}
        )
        vision = processor(images, return_tensors="pt") if images else {}
        for grid in vision.get("image_grid_thw", []):
            text = text.replace(
                "<PICTURE>", f"<|vision_start|>{'<|image_pad|>' * (int(grid.prod()) // 4)}<|vision_end|>", 1
            )
        token_ids = tokenizer(text + "<|im_end|>", return_tensors="pt")["input_ids"]
        image_token = tokenizer.convert_tokens_to_ids("<|image_pad|>")
        return {"input_ids": token_ids, "mm_token_type_ids": (token_ids == image_token).int(), **vision}
    processor = Idefics3Processor(
        Idefics3ImageProcessorPil.from_pretrained(
            hub_folder,
            do_image_splitting=False,
            size={"height": 96, "width": 96},
            max_image_size={"longest_edge": 96},
        ),
        tokenizer,
        image_seq_len=9,
    )
    text = text.replace("<PICTURE>", "<image>") + "<end_of_utterance>"
    return processor(text=[text], images=[images] if images else None, return_tensors="pt")


def test_an_embedding_equals_a_plain_transformers_forward(hub_folder, encoder, pictures):
    model = AutoModel.from_pretrained(hub_folder)
    embedding_ND = encoder.encode(DOCUMENTS, pictures, side="candidate")
    sequences = encoder.render(DOCUMENTS, pictures, side="candidate")
    for document, sequence, embedding_D in zip(DOCUMENTS, sequences, embedding_ND, strict=True):
        inputs = plain_inputs(hub_folder, document, pictures)
        assert inputs["input_ids"].tolist() == [list(sequence.token_ids)]
        with torch.no_grad():
            last_D = model(**inputs).last_hidden_state[0, -1]
        np.testing.assert_allclose(embedding_D, (last_D / last_D.norm()).numpy(), atol=1e-5)


def test_embeddings_do_not_depend_on_batch_or_order(encoder, pictures, monkeypatch):
    together = encoder.encode(DOCUMENTS, pictures, side="candidate")
    alone = np.concatenate([encoder.encode([document], pictures, side="candidate") for document in DOCUMENTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    monkeypatch.setitem(encoder_module.TOKEN_BUDGET_BY_DEVICE, "cpu", 10_000)
    backwards = encoder.encode(DOCUMENTS[::-1], pictures, side="candidate")
    np.testing.assert_allclose(together, backwards[::-1], atol=1e-5)
    assert np.abs(np.triu(together @ together.T, 1)).max() < 0.9999


def test_a_pictures_features_do_not_depend_on_the_others(encoder, pictures):
    backbone = encoder.backbone
    fitted = [backbone.fit_picture(pictures.open(name), **BUDGET) for name in "abc"]
    with torch.no_grad():
        for together, pixels in zip(backbone.vision_features(fitted), fitted, strict=True):
            torch.testing.assert_close(together, backbone.vision_features([pixels])[0], atol=1e-5, rtol=0)


def test_what_a_picture_becomes_is_known_from_its_size(encoder, pictures):
    backbone = encoder.backbone
    for name in "abcdef":
        opened = pictures.open(name)
        pixels = backbone.fit_picture(opened, **BUDGET)
        assert backbone.fitted_size(opened.height, opened.width, **BUDGET) == pixels.shape[:2]
        assert BUDGET["min_pixels"] <= pixels.shape[0] * pixels.shape[1] <= BUDGET["max_pixels"]
        token_ids, first = backbone.picture_tokens(*pixels.shape[:2])
        with torch.no_grad():
            assert token_ids.count(backbone.image_token) == len(backbone.vision_features([pixels])[0])
        assert token_ids.index(backbone.image_token) == first
        assert len(token_ids) <= backbone.max_picture_tokens(**BUDGET)


@pytest.mark.parametrize(
    ("least", "most", "at_most"),
    [(4, 16, 56), (4, 64, 113), (4, 256, 256), (4, 400, 400), (256, 256, 484)],
)
def test_no_shape_of_a_picture_takes_more_tokens_than_the_budget_is_said_to_make(
    hub_folders, tmp_path, least, most, at_most
):
    backbone = Encoder.load(backbone_folder(str(hub_folders["qwen2_5_vl"]), tmp_path)).backbone
    budget = {"min_pixels": least * 28**2, "max_pixels": most * 28**2}
    assert backbone.max_picture_tokens(**budget) == at_most + 2
    heights = [1, 2, 3, 5, 8, 13, 14, 15, 28, 29, 60, 150, 400, 1100]
    shapes = {(high, min(round(high * 1.02**step), 200 * high)) for high in heights for step in range(270)}
    tokens = [height * width // 28**2 for shape in shapes for height, width in [backbone.fitted_size(*shape, **budget)]]
    assert at_most * (1 if least < most else 0.9) <= max(tokens) <= at_most


def test_one_step_changes_the_language_model_and_with_it_the_vision_tower(encoder, pictures):
    model = encoder.backbone.model.requires_grad_(True)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    embedding_BD = encoder.embed(encoder.render(DOCUMENTS[:4], pictures, side="query"))
    (embedding_BD[0] * embedding_BD[1]).sum().backward()
    optimizer.step()
    changed = {name.split(".")[0] for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert changed == {name.split(".")[0] for name in before}


def test_a_square_reader_uses_the_largest_square_of_the_budget_up_to_its_own(hub_folders, tmp_path):
    backbone = Encoder.load(backbone_folder(str(hub_folders["smolvlm"]), tmp_path)).backbone
    wide = Image.new("RGB", (900, 30))
    assert backbone.fit_picture(wide, min_pixels=1, max_pixels=10_000_000).shape == (128, 128, 3)
    assert backbone.fit_picture(wide, min_pixels=1, max_pixels=96 * 96 + 5).shape == (96, 96, 3)
    assert backbone.max_picture_tokens(min_pixels=1, max_pixels=96 * 96) == 9 + 3
    with pytest.raises(ConfigError, match="has no square of at most 128 pixels a side and a multiple of 32"):
        backbone.fit_picture(wide, min_pixels=1, max_pixels=1000)
    with pytest.raises(ConfigError, match="pixel budget 20000 to 30000"):
        backbone.fit_picture(wide, min_pixels=20_000, max_pixels=30_000)


def test_weights_that_do_not_fill_the_model_are_refused(hub_folders, tmp_path):
    import shutil

    folder = shutil.copytree(hub_folders["idefics3"], tmp_path / "cut")
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights.pop("text_model.layers.1.mlp.up_proj.weight")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match=r"lack or do not fit 1 tensors of a Idefics3Model.*layers\.1\.mlp\.up_proj"):
        Encoder.load(backbone_folder(str(folder), tmp_path / "cache"))


class OneDevice(TorchDispatchMode):
    """Refuses what a GPU refuses: to compute with a tensor on it and one in host memory, a single number aside."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        used = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor) and one.dim() > 0]
        if func not in (torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default):
            assert len({one.device.type for one in used}) < 2, f"{func} of {[(one.device, one.shape) for one in used]}"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("hub_folder", ["qwen2_5_vl", "qwen3_vl"], indirect=True)  # the others read back a mask
def test_all_that_the_vision_tower_computes_with_lies_on_its_device(hub_folder, encoder, pictures):
    """On torch's device without values, where nothing can be read back either."""
    backbone = encoder.backbone
    fitted = [backbone.fit_picture(pictures.open(name), **BUDGET) for name in "abc"]
    sizes = [one.shape for one in backbone.vision_features(fitted)]
    backbone.device = torch.device("meta")
    backbone.model.to(backbone.device)
    with OneDevice():
        features = backbone.vision_features(fitted)
    assert {one.device for one in features} == {backbone.device}
    assert [one.shape for one in features] == sizes
