"""Calls a second against what a server of fixed delay and limited places can give: python -m benchmarks.vlm [--json].

The way of a call is the pipeline's own, with pictures and a JSON schema: look-up, courier, journal under its lock, HTTP
client, kept reply, ledger. The server is a process of its own and shares the machine's cores, as it does in a demo and
never in earnest. In turns with ours, a bare client sends the same bodies over open sockets and does nothing else: what it
reaches is what the server and the machine can give.
"""

import asyncio
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image

from benchmarks.report import argument_parser, comparison_of, print_comparison
from resources.home import Home
from resources.settings import Settings
from resources.vlm import STAND_IN_MODEL, Message, Reply, Request, Sampling, complete_all
from resources.vlm_openai import OpenAIVLM
from resources.vlm_roles import VLMRole
from training_kernels.documents import Document, Segment

SCENES = ((0.5, 16, 16), (0.5, 16, 20), (0.2, 16, 16), (0.2, 16, 20), (0.2, 32, 40))
"""Seconds that an answer takes, answers that the server works on at once, and calls that ours may have under way
(`NYX_TEACHER_MAX_IN_FLIGHT`). Where these are more, the server has the next request at hand when a place is free."""
WAVES = 60
"""Times that all places are taken in one round; the first and last one are ramps."""
FILLER = "The harbour was dredged again and again, and every keeper of the light wrote it down in the same book. " * 40
"""About 1,000 tokens, as a prompt with one chunk has."""
NUM_PICTURES = 24
PICTURE_PIXELS = (480, 360)
"""About 50 kB as JPEG, as the pictures of the real pages have."""
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "pairs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"question": {"type": "string"}, "answer": {"type": "string"}},
                    "required": ["question", "answer"],
                    "additionalProperties": False,
                },
            }
        },
        "required": ["pairs"],
        "additionalProperties": False,
    }
)


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each scene, each with new requests")
    options = parser.parse_args()
    for delay_seconds, places, max_in_flight in SCENES:
        with tempfile.TemporaryDirectory() as folder, fixed_delay_server(delay_seconds, places) as base_url:
            settings = settings_of(Path(folder), base_url, max_in_flight=max_in_flight)
            home = Home.at(settings.home)
            pictures = store_pictures(home)
            role = VLMRole.of("teacher", settings, home)
            list(complete_all(role.for_step("warm-up", None), requests(0, places, pictures)))
            ideal = places / delay_seconds
            ours, bare = [], []
            for number in range(1, options.rounds + 1):
                ours.append((calls_a_second(role, list(requests(number, WAVES * places, pictures))), ideal))
                bodies = bodies_of(settings, home, requests(number, WAVES * places, pictures))
                bare.append((bare_calls_a_second(base_url, bodies, places), ideal))
            role.close()
        scene = f"{places} places of {delay_seconds} s, {max_in_flight} under way, load {os.getloadavg()[0]:.1f}"
        for name, rounds in (("vlm calls", ours), ("bare client", bare)):
            print_comparison(comparison_of(f"{name}, {scene}", rounds, unit="calls/s"), as_json=options.json)


def calls_a_second(role: VLMRole, asked: list[Request]) -> float:
    """Answered calls a second, no reply of which is in the cache."""
    start = time.perf_counter()
    replies = list(complete_all(role.for_step("benchmark", None), asked))
    seconds = time.perf_counter() - start
    unanswered = [reply for reply in replies if not isinstance(reply, Reply) or reply.is_cached]
    if unanswered:
        raise RuntimeError(f"{len(unanswered)} of {len(asked)} calls were not answered by the server: {unanswered[0]}")
    return len(asked) / seconds


def bare_calls_a_second(base_url: str, bodies: list[bytes], places: int) -> float:
    """The same bodies over as many open sockets as there are places; answers are read and dropped."""
    address = urlsplit(base_url)
    left = iter(bodies)

    async def send() -> None:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        for body in left:
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            )
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
        writer.close()

    async def send_all() -> None:
        await asyncio.gather(*(send() for _ in range(places)))

    start = time.perf_counter()
    asyncio.run(send_all())
    return len(bodies) / (time.perf_counter() - start)


def requests(round_number: int, number: int, pictures: list[str]) -> Iterator[Request]:
    """Different requests; every second one shows two pictures, as a chunk of the real pages does."""
    for place in range(number):
        shown = [Segment(image=pictures[(place + turn) % len(pictures)]) for turn in range(2 * (place % 2))]
        parts = [part for turn, picture in enumerate(shown, start=1) for part in (f"Image {turn}:", picture)]
        text = f"{FILLER}The tower {round_number}-{place} was raised in {1000 + place} by the town."
        yield Request(
            messages=(
                Message("system", Document.of("Task: write questions about pictures and text\n\nShort.")),
                Message("user", Document.of("Text:", text, *parts, "Write five questions.")),
            ),
            sampling=Sampling(temperature=0.0, max_output_tokens=512, seed=0, json_schema=SCHEMA),
            prompt_version="benchmark",
        )


def bodies_of(settings: Settings, home: Home, asked: Iterator[Request]) -> list[bytes]:
    """What the pipeline's own client would send."""
    client = OpenAIVLM(settings.endpoints["teacher"], api_key="none", images=home.images)
    return [client.body(request) for request in asked]


def store_pictures(home: Home) -> list[str]:
    """Digests of a few different pictures that lie in the home."""
    digests = []
    for number in range(NUM_PICTURES):
        stream = BytesIO()
        Image.effect_noise(PICTURE_PIXELS, 20 + number).convert("RGB").save(stream, "JPEG", quality=60)
        digest = hashlib.sha256(stream.getvalue()).hexdigest()
        path = home.images.path_of(digest, "jpg")
        home.images.fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        home.images.fs.pipe_file(path, stream.getvalue())
        digests.append(digest)
    return digests


def settings_of(folder: Path, base_url: str, *, max_in_flight: int) -> Settings:
    """A new home whose teacher is served at `base_url`, under caps that are looked at and never reached."""
    return Settings.from_env(
        {
            "NYX_HOME": str(folder),
            "NYX_TEACHER_BASE_URL": base_url,
            "NYX_TEACHER_MODEL": STAND_IN_MODEL,
            "NYX_TEACHER_MAX_IN_FLIGHT": str(max_in_flight),
            "NYX_MAX_TOKENS": str(10**15),
        }
    )


@contextmanager
def fixed_delay_server(delay_seconds: float, places: int) -> Iterator[str]:
    """Base URL of a server that costs next to nothing, in a process of its own."""
    with _served("benchmarks.fixed_delay_server", str(delay_seconds), str(places)) as base_url:
        yield base_url


@contextmanager
def server(delay_seconds: float, places: int, *more: str) -> Iterator[str]:
    """Base URL of the stand-in's server, which works every answer out, in a process of its own."""
    arguments = ["--port", "0", "--delay", str(delay_seconds), "--max-concurrent", str(places), *more]
    with _served("resources.vlm_server", *arguments) as base_url:
        yield base_url


@contextmanager
def _served(module: str, *arguments: str) -> Iterator[str]:
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        try:
            address = re.search(r"http://\S+", process.stdout.readline())
            if address is None:
                raise RuntimeError(f"{module} did not start")
            yield address.group()
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
