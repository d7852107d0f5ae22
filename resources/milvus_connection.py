"""Opening Milvus and giving it back: a server by its address, or Milvus Lite by its path, which one process holds at a time."""

import logging
import os
import threading
from collections import Counter
from typing import TYPE_CHECKING

from training_kernels.errors import IndexUnavailable

if TYPE_CHECKING:
    from pymilvus import MilvusClient

CONNECT_SECONDS = 10.0

_holders: Counter[str] = Counter()
_holders_lock = threading.Lock()
"""How many open indexes of this process share a Milvus Lite path: the last one to close releases it."""


class _FailureOfLite(logging.Filter):
    """Keeps why Milvus Lite did not start: it logs the exception and hands its caller none."""

    reason: BaseException | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info:
            self.reason = record.exc_info[1]
            return False
        return True


def _is_worth_saying(record: logging.LogRecord) -> bool:
    """False for Milvus Lite's complaint about a call that it does not offer: the client asks, and does without."""
    return not (record.exc_info and isinstance(record.exc_info[1], NotImplementedError))


logging.getLogger("grpc._server").addFilter(_is_worth_saying)


def open_lite(path: str) -> "MilvusClient":
    """A client of the Milvus Lite at `path`, which is now held by this process. Raises IndexUnavailable."""
    from milvus_lite.exceptions import DataDirLockedError
    from pymilvus import MilvusClient
    from pymilvus.exceptions import MilvusException

    os.makedirs(os.path.dirname(path), exist_ok=True)
    failure = _FailureOfLite()
    log = logging.getLogger("milvus_lite.server_manager")
    with _holders_lock:
        log.addFilter(failure)
        try:
            client = MilvusClient(path)
        except MilvusException as error:
            if isinstance(failure.reason, DataDirLockedError):
                raise IndexUnavailable(
                    f"{path} is held by another process, and Milvus Lite serves one at a time; wait for that process "
                    "or end it, or run a Milvus server and give its http address"
                ) from error
            raise IndexUnavailable(
                f"Milvus Lite cannot open {path}: {failure.reason or error}; repair or remove it, then materialize final_index"
            ) from error
        finally:
            log.removeFilter(failure)
        _holders[path] += 1
    return client


def open_server(uri: str, token: str) -> "MilvusClient":
    """A client of the Milvus at `uri`. Raises IndexUnavailable if none answers."""
    from pymilvus import MilvusClient
    from pymilvus.exceptions import MilvusException

    try:
        return MilvusClient(uri, token=token, timeout=CONNECT_SECONDS)
    except MilvusException as error:
        raise IndexUnavailable(
            f"no Milvus answers at {uri}: {error.message}; start it or correct the address"
        ) from error


def release_lite(path: str) -> None:
    """Give a Milvus Lite path back once nobody in this process uses it; closing a client alone keeps the lock."""
    from milvus_lite.server_manager import server_manager_instance

    with _holders_lock:
        _holders[path] -= 1
        if _holders[path] == 0:
            server_manager_instance.release_server(path)
