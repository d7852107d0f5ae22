"""Feedback over a loopback server: python -m benchmarks.feedback [--json].

Three things. Calls a second when every window of every query is asked, against what a server of fixed delay and limited
places can give; the first ramp and the last queries' tail are in the time. A bare client that sends bodies of the same kind
and does nothing else shows what the machine can give. Peak memory of the process that asks, beside
that of a tenth of the queries. And with early stop, over a server that works its answers out and counts them: how many
calls it saves, how many were foreseen after a tenth of the queries, and how many are made twice when the process is
killed again and again.
"""

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.report import argument_parser, comparison_of, print_comparison
from benchmarks.vlm import bare_calls_a_second, fixed_delay_server
from nyx_assets.feedback.saving import foreseen_calls
from nyx_assets.feedback.trying import Query, queries_of, request_of, tried
from nyx_assets.recipes import FEEDBACK_RECIPES, FeedbackRecipe
from nyx_assets.records import FEEDBACK_PREFERENCES
from resources.home import Home
from resources.settings import Settings
from resources.tables import Provenance
from resources.vlm import STAND_IN_MODEL
from resources.vlm_openai import OpenAIVLM
from resources.vlm_roles import VLMRole
from resources.vlm_server import OfflineService, serve_offline_vlm
from training_kernels.documents import Document

DELAY_SECONDS, PLACES = 0.5, 16
"""32 calls a second at best: 31,000 calls in 16 minutes, on a processor that also runs the server."""
KILLS = 5
COUNTED_QUERIES = 200
"""Of the part with kills: its server works answers out in Python, beside everything else on this machine."""
COUNTED_DELAY_SECONDS, COUNTED_PLACES = 0.1, 8
FIRST_SHARE, FOUND_SHARE = 0.518, 0.85
"""Golden chunks at rank 1: the paper's figure 6 for its pretrained retriever; Choice: those among the windows at all."""
FILLER = "The harbour was dredged again and again, and every keeper of the light wrote it down in the same book. " * 9
"""About 200 tokens, a chunk's length."""


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--windows", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=1, help="of the part without early stop")
    parser.add_argument("--delay", type=float, default=DELAY_SECONDS, help="seconds that an answer takes")
    parser.add_argument("--places", type=int, default=PLACES, help="answers that the server works on at once")
    parser.add_argument(
        "--in-flight", type=int, help="calls under way; a quarter more than places where nothing is said"
    )
    parser.add_argument("--worker", nargs=3, metavar=("HOME", "URL", "IN_FLIGHT"), help=argparse.SUPPRESS)
    parser.add_argument("--early-stop", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    recipe = replace(FEEDBACK_RECIPES["guarded"], top_k=options.windows, early_stop=options.early_stop)
    if options.worker:
        home, base_url, in_flight = options.worker
        queries = made_queries(options.queries, recipe)
        print(json.dumps(work(Path(home), base_url, int(in_flight), queries, recipe)))
        return
    few, whole = options.queries // 10, options.queries
    in_flight = options.in_flight or -(-5 * options.places // 4)  # as the README advises: the next request is at hand
    ideal = options.places / options.delay
    ours, bare, peaks = [], [], {}
    for num_queries in [few] + [whole] * options.rounds:
        with tempfile.TemporaryDirectory() as folder, fixed_delay_server(options.delay, options.places) as base_url:
            done = worker(Path(folder), base_url, in_flight, num_queries, recipe)
            peaks[num_queries] = done["peak_mb"]
            ours.append((done["calls"] / done["seconds"], ideal))
            bodies = list(bodies_of(Path(folder), base_url, made_queries(few, recipe), recipe))
            bare.append((bare_calls_a_second(base_url, bodies, in_flight), ideal))
    scene = f"{options.places} places of {options.delay} s, {in_flight} calls under way, load {os.getloadavg()[0]:.1f}"
    whole_name = f"feedback, {whole:,} queries x {options.windows} windows, {scene}"
    for name, rounds in ((whole_name, ours[1:]), (f"bare client, {few:,} queries, {scene}", bare)):
        print_comparison(comparison_of(name, rounds, unit="calls/s, peer: ideal"), as_json=options.json)
    said: dict[str, Any] = {"peak_mb_by_queries": peaks}
    said |= counted(min(COUNTED_QUERIES, whole), replace(recipe, early_stop=True))
    print(json.dumps(said) if options.json else "\n".join(f"{name}: {value}" for name, value in said.items()))


def counted(num_queries: int, recipe: FeedbackRecipe) -> dict[str, Any]:
    """Calls of early stop as foreseen and as made, with a kill again and again."""
    service = OfflineService(delay_seconds=COUNTED_DELAY_SECONDS, max_concurrent=COUNTED_PLACES)
    with tempfile.TemporaryDirectory() as folder, serve_offline_vlm(service):
        home, few = Path(folder), num_queries // 10
        place = (home, service.base_url, COUNTED_PLACES)
        # a tenth is tried first, as another partition; the plan of the others rests on it
        work(*place, made_queries(few, recipe, first=num_queries), recipe)
        foreseen = foreseen_calls(Home.at(home), recipe)
        before = sum(service.counts()["answers"].values())
        kills = 0
        for _ in range(KILLS):
            process = start_worker(*place, num_queries, recipe)
            at_start = sum(service.counts()["attempts"].values())
            while sum(service.counts()["attempts"].values()) < at_start + 100 and process.poll() is None:
                time.sleep(0.01)
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
            process.communicate()
        done = worker(*place, num_queries, recipe)
        answers = service.counts()["answers"]
    return {
        "early_stop_calls": done["calls"],
        "early_stop_saved_share": round(done["left"] / (done["calls"] + done["left"]), 4),
        "foreseen_calls": (foreseen.asked * num_queries).to_json(),
        "foreseen_from_queries": foreseen.num_sampled,
        "kills": kills,
        "calls_answered_by_the_server": sum(answers.values()) - before,
        "calls_made_twice": sum(number - 1 for number in answers.values()),
    }


def made_queries(number: int, recipe: FeedbackRecipe, *, first: int = 0) -> Iterator[Query]:
    """Questions about towers; the chunk that answers one is at rank 1, further down, or not among the windows."""
    for place in range(first, first + number):
        draw = random.Random(place)
        others = [f"c{place + step + 1}" for step in range(recipe.top_k)]
        if draw.random() < FOUND_SHARE:
            others.insert(
                0 if draw.random() < FIRST_SHARE / FOUND_SHARE else draw.randrange(1, recipe.top_k), f"c{place}"
            )
        question = Document.of(f"What belongs in the gap: “The tower {place} was raised in ____ by the town of Lund.”?")
        pair = {
            "qa_id": f"q{place:06}", "chunk_id": f"c{place}", "answer": str(1000 + place), "options": [],
            "question": question.to_rows(),
        }  # fmt: skip
        ranking = [(chunk_id, 1 - rank / 100) for rank, chunk_id in enumerate(others[: recipe.top_k])]
        yield from queries_of([pair], [ranking], recipe)


class Chunks(dict[str, Document]):
    """Made when they are asked for, so that the memory that is measured is feedback's own."""

    def __missing__(self, chunk_id: str) -> Document:
        number = int(chunk_id[1:])
        return Document.of(f"{FILLER}The tower {number} was raised in {1000 + number} by the town of Lund.")


def work(
    folder: Path, base_url: str, in_flight: int, queries: Iterator[Query], recipe: FeedbackRecipe
) -> dict[str, float]:
    """Try the queries and keep their rows, as the asset does."""
    settings = settings_of(folder, base_url, in_flight)
    home = Home.at(settings.home)
    role = VLMRole.of("generator", settings, home)
    calls = left = 0
    start = time.perf_counter()
    provenance = Provenance(code_version="benchmark")
    vlm = role.for_step("feedback_preferences", "p")
    with home.tables.write("feedback_preferences", FEEDBACK_PREFERENCES, partition="p", provenance=provenance) as table:
        for rows in tried(queries, vlm, Chunks(), recipe, seed=0):
            table.append(rows)
            calls += len(rows)
            left += rows[0]["num_not_asked"]
    seconds = time.perf_counter() - start
    role.close()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"calls": calls, "left": left, "seconds": seconds, "peak_mb": round(peak_mb, 1)}


def settings_of(folder: Path, base_url: str, in_flight: int) -> Settings:
    """A home whose generator is served at `base_url`."""
    return Settings.from_env(
        {
            "NYX_HOME": str(folder),
            "NYX_GENERATOR_BASE_URL": base_url,
            "NYX_GENERATOR_MODEL": STAND_IN_MODEL,
            "NYX_GENERATOR_MAX_IN_FLIGHT": str(in_flight),
            "NYX_MAX_TOKENS": str(10**15),  # a cap that is looked at and never reached
        }
    )


def bodies_of(folder: Path, base_url: str, queries: Iterator[Query], recipe: FeedbackRecipe) -> Iterator[bytes]:
    """What is sent for every window of the queries."""
    settings = settings_of(folder, base_url, 1)
    client = OpenAIVLM(settings.endpoints["generator"], api_key="none", images=Home.at(folder).images)
    for query in queries:
        for rank in range(len(query.windows) + 1):
            yield client.body(request_of(query, rank, Chunks(), recipe, seed=0))


def start_worker(
    folder: Path, base_url: str, in_flight: int, num_queries: int, recipe: FeedbackRecipe
) -> "subprocess.Popen[str]":
    """A process of its own, which can be killed and whose memory is its own."""
    told = ["--worker", str(folder), base_url, str(in_flight), "--queries", str(num_queries)]
    told += ["--windows", str(recipe.top_k), *(["--early-stop"] if recipe.early_stop else [])]
    return subprocess.Popen([sys.executable, "-m", "benchmarks.feedback", *told], stdout=subprocess.PIPE, text=True)


def worker(folder: Path, base_url: str, in_flight: int, num_queries: int, recipe: FeedbackRecipe) -> dict[str, Any]:
    """What a process that was left alone did."""
    process = start_worker(folder, base_url, in_flight, num_queries, recipe)
    said, _ = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the worker ended with status {process.returncode}")
    done: dict[str, Any] = json.loads(said)
    return done


if __name__ == "__main__":
    main()
