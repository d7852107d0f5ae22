"""A caption of each picture of the corpus, by the teacher: one call a picture, however many chunks show it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from nyx_assets.prompts import load_prompt
from nyx_assets.rag.drawing import draw_by_hash
from nyx_assets.recipes import CaptionRecipe
from resources.images import ImageStore
from resources.picture_words import in_words
from resources.vlm import VLM, Message, Reply, Request, Sampling, complete_all
from training_kernels.documents import Document, Segment
from training_kernels.errors import VLMError

NOT_DRAWN = "over the most pictures that a crawl partition has captioned"


def pictures_of(chunks: Iterable[Mapping[str, Any]]) -> list[str]:
    """SHA-256 of every picture of the chunks, each once, in order."""
    return sorted({image for chunk in chunks for image in Document.from_rows(chunk["segments"]).images})


def drawn_pictures(images: Sequence[str], *, recipe: CaptionRecipe, seed: int) -> list[str]:
    """Those that are captioned, at most so many as the recipe says, drawn by hash."""
    return draw_by_hash(images, limit=recipe.max_pictures_per_crawl, seed=seed)


def caption_request(image: str, *, recipe: CaptionRecipe, seed: int) -> Request:
    """The call for one picture."""
    prompt = load_prompt("nyx_assets.captions", "caption.v1")
    return Request(
        messages=(
            Message("system", Document.of(prompt.text)),
            Message("user", Document((Segment(image=image),))),
        ),
        sampling=Sampling(temperature=0.0, max_output_tokens=recipe.max_output_tokens, seed=seed),
        prompt_version=prompt.version,
    )


def captioned(
    images: Sequence[str], vlm: VLM, store: ImageStore, *, recipe: CaptionRecipe, seed: int
) -> Iterator[dict[str, Any]]:
    """A row of CHUNK_CAPTIONS for each picture, in their order; one that was not drawn or was refused has a reason.

    The stand-in reads no picture; where it plays the teacher, a rule names format and colours, and the row says so.
    """
    drawn = set(drawn_pictures(images, recipe=recipe, seed=seed))
    asked = [image for image in images if image in drawn]
    replies: Iterator[Reply | VLMError | str]
    if vlm.is_stand_in:
        replies = (in_words(store.open(image)) for image in asked)
    else:
        replies = complete_all(vlm, (caption_request(image, recipe=recipe, seed=seed) for image in asked))
    for image in images:
        yield _row(image, next(replies) if image in drawn else NOT_DRAWN, vlm, is_drawn=image in drawn)


def _row(image: str, reply: Reply | VLMError | str, vlm: VLM, *, is_drawn: bool) -> dict[str, Any]:
    caption, reason = None, None
    if isinstance(reply, VLMError) or not is_drawn:
        reason = str(reply)
    else:
        caption = " ".join((reply if isinstance(reply, str) else reply.text).split())
        reason = None if caption else "the caption is empty"
    paid = reply if isinstance(reply, Reply) else None
    return {
        "image": image,
        "caption": caption or None,
        "reason": reason,
        "captioner": vlm.model,
        "is_stand_in": vlm.is_stand_in,
        "input_tokens": paid.input_tokens if paid else 0,
        "output_tokens": paid.output_tokens if paid else 0,
        "cost_usd": paid.cost_usd if paid else 0.0,
    }
