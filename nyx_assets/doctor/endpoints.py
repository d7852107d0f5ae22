"""Does each configured server answer? A real tiny request to each, through the same courier, caps and ledger as any other."""

import asyncio
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from PIL import Image

from nyx_assets.doctor.findings import Finding, bad, good, note, one_line
from resources.embedder_endpoint import EndpointEmbedder
from resources.endpoint_client import Endpoint
from resources.home import Home
from resources.images import FolderImageStore, PictureLimits
from resources.settings import ROLES, Role, Settings
from resources.vlm import Message, Request, Sampling
from resources.vlm_budget import Spending
from resources.vlm_openai import OpenAIVLM
from resources.vlm_roles import VLMRole
from training_kernels.documents import Document, Segment
from training_kernels.errors import NyxError
from training_kernels.images import PictureFolder

MOST_SECONDS = 30.0
"""Choice: a server that is up answers one word in a second; a model that is being loaded is worth a word of its own."""
ASKED_AS = "doctor"
"""The asset that the calls go under in the ledger."""
PICTURE_SIDE_PIXELS = 112


def hurried(endpoint: Endpoint) -> Endpoint:
    """The endpoint with one attempt and a short time: the doctor reports what a run would sit out."""
    return replace(endpoint, max_retries=0, timeout_seconds=min(endpoint.timeout_seconds, MOST_SECONDS))


def hurried_settings(settings: Settings) -> Settings:
    """Settings whose endpoints are hurried."""
    return replace(
        settings,
        endpoints={role: hurried(endpoint) for role, endpoint in settings.endpoints.items()},
        embedder=None if settings.embedder is None else hurried(settings.embedder),
    )


def request_to(role: Role, picture: str, moment: str) -> Request:
    """One question about a text and a picture. The moment makes it a new one, so that no kept reply answers it."""
    return Request(
        messages=(
            Message("system", Document.of("Task: answer from documents\n\nAnswer with one word.")),
            Message(
                "user",
                Document.of(
                    "Document 1:",
                    Segment(image=picture),
                    f"The harbour light that the {role} saw at {moment} is green.",
                    "Question:",
                    "What colour is the harbour light?",
                ),
            ),
        ),
        sampling=Sampling(temperature=0.0, max_output_tokens=16, seed=0),
        prompt_version="doctor.v1",
    )


def probe_picture(folder: Path, limits: PictureLimits) -> str:
    """A small picture in a picture store of its own; its digest."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize((PICTURE_SIDE_PIXELS, PICTURE_SIDE_PIXELS)).convert("RGB").save(file, "PNG")
    return FolderImageStore(str(folder)).put(file.getvalue(), limits=limits).digest


def most_spent(settings: Settings, pictures: Path, picture: str) -> Spending:
    """The most that asking every chat endpoint once may take; one call more for the embedder, of a few tokens."""
    most = Spending()
    if settings.is_replay:
        return most
    for role, endpoint in settings.endpoints.items():
        vlm = OpenAIVLM(endpoint, api_key="none", images=PictureFolder(str(pictures)))
        most += vlm.bound(request_to(role, picture, "a moment"))
    return most if settings.embedder is None else most + Spending(calls=1)


def examine_endpoints(
    settings: Settings, home: Home, pictures: Path, picture: str, *, moment: str, asks: bool
) -> Iterator[Finding]:
    """A finding for each role and for the embedder.

    Args:
        asks: False for saying what is configured only.
    """
    hurry = hurried_settings(settings)
    with_pictures = replace(home, images=FolderImageStore(str(pictures)))
    for role in ROLES:
        endpoint = hurry.endpoints.get(role)
        if endpoint is None:
            yield note(
                role,
                "the offline stand-in: rules, no model",
                f"set NYX_{role.upper()}_BASE_URL and _MODEL for a real one",
            )
        elif settings.is_replay:
            yield note(role, f"{endpoint.model}: NYX_VLM=replay answers from kept replies and asks nobody")
        elif not asks:
            yield note(role, f"{endpoint.model} at {endpoint.base_url}, not asked")
        else:
            yield _asked(role, endpoint, hurry, with_pictures, request_to(role, picture, moment))
    if hurry.embedder is not None:
        yield (
            _embedder_asked(hurry.embedder, hurry, home, moment)
            if asks and not settings.is_replay
            else note("embedder", f"{hurry.embedder.model} at {hurry.embedder.base_url}, not asked")
        )


def _asked(role: Role, endpoint: Endpoint, settings: Settings, home: Home, request: Request) -> Finding:
    vlm = VLMRole.of(role, settings, home)
    try:
        reply = asyncio.run(vlm.for_step(ASKED_AS, None).complete(request))
    except (NyxError, OSError) as error:
        return _refused(role, endpoint, error)
    finally:
        vlm.close()
    said = (
        f"{endpoint.model} at {endpoint.base_url} read a text and a picture and said {one_line(reply.text)[:40]!r} in "
        f"{reply.latency_seconds:.1f} s; {reply.input_tokens} tokens in, {reply.output_tokens} out, {reply.cost_usd:.6f} USD"
    )
    if reply.input_tokens == 0:
        return note(role, said, "the server counts no tokens: caps on tokens and money cannot hold")
    return good(role, said)


def _embedder_asked(endpoint: Endpoint, settings: Settings, home: Home, moment: str) -> Finding:
    embedder = EndpointEmbedder.of(settings, home, asset=ASKED_AS)
    try:
        rows = embedder.embed([Document.of(f"The harbour light at {moment} is green.")], side="query")
    except (NyxError, OSError) as error:
        return _refused("embedder", endpoint, error)
    return good("embedder", f"{endpoint.model} at {endpoint.base_url} answered with {rows.shape[1]} dims")


def _refused(who: str, endpoint: Endpoint, error: NyxError | OSError) -> Finding:
    prefix = f"NYX_{who.upper()}_"
    return bad(
        who,
        one_line(error)[:400],
        f"start the server or correct {prefix}BASE_URL ({endpoint.base_url}), {prefix}MODEL and {prefix}API_KEY",
    )
