"""The recipes for small machines train the smallest backbone that the README names, through the seams of the graph."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nyx_assets.definitions import resources_of
from nyx_assets.recipes import pipeline_recipe, recipe_of
from nyx_assets.training.runs import trained_checkpoint
from resources.home import Home
from resources.settings import Settings
from resources.tables import Provenance
from tests.training_kernels.backbones.conftest import save_idefics
from training_kernels import __main__ as by_hand
from training_kernels.dev_examples import NO_DEV
from training_kernels.documents import Document, Segment
from training_kernels.examples import Example, ExampleSet

WIDTH = 576
"""Of SmolVLM-256M."""


@pytest.fixture(scope="module")
def smolvlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of SmolVLM's architecture, as wide as the smallest one; all else cut down."""
    folder = tmp_path_factory.mktemp("hub") / "smolvlm"
    folder.mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_idefics(folder, "smolvlm", width=WIDTH)
    return folder


@pytest.mark.parametrize("name", ["small_gpu", "cpu"])
def test_a_small_backbone_is_trained_and_opened_as_the_assets_do(home: Home, smolvlm: Path, name: str) -> None:
    settings = Settings.from_env({"NYX_HOME": str(home.root), "NYX_RECIPE": name, "NYX_BACKBONE": str(smolvlm)})
    recipe, resources = recipe_of(settings), resources_of(settings, home)
    picture = home.images.put(png(), limits=recipe.pictures).digest
    documents = {f"q{number}": Document.of(f"what is thing {number}") for number in range(4)}
    documents |= {
        f"d{number}": Document.of(f"thing {number} looks so", Segment(image=picture), "here") for number in range(4)
    }
    examples = tuple(
        Example(example_id=f"e{n}", query=f"q{n}", positive=f"d{n}", negatives=(), source="nyxqa") for n in range(4)
    )
    for asset, training, start_from in (
        ("pretrained_checkpoint", recipe.pretraining, resources["embedders"].untrained()),
        ("finetuned_checkpoint", recipe.finetuning, ""),
    ):
        trained_checkpoint(
            home,
            asset,
            ExampleSet(documents, examples, {}),
            dev=NO_DEV,
            training_recipe=training,
            start_from=start_from or str(home.artifacts.require("pretrained_checkpoint").folder),
            seed=recipe.seed,
            launcher=resources["launcher"],
            provenance=Provenance(code_version="1", inputs={}),
            log=lambda line: None,
        )
    embedder = resources["embedders"].open(str(home.artifacts.require("finetuned_checkpoint").folder))
    assert embedder.dims == (WIDTH, 512, 256, 128)
    assert next(dim for dim in embedder.dims if dim <= recipe.index.max_dim) == WIDTH
    embedding_ND = embedder.embed([documents["d0"], documents["q1"]], side="candidate")
    np.testing.assert_allclose(np.linalg.norm(embedding_ND, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("name", ["small_gpu", "cpu"])
def test_a_preset_is_the_same_by_hand_and_in_the_graph(name: str) -> None:
    recipe = pipeline_recipe(name)
    assert (recipe.pretraining, recipe.finetuning) == (name, name)
    assert recipe.backbone == by_hand.BACKBONE_BY_RECIPE[name]


def png() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
