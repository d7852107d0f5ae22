"""Work on files from an event loop: at once where they lie on this machine, in a thread where they are far."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from fsspec.implementations.local import LocalFileSystem

Result = TypeVar("Result")


def is_near(file_system: Any) -> bool:
    """True for the file systems of this machine, whose files are read faster than a thread is woken."""
    return isinstance(file_system, LocalFileSystem)


async def at_hand(is_near: bool, work: Callable[..., Result], *arguments: Any) -> Result:
    """What the work comes to; other tasks go on meanwhile if it has to wait for a network."""
    return work(*arguments) if is_near else await asyncio.to_thread(work, *arguments)
