"""An embedding is what transformers computes for the same document alone, whatever it is batched with."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import Qwen2_5_VLModel
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from training_kernels import encoder as encoder_module
from training_kernels import pictures as pictures_module
from training_kernels.collate import batches_by_tokens
from training_kernels.documents import Document, Segment
from training_kernels.encoder import Encoder
from training_kernels.errors import ConfigError, DataError, OutOfMemory
from training_kernels.images import PictureFolder


def picture(name: str) -> Segment:
    return Segment(image=name)


DOCUMENTS = [
    Document.of("Io is the innermost moon", picture("io"), "and <|image_pad|> is text", "a new line", picture("map")),
    Document.of(picture("wide")),
    Document.of("short"),
    Document.of(picture("a"), picture("b"), "two pictures first " * 9),
    Document.of(""),
    Document.of("a long one " * 60),
]


@pytest.fixture(scope="module")
def encoder(tiny_folder) -> Encoder:
    return Encoder.load(tiny_folder)


@pytest.fixture
def limited(encoder):
    """An encoder of other inputs on the same weights."""
    return lambda **changes: Encoder(encoder.backbone, replace(encoder.inputs, **changes), dims=encoder.dims)


def test_an_embedding_equals_a_plain_transformers_forward(encoder, tiny_folder, pictures):
    model = Qwen2_5_VLModel.from_pretrained(tiny_folder)
    processor = Qwen2VLImageProcessorPil.from_pretrained(tiny_folder)
    embedding_ND = encoder.encode(DOCUMENTS, pictures, side="candidate")
    for document, sequence, embedding_D in zip(
        DOCUMENTS, encoder.render(DOCUMENTS, pictures, side="candidate"), embedding_ND, strict=True
    ):
        token_ids = torch.tensor([sequence.token_ids])
        inputs = {}
        if document.images:
            inputs = processor([pictures.open(digest) for digest in document.images], return_tensors="pt")
        with torch.no_grad():
            hidden_TD = model(
                input_ids=token_ids,
                attention_mask=torch.ones_like(token_ids),
                mm_token_type_ids=(token_ids == encoder.backbone.image_token).int(),
                **inputs,
            ).last_hidden_state[0]
        expected_D = (hidden_TD[-1] / hidden_TD[-1].norm()).numpy()
        np.testing.assert_allclose(embedding_D, expected_D, atol=1e-5)


def test_embeddings_do_not_depend_on_batch_or_order(encoder, pictures, monkeypatch):
    together = encoder.encode(DOCUMENTS, pictures, side="candidate")
    alone = np.concatenate([encoder.encode([document], pictures, side="candidate") for document in DOCUMENTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    monkeypatch.setitem(encoder_module.TOKEN_BUDGET_BY_DEVICE, "cpu", 10_000)
    monkeypatch.setattr(encoder_module, "SORT_WINDOW", 4)
    backwards = encoder.encode(DOCUMENTS[::-1], pictures, side="candidate")
    np.testing.assert_allclose(together, backwards[::-1], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    assert together.dtype == np.float32
    assert np.abs(together[:3] @ together[3:].T).max() < 0.999


def test_positions_equal_the_models_own(encoder, pictures):
    backbone = encoder.backbone
    for sequence in encoder.render(DOCUMENTS, pictures, side="candidate"):
        token_ids = torch.tensor([sequence.token_ids])
        grids = [[1, picture.height // 14, picture.width // 14] for picture in sequence.pictures]
        expected, _ = backbone.model.get_rope_index(
            input_ids=token_ids,
            mm_token_type_ids=(token_ids == backbone.image_token).int(),
            image_grid_thw=torch.tensor(grids) if grids else None,
        )
        np.testing.assert_array_equal(backbone.positions(sequence), expected[:, 0].numpy())


def test_a_document_is_rendered_in_reading_order_with_the_embedding_token_last(encoder, pictures):
    backbone = encoder.backbone
    (sequence,) = encoder.render([DOCUMENTS[0]], pictures, side="candidate")
    text = [backbone.tokenizer.encode([part])[0] for part in ("Io is the innermost moon", "and <|image_pad|> is text")]
    line = backbone.tokenizer.encode(["\na new line"])[0]
    visual = [picture.height * picture.width // 784 for picture in sequence.pictures]
    start, pad, end = backbone.vision_start, backbone.image_token, backbone.vision_end
    assert list(sequence.token_ids) == [
        *text[0], start, *[pad] * visual[0], end, *text[1], *line, start, *[pad] * visual[1], end, backbone.embedding_token
    ]  # fmt: skip
    assert all(sequence.token_ids[first] == pad for first in sequence.picture_starts)


def test_pictures_fit_the_pixel_budget_and_give_the_processors_patches(encoder, tiny_folder, pictures):
    processor = Qwen2VLImageProcessorPil.from_pretrained(tiny_folder)
    for name in "abcdef":
        pixels = encoder.backbone.fit_picture(pictures.open(name), min_pixels=4 * 784, max_pixels=16 * 784)
        assert 4 * 784 <= pixels.shape[0] * pixels.shape[1] <= 16 * 784
        expected = processor([pictures.open(name)], return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(encoder.backbone.patches(pixels[None]), expected, atol=1e-5, rtol=0)


def test_an_instruction_stands_before_queries_only(encoder, limited, pictures):
    instructed = limited(query_instruction="Find: ")
    query, candidate = (
        instructed.render([Document.of("Io")], pictures, side=side)[0] for side in ("query", "candidate")
    )
    text = encoder.backbone.tokenizer.encode(["Find: Io"])[0]  # one string: its tokens are those of any library
    assert list(query.token_ids) == [*text, candidate.token_ids[-1]]
    plain = encoder.render([Document.of("Io")], pictures, side="query")[0]
    assert plain.token_ids == candidate.token_ids


def test_a_long_document_loses_its_end_pictures_only_whole_and_is_counted(limited, pictures):
    short = limited(max_tokens=64)
    document = Document.of(
        "ten words of text stand here before a picture " * 4, picture("a"), picture("b"), "and a tail"
    )
    fits, cut = short.render([Document.of("fits"), document], pictures, side="candidate")
    assert short.num_cut == 1
    assert not fits.is_cut
    assert cut.is_cut
    assert len(cut) <= 64
    assert len(cut.pictures) == 1
    backbone = short.backbone
    assert list(cut.token_ids[-2:]) == [backbone.vision_end, backbone.embedding_token]
    assert cut.token_ids.count(backbone.image_token) == cut.pictures[0].height * cut.pictures[0].width // 784


def test_text_is_cut_at_the_last_token_that_fits(limited, pictures):
    short = limited(max_tokens=60)
    (sequence,) = short.render([Document.of("word " * 80)], pictures, side="candidate")
    assert len(sequence) == 60
    assert sequence.token_ids[-1] == short.backbone.embedding_token


def test_pictures_are_kept_up_to_a_limit(limited, pictures, monkeypatch):
    opened = []

    class Watched:
        def open(self, digest):
            opened.append(digest)
            return pictures.open(digest)

    small = limited()
    monkeypatch.setattr(pictures_module, "PICTURE_CACHE_BYTES", 2 * 112 * 112 * 3)
    for name in ("a", "b", "a", "b", "c", "d", "a"):
        small.render([Document.of(picture(name))], Watched(), side="candidate")
    assert opened[:2] == ["a", "b"]
    assert opened[2:5] == ["c", "d", "a"]


def test_what_cannot_be_read_is_refused_with_a_reason(encoder, limited, tmp_path):
    with pytest.raises(ConfigError, match=r"max_tokens 58 has no room .* budget of 12544 pixels makes \(58 tokens\)"):
        limited(max_tokens=58)
    with pytest.raises(ConfigError, match="do not fit the backbone's width"):
        Encoder(encoder.backbone, encoder.inputs, dims=(4096, 64))
    with pytest.raises(DataError, match="picture gone is not in"):
        encoder.encode([Document.of(picture("gone"))], PictureFolder(str(tmp_path)), side="query")


def test_a_picture_of_absurd_shape_is_named(encoder):
    from PIL import Image

    with pytest.raises(DataError, match="3000 x 10 pixels"):
        encoder.backbone.fit_picture(Image.new("RGB", (3000, 10)), min_pixels=784, max_pixels=7840)


def test_padding_is_small_over_a_mixed_corpus(encoder, pictures):
    generator = np.random.default_rng(0)
    documents = [Document.of("word " * int(generator.integers(1, 300))) for _ in range(300)]
    lengths = [len(one) for one in encoder.render(documents, pictures, side="candidate")]
    batches = batches_by_tokens(lengths, token_budget=encoder_module.TOKEN_BUDGET_BY_DEVICE["cpu"])
    padded = sum(len(batch) * max(lengths[position] for position in batch) for batch in batches)
    assert padded < 1.05 * sum(lengths)


def test_a_picture_that_stands_in_many_documents_of_a_batch_is_read_once(limited, pictures, monkeypatch):
    encoder = limited()
    num_read = []
    vision_features = encoder.backbone.vision_features
    monkeypatch.setattr(
        encoder.backbone, "vision_features", lambda pixels: num_read.append(len(pixels)) or vision_features(pixels)
    )
    documents = [Document.of(picture("a"), "text " * length) for length in range(4)]
    together = encoder.encode(documents, pictures, side="candidate")
    assert num_read == [1]
    monkeypatch.undo()
    alone = np.concatenate([encoder.encode([document], pictures, side="candidate") for document in documents])
    np.testing.assert_allclose(together, alone, atol=1e-5)


class Cramped:
    """A device that has memory for so many padded tokens of a pass."""

    def __init__(self, backbone, most_tokens: int) -> None:
        self.compute, self.most_tokens, self.passes = backbone.last_hidden_states, most_tokens, []

    def __call__(self, sequences, features):
        self.passes.append(len(sequences) * max(map(len, sequences)))
        if self.passes[-1] > self.most_tokens:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.compute(sequences, features)


def test_a_batch_without_memory_is_halved_until_it_fits_and_the_embeddings_stay(limited, pictures, monkeypatch, caplog):
    expected = limited().encode(DOCUMENTS * 3, pictures, side="candidate")
    encoder = limited()
    longest = max(map(len, encoder.render(DOCUMENTS, pictures, side="candidate")))
    cramped = Cramped(encoder.backbone, longest)
    monkeypatch.setattr(encoder.backbone, "last_hidden_states", cramped)
    np.testing.assert_allclose(encoder.encode(DOCUMENTS * 3, pictures, side="candidate"), expected, atol=1e-5)
    num_refused = sum(tokens > longest for tokens in cramped.passes)
    assert num_refused > 0
    encoder.encode(DOCUMENTS * 3, pictures, side="candidate")
    assert sum(tokens > longest for tokens in cramped.passes) == num_refused, "what did not fit is not tried again"
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("cpu has no memory to embed ")


def test_a_document_that_does_not_fit_alone_is_named(limited, pictures, monkeypatch):
    encoder = limited()
    monkeypatch.setattr(encoder_module, "SORT_WINDOW", 4)
    lengths = [len(one) for one in encoder.render(DOCUMENTS, pictures, side="candidate")]
    assert max(lengths) == lengths[-1]
    monkeypatch.setattr(encoder.backbone, "last_hidden_states", Cramped(encoder.backbone, lengths[-1] - 1))
    told = rf"no memory to embed document 5 \(from 0\) .* a pass of 1 document, {lengths[-1]} tokens .* and 0 pictures\. End"
    with pytest.raises(OutOfMemory, match=told):
        encoder.encode(DOCUMENTS, pictures, side="candidate")
