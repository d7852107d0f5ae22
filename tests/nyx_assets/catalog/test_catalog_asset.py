"""The catalogue as an asset: it counts as made only while its file is there."""

from pathlib import Path

from nyx_assets.definitions import build_pipeline
from nyx_assets.materialization import expected_provenance, is_current
from nyx_assets.records import CATALOG
from resources.catalog import build_catalog
from resources.home import Home
from resources.settings import Settings


def test_a_catalogue_whose_file_was_deleted_is_made_again(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "home")
    spec = build_pipeline(Settings.from_env({"NYX_HOME": str(home.root)}), home).specs["catalog"]
    made = expected_provenance(spec, None, home)
    with home.tables.write("catalog", CATALOG, partition=None, provenance=made) as table:
        table.append([{"name": "commits"}])
    build_catalog(home, [])
    assert is_current(spec, None, home)
    (home.root / "catalog.duckdb").unlink()
    assert not is_current(spec, None, home)
