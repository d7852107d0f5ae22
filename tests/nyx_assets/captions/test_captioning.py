"""A caption a picture: asked for once, kept, capped, with a reason where there is none; and what reads it finds the picture."""

import base64
import io
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from PIL import Image

from nyx_assets.captions.captioning import NOT_DRAWN, captioned, pictures_of
from nyx_assets.evaluation.retrievers import Bm25Retriever, CaptionedRetriever
from nyx_assets.recipes import tiny
from resources.home import Home
from resources.settings import Settings
from resources.vlm import VLM
from resources.vlm_offline import OfflineVLM
from resources.vlm_roles import VLMRole
from training_kernels.documents import Document, Segment

RECIPE = tiny().captions
COLOURS = {"red": (200, 30, 30), "blue": (40, 80, 190), "green": (50, 150, 60)}


@contextmanager
def colour_server() -> Iterator[tuple[str, Counter[str]]]:
    """A chat server that really looks: it says the colour of the picture's first pixel, and refuses green ones.

    Yields its address, and how often each colour was asked about.
    """
    asked: Counter[str] = Counter()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            (part,) = (part for part in body["messages"][-1]["content"] if part["type"] == "image_url")
            picture = Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].partition(",")[2])))
            pixel = picture.convert("RGB").getpixel((0, 0))
            name = min(COLOURS, key=lambda one: sum(abs(a - b) for a, b in zip(COLOURS[one], pixel, strict=True)))
            asked[name] += 1
            message = {"role": "assistant", "content": f"A {name}\n field at dusk."}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
            answer = {
                "id": "c",
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "choices": [choice],
                "usage": usage,
            }
            content = json.dumps(answer if name != "green" else {"error": {"message": "no green"}}).encode()
            self.send_response(200 if name != "green" else 400)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def picture_by_colour(home: Home) -> dict[str, str]:
    """Digest of a stored picture of each colour."""
    digests = {}
    for name, colour in COLOURS.items():
        file = io.BytesIO()
        Image.new("RGB", (96, 64), colour).save(file, "PNG")
        digests[name] = home.images.put(file.getvalue(), limits=tiny().pictures).digest
    return digests


def rows_by_image(images: list[str], vlm: VLM, home: Home, **changes: int) -> dict[str, dict[str, Any]]:
    rows = list(captioned(sorted(images), vlm, home.images, recipe=replace(RECIPE, **changes), seed=1))
    assert [row["image"] for row in rows] == sorted(images)
    return {row["image"]: row for row in rows}


def test_a_picture_is_paid_for_once_and_one_that_was_refused_has_the_reason(
    home: Home, picture_by_colour: dict[str, str]
) -> None:
    images = list(picture_by_colour.values())
    with colour_server() as (base_url, asked):
        env = {
            "NYX_HOME": str(home.root), "NYX_TEACHER_BASE_URL": base_url, "NYX_TEACHER_MODEL": "looker",
            "NYX_TEACHER_USD_PER_MILLION_INPUT": "1000", "NYX_TEACHER_MAX_RETRIES": "0",
        }  # fmt: skip
        role = VLMRole.of("teacher", Settings.from_env(env), home)
        first = rows_by_image(images, role.for_step("chunk_captions", "p"), home)
        paid = dict(asked)
        again = rows_by_image(images, role.for_step("chunk_captions", "p"), home)
        role.close()
    assert paid == {"red": 1, "blue": 1, "green": 1}
    assert dict(asked) == {"red": 1, "blue": 1, "green": 2}  # a refusal is not kept: it may be mended
    red, green = first[picture_by_colour["red"]], first[picture_by_colour["green"]]
    assert (red["caption"], red["reason"], red["captioner"], red["is_stand_in"]) == (
        "A red field at dusk.", None, "looker", False,
    )  # fmt: skip
    assert (red["input_tokens"], red["output_tokens"], red["cost_usd"]) == (7, 5, 0.007)
    assert green["caption"] is None
    assert "no green" in green["reason"]
    assert again[picture_by_colour["red"]] == red


def test_no_more_pictures_are_captioned_than_were_allowed_and_the_others_say_so(
    home: Home, picture_by_colour: dict[str, str]
) -> None:
    rows = rows_by_image(list(picture_by_colour.values()), OfflineVLM(), home, max_pictures_per_crawl=2)
    assert sorted(row["reason"] or "" for row in rows.values()) == ["", "", NOT_DRAWN]
    assert sum(row["caption"] is not None for row in rows.values()) == 2


def test_without_a_teacher_a_rule_names_the_colours_and_the_row_says_that_it_did(
    home: Home, picture_by_colour: dict[str, str]
) -> None:
    row = rows_by_image([picture_by_colour["blue"]], OfflineVLM(), home)[picture_by_colour["blue"]]
    assert (row["caption"], row["is_stand_in"]) == ("A wide picture, mostly blue.", True)


def test_each_picture_of_the_chunks_counts_once() -> None:
    chunks = [
        {"segments": Document.of("a", Segment(image=image), Segment(image="2" * 64)).to_rows()}
        for image in ("1" * 64, "0" * 64)
    ]
    assert pictures_of(chunks) == ["0" * 64, "1" * 64, "2" * 64]


def test_a_caption_makes_a_picture_findable_by_words_in_queries_and_in_candidates() -> None:
    captions = {"1" * 64: "A red lighthouse.", "2" * 64: "A green tractor."}
    candidates = {
        "red": Document.of(Segment(image="1" * 64)),
        "green": Document.of("On the farm", Segment(image="2" * 64)),
        "uncaptioned": Document.of(Segment(image="3" * 64)),
    }
    queries = [Document.of("a tractor"), Document.of(Segment(image="1" * 64)), Document.of(Segment(image="3" * 64))]
    words = Bm25Retriever().rank(queries, candidates, top_k=3)[0]
    assert [ranking[:1] for ranking in words] == [[], [], []]
    found = CaptionedRetriever("bm25+captions", Bm25Retriever(), captions).rank(queries, candidates, top_k=3)[0]
    assert [[name for name, _ in ranking][:1] for ranking in found] == [["green"], ["red"], []]
