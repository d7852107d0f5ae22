"""What an asset was the first to ask counts as its calls, however often it asked, and nothing counts twice."""

import json
from pathlib import Path
from typing import Any

from nyx_assets.past_calls import SpentCalls, spent_calls
from resources.home import Home
from resources.vlm_roles import ledger_folder

FIRST, SECOND = "feedback_preferences", "round_2/feedback_preferences"


def call(second: int, asset: str, digest: str, *, is_cached: bool = False, error: str | None = None) -> dict[str, Any]:
    return {
        "time": f"2026-01-01T00:00:{second:02}.000+00:00", "asset": asset, "partition": "p", "model": "m",
        "request_digest": digest, "input_tokens": 10, "output_tokens": 2, "cost_usd": 0.0 if is_cached or error else 0.5,
        "latency_seconds": 1.0, "is_cached": is_cached, "error": error,
    }  # fmt: skip


def test_each_request_belongs_to_the_asset_that_asked_it_first(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    assert spent_calls(home, FIRST) == SpentCalls(calls=0, cached_calls=0, input_tokens=0, output_tokens=0, cost_usd=0)
    rows = [
        call(1, FIRST, "a"),
        call(2, FIRST, "b"),
        call(3, FIRST, "b", is_cached=True),  # of a run that was killed and started again
        call(4, SECOND, "a", is_cached=True),
        call(5, SECOND, "c", error="refused"),
        call(6, SECOND, "c"),
        call(7, FIRST, "c", is_cached=True),  # when the first round is made again later
    ]
    folder = ledger_folder(home)
    folder.mkdir(parents=True)
    (folder / "one.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert spent_calls(home, SECOND) == SpentCalls(
        calls=1, cached_calls=1, input_tokens=10, output_tokens=2, cost_usd=0.5
    )
    assert spent_calls(home, FIRST) == SpentCalls(
        calls=2, cached_calls=1, input_tokens=20, output_tokens=4, cost_usd=1.0
    )


def test_a_stand_in_that_is_asked_again_adds_no_call(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    folder = ledger_folder(home)
    folder.mkdir(parents=True)
    rows = [call(1, FIRST, "a"), call(2, SECOND, "a"), call(3, SECOND, "b"), call(4, SECOND, "b")]
    (folder / "one.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spent = spent_calls(home, SECOND)
    assert (spent.calls, spent.cached_calls) == (1, 1)
