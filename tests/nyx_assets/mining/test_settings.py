"""Which miner the environment chooses, and that changing it makes the negatives stale."""

from pathlib import Path

import pytest

from nyx_assets.definitions import build_pipeline, resources_of
from nyx_assets.recipes import recipe_of
from resources.embedder_endpoint import EndpointEmbedder
from resources.home import Home
from resources.settings import Settings
from training_kernels.errors import ConfigError

SERVER = {"NYX_EMBEDDER_BASE_URL": "http://127.0.0.1:9/v1", "NYX_EMBEDDER_MODEL": "org/embedder"}


def settings(tmp_path: Path, **env: str) -> Settings:
    return Settings.from_env({"NYX_HOME": str(tmp_path), **env})


def test_recipe_and_miner_are_chosen_apart(tmp_path: Path) -> None:
    mining = recipe_of(settings(tmp_path, NYX_MINING="published", NYX_MINER="untrained")).mining
    assert (mining.name, mining.first_rank, mining.depth, mining.keep, mining.miner) == (
        "published",
        11,
        10,
        5,
        "untrained",
    )


def test_the_served_model_is_part_of_the_miners_name_and_opens_its_embedder(tmp_path: Path) -> None:
    chosen = settings(tmp_path, NYX_MINER="endpoint", **SERVER)
    assert recipe_of(chosen).mining.miner == "endpoint:org/embedder"
    opened = resources_of(chosen, Home.at(tmp_path))["foreign_embedders"]["endpoint"](
        "org/embedder", asset="negatives", partition=None
    )
    assert isinstance(opened, EndpointEmbedder)
    for env in ({}, SERVER | {"NYX_EMBEDDER_MODEL": "another"}):
        foreign = resources_of(settings(tmp_path, **env), Home.at(tmp_path))["foreign_embedders"]
        with pytest.raises(ConfigError, match="needs NYX_EMBEDDER_BASE_URL, and NYX_EMBEDDER_MODEL=org/embedder"):
            foreign["endpoint"]("org/embedder", asset="negatives", partition=None)


@pytest.mark.parametrize(
    ("env", "pool"),
    [
        ({}, None),
        ({"NYX_MINER": "untrained"}, "gpu"),
        ({"NYX_MINER": "sentence-transformers:some/model", "NYX_MINING": "judged"}, "gpu"),
        ({"NYX_MINER": "endpoint", **SERVER}, None),
        ({"NYX_MINING": "judged"}, "vlm"),
    ],
)
def test_mining_waits_for_what_it_uses(tmp_path: Path, env: dict[str, str], pool: str | None) -> None:
    pipeline = build_pipeline(settings(tmp_path / "home", **env), Home.at(tmp_path / "home"))
    assert pipeline.defs.resolve_assets_def(pipeline.specs["negatives"].key).op.pool == pool


def test_what_negatives_and_public_examples_depend_on_is_in_their_code_version(tmp_path: Path) -> None:
    (tmp_path / "sets").mkdir()

    def versions(**env: str) -> tuple[str, str]:
        specs = build_pipeline(settings(tmp_path / "home", **env), Home.at(tmp_path / "home")).specs
        return str(specs["negatives"].code_version), str(specs["public_examples"].code_version)

    plain = versions()
    assert plain == versions(NYX_MINING="paper", NYX_GENERATOR_BASE_URL="http://x/v1", NYX_GENERATOR_MODEL="m")
    judge = {"NYX_JUDGE_BASE_URL": "http://x/v1", "NYX_JUDGE_MODEL": "m"}
    assert versions(**judge)[0] == plain[0]
    changed = [
        versions(NYX_MINING="published")[0],
        versions(NYX_MINER="untrained")[0],
        versions(NYX_MINER="untrained", NYX_BACKBONE="another")[0],
        versions(NYX_MINING="judged")[0],
        versions(NYX_MINING="judged", **judge)[0],
        versions(NYX_MINER="endpoint", **SERVER)[0],
    ]
    assert len({plain[0], *changed}) == 7
    (tmp_path / "sets" / "a.jsonl").write_text("{}\n")
    assert versions(NYX_PUBLIC_SETS=str(tmp_path / "sets"))[1] != plain[1]
