"""Dagster's databases stay in WAL mode, and a process of ours waits for the disk at checkpoints only."""

import sqlite3
from pathlib import Path

import dagster as dg
from sqlalchemy import create_engine, text

from nyx_assets.registering import open_instance
from resources.home import Home

NORMAL, FULL = 1, 2


def test_a_home_s_records_are_in_wal_mode_and_written_without_a_wait_at_each_event(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "home")
    with open_instance(home) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("made"))
        databases = sorted((home.root / "dagster").rglob("*.db"))
        assert len(databases) >= 3
        for database in databases:
            with sqlite3.connect(database) as plain:
                assert plain.execute("PRAGMA journal_mode").fetchone() == ("wal",), database
            with create_engine(f"sqlite:///{database}").connect() as ours:
                assert ours.execute(text("PRAGMA synchronous")).scalar() == NORMAL, database
    with open_instance(home) as instance:
        assert instance.get_latest_materialization_event(dg.AssetKey("made")) is not None


def test_a_database_without_wal_keeps_its_waits(tmp_path: Path) -> None:
    with create_engine(f"sqlite:///{tmp_path / 'other.db'}").connect() as other:
        assert other.execute(text("PRAGMA synchronous")).scalar() == FULL
