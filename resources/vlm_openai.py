"""A VLM behind any OpenAI-compatible server: hosted, vLLM, SGLang, llama.cpp, or resources/vlm_server.py."""

import base64
import json
from functools import lru_cache
from typing import Any

from resources.endpoint_client import Endpoint, EndpointClient, Fault
from resources.file_work import at_hand, is_near
from resources.vlm import STAND_IN_MODEL, Message, Reply, Request
from resources.vlm_budget import Spending
from resources.vlm_tokens import most_input_tokens
from training_kernels.images import PictureFolder

REMEMBERED_PICTURES = 64
"""Choice: a page's pictures are shown in several requests, one soon after the other; this many take some 10 MB encoded."""

MEDIA_TYPE_BY_SUFFIX = {"jpg": "image/jpeg"}
"""Where a media type is not `image/<suffix>`."""


class OpenAIVLM:
    """Chat completions with interleaved pictures, sent as data URLs of the stored files' own bytes."""

    def __init__(self, endpoint: Endpoint, *, api_key: str, images: PictureFolder) -> None:
        self.endpoint = endpoint
        self._client = EndpointClient(endpoint, api_key=api_key)
        self._images = images
        self._bodies = lru_cache(maxsize=2 * endpoint.max_in_flight)(self.body)
        self._data_urls = lru_cache(maxsize=REMEMBERED_PICTURES)(self._data_url)

    def __repr__(self) -> str:
        return f"OpenAIVLM({self.endpoint.model!r} at {self.endpoint.base_url!r})"

    @property
    def model(self) -> str:
        return self.endpoint.model

    @property
    def is_stand_in(self) -> bool:
        return self.model == STAND_IN_MODEL

    @property
    def max_in_flight(self) -> int:
        return self.endpoint.max_in_flight

    def bound(self, request: Request) -> Spending:
        """The most that one call may take: a token a byte, pictures at full resolution, the longest reply allowed.

        What is asked about is sent soon: its body is prepared here, while the call waits for its place.
        """
        self._bodies(request)
        input_tokens = most_input_tokens(request, self._images)
        output_tokens = request.sampling.max_output_tokens
        return Spending(
            calls=1,
            tokens=input_tokens + output_tokens,
            usd=self.endpoint.cost_usd(input_tokens, output_tokens),
        )

    def stop_retrying(self) -> None:
        """From now on an attempt that fails is a refusal, and pauses end at once."""
        self._client.stop_retrying()

    async def complete(self, request: Request) -> Reply:
        digest = request.digest(self.model)
        body = await at_hand(is_near(self._images.fs), self._bodies, request)
        answer, latency_seconds = await self._client.post("/chat/completions", body, check_answer, digest=digest)
        return self._reply(answer, digest, latency_seconds)

    def body(self, request: Request) -> bytes:
        """What is posted: a chat completion's JSON."""
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": message.role, "content": self._content(message)} for message in request.messages],
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_output_tokens,
            "seed": sampling.seed,
        }
        if sampling.json_schema is not None:
            schema = json.loads(sampling.json_schema)
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "reply", "schema": schema, "strict": True},
            }
        return json.dumps(body, separators=(",", ":")).encode()

    def _content(self, message: Message) -> str | list[dict[str, Any]]:
        """Parts in reading order; a plain string where there is one text only, which every server takes for a system."""
        segments = message.content.segments
        if len(segments) == 1 and segments[0].text is not None:
            return segments[0].text
        return [
            {"type": "text", "text": segment.text}
            if segment.image is None
            else {"type": "image_url", "image_url": {"url": self._data_urls(segment.image)}}
            for segment in segments
        ]

    def _data_url(self, image: str) -> str:
        path = self._images.path(image)
        suffix = path.rsplit(".", 1)[-1]
        media_type = MEDIA_TYPE_BY_SUFFIX.get(suffix, f"image/{suffix}")
        return f"data:{media_type};base64,{base64.b64encode(self._images.fs.cat_file(path)).decode()}"

    def _reply(self, answer: dict[str, Any], digest: str, latency_seconds: float) -> Reply:
        choice, usage = answer["choices"][0], answer.get("usage") or {}
        input_tokens, output_tokens = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
        return Reply(
            text=choice["message"]["content"],
            model=self.model,
            request_digest=digest,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cost_usd=self.endpoint.cost_usd(input_tokens, output_tokens),
            latency_seconds=latency_seconds,
            finish_reason=choice.get("finish_reason") or "stop",
            is_stand_in=STAND_IN_MODEL in (self.model, answer.get("model")),
        )


def check_answer(answer: Any) -> None:
    """Raises Fault for JSON that is no chat completion that carries a text."""
    try:
        message = answer["choices"][0]["message"]
        content, refusal = message.get("content"), message.get("refusal")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise Fault(f"status 200 without choices[0].message: {str(answer)[:80]!r}", is_transient=True) from None
    if not isinstance(content, str):
        raise Fault(f"the model declined: {refusal or 'no content'}", is_transient=False)
