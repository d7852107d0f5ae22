"""The embedder seam opens real folders, and the code location can name it without torch."""

import hashlib
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resources.embedder_checkpoint import CheckpointEmbedders
from training_kernels.checkpoint import load_for_training, write_checkpoint
from training_kernels.documents import Document, Segment
from training_kernels.encoder import Encoder
from training_kernels.errors import DataError, IncompleteArtifact
from training_kernels.recipes import tiny


@pytest.fixture
def embedders(tmp_path):
    return CheckpointEmbedders(str(tmp_path / "backbones"), "tiny-qwen2.5-vl", str(tmp_path / "images"))


def stored_picture(root, size=(90, 130)) -> str:
    digest = hashlib.sha256(b"io").hexdigest()
    (root / digest[:2]).mkdir(parents=True)
    Image.new("RGB", size, (200, 90, 30)).save(root / digest[:2] / f"{digest}.png")
    return digest


def test_the_untrained_embedder_embeds_text_and_pictures(embedders, tmp_path):
    digest = stored_picture(tmp_path / "images")
    embedder = embedders.open(embedders.untrained())
    documents = [Document.of("Io", Segment(image=digest)), Document.of("Io"), Document.of(Segment(image=digest))]
    embedding = embedder.embed(documents, side="candidate")
    assert embedding.shape == (3, embedder.dim) == (3, 128)
    assert embedding.dtype == np.float32
    assert embedder.dims == (128,)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, atol=1e-6)
    assert (embedding @ embedding.T)[np.triu_indices(3, 1)].max() < 0.999
    with pytest.raises(DataError, match="picture 00"):
        embedder.embed([Document.of(Segment(image="00" * 32))], side="query")


def test_the_backbone_is_made_once(embedders):
    folder = embedders.untrained()
    assert embedders.untrained() == folder
    assert embedders.open(folder).embed([], side="query").shape == (0, 128)


def test_a_released_embedder_leaves_no_weights_and_opens_again(embedders, monkeypatch):
    emptied = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(weight()))
    folder = embedders.untrained()
    weight = weakref.ref(next(embedders.open(folder).encoder.backbone.model.parameters()))
    assert weight() is not None
    embedders.release()
    assert emptied == [None]
    embedders.release()
    assert embedders.open(folder).dim == 128


def test_training_indexing_and_search_read_a_document_alike(embedders, tmp_path):
    digest = stored_picture(tmp_path / "images", size=(400, 300))
    document = Document.of("Io", Segment(image=digest), "a long caption " * 40)
    start = Path(embedders.untrained())
    inputs = replace(tiny().inputs, max_tokens=60, min_pixels=9 * 784, max_pixels=12 * 784)
    config = replace(tiny(), inputs=inputs)
    backbone = load_for_training(start, config, device=torch.device("cpu"))
    trained = Encoder(backbone, config.inputs, dims=config.loss.dims)
    write_checkpoint(tmp_path / "checkpoint", backbone, config, {}, start_from=start)
    in_training = trained.render([document], embedders.pictures, side="candidate")
    (picture,) = in_training[0].pictures
    assert 9 * 784 <= picture.height * picture.width <= 12 * 784
    embedding = trained.embed(in_training).detach().numpy()
    indexing = embedders.open(str(tmp_path / "checkpoint"))
    search = CheckpointEmbedders(embedders.cache_root, embedders.backbone, embedders.images_root).open(
        str(tmp_path / "checkpoint")
    )
    for opened, side in ((indexing, "candidate"), (search, "query")):
        assert opened.encoder.render([document], embedders.pictures, side=side) == in_training
        np.testing.assert_allclose(opened.embed([document], side=side), embedding, atol=1e-5)
        assert opened.encoder.num_cut == 2
    assert trained.num_cut == 1


def test_vision_outputs_are_kept_beside_the_backbones_where_bytes_are_given(embedders, tmp_path):
    digest = stored_picture(tmp_path / "images")
    document = Document.of(Segment(image=digest))
    expected = embedders.open(embedders.untrained()).embed([document], side="candidate")
    folder = Path(embedders.cache_root) / "vision_cache"
    assert not folder.exists()
    keeping = CheckpointEmbedders(
        embedders.cache_root, embedders.backbone, embedders.images_root, vision_cache_bytes=10**6
    ).open(embedders.untrained())
    for _ in range(2):
        np.testing.assert_array_equal(keeping.embed([document], side="candidate"), expected)
    assert len(list(folder.glob("*/*.features"))) == 1


def test_a_folder_without_manifest_is_incomplete(embedders, tmp_path):
    with pytest.raises(IncompleteArtifact, match=r"has no manifest\.json"):
        embedders.open(str(tmp_path))


def test_torch_loads_only_when_an_embedder_opens_or_a_job_starts():
    program = (
        "import sys; from resources.embedder_checkpoint import CheckpointEmbedders;"
        "from resources.gpu_inprocess import InProcessLauncher;"
        "CheckpointEmbedders('a', 'b', 'c'); InProcessLauncher(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
