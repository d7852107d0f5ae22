"""The promoted checkpoint: whoever sets it holds its lock, and knows what it was until then."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from resources.home import Home
from training_kernels.errors import CheckpointMoved

PROMOTED = "promoted_checkpoint"


@contextmanager
def promotion(home: Home, *, log: Callable[[str], None]) -> Iterator[None]:
    """Hold the promoted checkpoint against all others who set it, here and on other hosts; waits for them, and says so."""
    with ExitStack() as stack:
        stack.enter_context(home.alone("promotion", log=log))
        require_held = stack.enter_context(home.held("promotion", log=log))
        yield
        require_held()


def require_promoted(home: Home, version: str | None, *, doing: str, then: str) -> None:
    """Raise CheckpointMoved if another checkpoint has been promoted since this work began.

    Args:
        version: data version of what was promoted then; None for nothing.
        doing: what was at work meanwhile.
        then: what to do now.
    """
    commit = home.artifacts.commit(PROMOTED)
    now = commit.data_version if commit else None
    if now != version:
        raise CheckpointMoved(
            f"{PROMOTED} became {now or 'nothing'} while {doing}, which is about {version or 'nothing'}; what is live stays "
            f"as it is: {then}"
        )
