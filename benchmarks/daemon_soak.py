"""Landings under random kills while the daemon does the work: python -m benchmarks.daemon_soak --minutes 20 --landings 200.

Nobody gives a command: a real `dagster dev` finds the deliveries, and brings them to documents, chunks, embeddings and the
live index; now and then its job `retrain` is started up to the questions, as a person would in the launchpad. At random
moments one of its processes is killed with kill -9: run worker, webserver, daemon, code server, or all at once; where
`dagster dev` ends because of that, it is started again. In the end it is left in peace, and then every page has to stand
exactly once in the tables, every chunk exactly once in the live index, and every request has to have been paid once.

Prints one JSON object; exit status 1 if anything of this is not so.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from http.client import HTTPException
from pathlib import Path

from benchmarks.dagster_dev import ARGUMENTS, Dagster, Part, serving
from benchmarks.soak import PAGES_A_LANDING, PREFIX, Outcome, environment, faults, land, made_home
from nyx_assets.recovery import dead_runs
from nyx_assets.registering import open_instance
from resources.home import Home
from resources.settings import Settings
from resources.vlm_roles import budget_of
from resources.vlm_server import OfflineService, serve_offline_vlm

SECONDS_BETWEEN_KILLS = (15.0, 45.0)
"""Choice: a start of `dagster dev` takes some ten seconds of two cores, a run some five."""
SECONDS_BETWEEN_QUESTIONS = 90.0
PATIENCE_SECONDS = 900.0
"""From the last kill until all is done."""
VICTIMS = ("run worker", "run worker", "run worker", *ARGUMENTS, "everything")
QUESTIONS = {"only_until": "questions"}
ENDED = ("SUCCESS", "FAILURE", "CANCELED")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="time over which the deliveries land")
    parser.add_argument("--landings", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nyx_daemon_soak_") as scratch:
        home, crawl = made_home(Path(scratch))
        soak = DaemonSoak(home, crawl, landings=options.landings, seconds=60 * options.minutes, seed=options.seed)
        outcome = soak.outcome()
    json.dump(asdict(outcome), sys.stdout, indent=1)
    print()
    sys.exit(1 if outcome.faults else 0)


class DaemonSoak:
    """One soak; what it does next depends on the clock and on its draws."""

    def __init__(self, home: Path, crawl: Path, *, landings: int, seconds: float, seed: int) -> None:
        """
        Args:
            home: a home with a live index, made from the crawl folder.
            seconds: over which the deliveries land.
        """
        self._home, self._crawl, self._log = home, crawl, home.parent / "dagster.log"
        self._landings, self._seconds = landings, seconds
        self._draw = random.Random(seed)
        self._num_landed, self._victims, self._starts = 0, Counter[str](), 0

    def outcome(self) -> Outcome:
        """All of it, and what is wrong in the end."""
        began = time.monotonic()
        with serve_offline_vlm(OfflineService(delay_seconds=0.05)) as service:
            env = environment(self._home, service) | {"NYX_CRAWL": str(self._crawl)}
            self._until = began + self._seconds
            self._next_kill = began + self._draw.uniform(*SECONDS_BETWEEN_KILLS)
            self._next_questions = began + SECONDS_BETWEEN_QUESTIONS
            while self._is_on(began):
                self._starts += 1
                with serving(self._home, self._log, **env) as dagster:
                    while dagster.process.poll() is None and self._is_on(began):
                        # a part of it was killed: it does not answer, or with an error, or in the middle of a word
                        with contextlib.suppress(OSError, AssertionError, HTTPException, ValueError):
                            self._act(dagster, began)
                        time.sleep(0.5)
            failed = self._in_peace(env)
            requests = len(service.answers_by_digest)
            twice = sum(count - 1 for count in service.answers_by_digest.values())
        home = Home.at(self._home)
        outcome = Outcome(
            landings=self._landings,
            pages=self._landings * PAGES_A_LANDING,
            runs=self._starts,
            kills=dict(self._victims),
            failed_runs=failed,
            seconds=round(time.monotonic() - began, 1),
            requests=requests,
            answered_twice=twice,
            interrupted=len(budget_of(Settings.from_env(env), home).interrupted()),
        )
        outcome.faults = list(faults(home, outcome))
        with open_instance(home) as instance:
            outcome.faults += [f"run {run.dagster_run.run_id} hangs" for run in dead_runs(instance)]
        return outcome

    def _is_on(self, began: float) -> bool:
        return time.monotonic() < self._until or self._num_landed < self._landings

    def _act(self, dagster: Dagster, began: float) -> None:
        now = time.monotonic()
        due = min(self._landings, 1 + int((now - began) / max(self._seconds, 1e-9) * self._landings))
        while self._num_landed < due:
            land(self._crawl, self._num_landed)
            self._num_landed += 1
        if now >= self._next_questions:
            dagster.launch(job="retrain", config=QUESTIONS)
            self._next_questions = now + SECONDS_BETWEEN_QUESTIONS
        if now >= self._next_kill:
            self._kill(dagster, self._draw.choice(VICTIMS))
            self._next_kill = now + self._draw.uniform(*SECONDS_BETWEEN_KILLS)

    def _kill(self, dagster: Dagster, victim: str) -> None:
        with contextlib.suppress(ProcessLookupError, ValueError, StopIteration):  # it has just ended, or not yet begun
            if victim == "run worker":
                running = [run["runId"] for run in dagster.runs() if run["status"] == "STARTED"]
                if not running:
                    return
                os.kill(dagster.worker_of(running[0]), signal.SIGKILL)
            elif victim == "everything":
                os.killpg(dagster.process.pid, signal.SIGKILL)
            else:
                part: Part = next(part for part in ARGUMENTS if part == victim)
                os.kill(dagster.process_of(part), signal.SIGKILL)
            self._victims[victim] += 1
            print(f"{victim} killed, {self._num_landed} landed", file=sys.stderr)

    def _in_peace(self, env: dict[str, str]) -> list[str]:
        """Until all that landed is live and was asked about; what did not come about."""
        wanted = {f"{PREFIX}{number:05}" for number in range(self._landings)}
        home = Home.at(self._home)

        def live() -> set[str]:
            rows = home.tables.read("final_index").to_pylist()
            return {crawl for row in rows if row["is_live"] for crawl in row["crawls"]}

        with serving(self._home, self._log, **env) as dagster:
            if not _comes(lambda: wanted <= live()):
                return [f"{len(wanted - live())} deliveries are not in the live index"]
            if not _comes(lambda: not dagster.unfinished()):
                return ["runs did not end"]
            run = dagster.launch(job="retrain", config=QUESTIONS)
            if not _comes(lambda: dagster.status_of(run) in ENDED) or dagster.status_of(run) != "SUCCESS":
                return [f"the last run of retrain ended with {dagster.status_of(run)}"]
            if not _comes(lambda: not dagster.unfinished()):
                return ["runs did not end"]
        return []


def _comes(is_so: Callable[[], bool]) -> bool:
    """Whether it comes about in the time that is left to it."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > until:
            return False
        time.sleep(1)
    return True


if __name__ == "__main__":
    main()
