"""Replay: only replies that are in the cache, and an error that names the request for any other."""

from resources.vlm import STAND_IN_MODEL, Reply, Request
from resources.vlm_replies import ReplyFolder
from training_kernels.errors import ReplyMissing

REQUEST_TEXT_SHOWN = 160


class ReplayVLM:
    """The replies that a model once gave, from the folder where they are kept; it opens no connection."""

    def __init__(self, model: str, replies: ReplyFolder, *, max_in_flight: int) -> None:
        self.model = model
        self.max_in_flight = max_in_flight
        self._replies = replies

    @property
    def is_stand_in(self) -> bool:
        return self.model == STAND_IN_MODEL

    async def complete(self, request: Request) -> Reply:
        """The kept reply. Raises ReplyMissing."""
        digest = request.digest(self.model)
        reply = self._replies.peek(digest)
        if reply is None:
            said = request.messages[-1].content.text[-REQUEST_TEXT_SHOWN:]
            raise ReplyMissing(
                f"replay has no reply of {self.model} to request {digest} (prompt {request.prompt_version}, ends "
                f"{said!r}) in {self._replies.root}; unset NYX_VLM to ask the server"
            )
        return reply.from_cache()
