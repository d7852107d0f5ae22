"""Calls a second against what a server of fixed delay and limited places can give: python -m benchmarks.vlm [--json].

The way of a call is the pipeline's own: cache, journal under its lock, ledger, HTTP client. The server is a process of
its own and shares the machine's cores, as it does in a demo and never in earnest.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.report import argument_parser, comparison_of, print_comparison
from resources.home import Home
from resources.settings import Settings
from resources.vlm import STAND_IN_MODEL, Message, Reply, Request, Sampling, complete_all
from resources.vlm_roles import VLMRole
from training_kernels.documents import Document

SCENES = ((0.5, 16), (0.2, 16), (0.2, 32))
"""Seconds that an answer takes, and answers that the server works on at once."""
WAVES = 20
"""Times that all places are taken in one round; the first and last one are ramps."""
FILLER = "The harbour was dredged again and again, and every keeper of the light wrote it down in the same book. " * 40
"""With the question about 1,000 tokens, as a prompt with one chunk has."""


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each scene, each with new requests")
    options = parser.parse_args()
    for delay_seconds, places in SCENES:
        with tempfile.TemporaryDirectory() as folder, server(delay_seconds, places) as base_url:
            role = teacher_of(Path(folder), base_url, max_in_flight=places)
            list(complete_all(role.for_step("warm-up", None), requests(0, places)))
            ideal = places / delay_seconds
            rounds = [(calls_a_second(role, number, WAVES * places), ideal) for number in range(1, options.rounds + 1)]
        comparison = comparison_of(f"vlm calls, {places} places of {delay_seconds} s", rounds, unit="calls/s")
        print_comparison(comparison, as_json=options.json)


def calls_a_second(role: VLMRole, round_number: int, number: int) -> float:
    """Answered calls a second, no reply of which is in the cache."""
    start = time.perf_counter()
    replies = list(complete_all(role.for_step("benchmark", None), requests(round_number, number)))
    seconds = time.perf_counter() - start
    unanswered = [reply for reply in replies if not isinstance(reply, Reply) or reply.is_cached]
    if unanswered:
        raise RuntimeError(f"{len(unanswered)} of {number} calls were not answered by the server: {unanswered[0]}")
    return number / seconds


def requests(round_number: int, number: int) -> Iterator[Request]:
    """Different requests that the stand-in answers at once."""
    for place in range(number):
        document = f"{FILLER}The tower {round_number}-{place} was raised in {1000 + place} by the town."
        question = f"What belongs in the gap: “The tower {round_number}-{place} was raised in ____ by the town.”?"
        yield Request(
            messages=(
                Message("system", Document.of("Task: answer from documents\n\nShort.")),
                Message("user", Document.of("Document 1:", document, "Question:", question)),
            ),
            sampling=Sampling(temperature=0.0, max_output_tokens=64, seed=0),
            prompt_version="benchmark",
        )


def teacher_of(folder: Path, base_url: str, *, max_in_flight: int) -> VLMRole:
    """The teacher of a new home, served at `base_url`, under caps that are looked at and never reached."""
    settings = Settings.from_env(
        {
            "NYX_HOME": str(folder),
            "NYX_TEACHER_BASE_URL": base_url,
            "NYX_TEACHER_MODEL": STAND_IN_MODEL,
            "NYX_TEACHER_MAX_IN_FLIGHT": str(max_in_flight),
            "NYX_MAX_TOKENS": str(10**15),
        }
    )
    return VLMRole.of("teacher", settings, Home.at(settings.home))


@contextmanager
def server(delay_seconds: float, places: int, *more: str) -> Iterator[str]:
    """Base URL of a loopback server in a process of its own."""
    command = [sys.executable, "-m", "resources.vlm_server", "--port", "0"]
    command += ["--delay", str(delay_seconds), "--max-concurrent", str(places), *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        try:
            address = re.search(r"http://\S+", process.stdout.readline())
            if address is None:
                raise RuntimeError("the loopback server did not start")
            yield address.group()
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
