"""The embedder seam opens real folders, and the code location can name it without torch."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from resources.embedder_checkpoint import CheckpointEmbedders
from training_kernels.documents import Document, Segment
from training_kernels.errors import DataError, IncompleteArtifact


@pytest.fixture
def embedders(tmp_path):
    return CheckpointEmbedders(str(tmp_path / "backbones"), "tiny-qwen2.5-vl", str(tmp_path / "images"))


def stored_picture(root) -> str:
    digest = hashlib.sha256(b"io").hexdigest()
    (root / digest[:2]).mkdir(parents=True)
    Image.new("RGB", (90, 130), (200, 90, 30)).save(root / digest[:2] / f"{digest}.png")
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
