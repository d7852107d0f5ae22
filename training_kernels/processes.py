"""Processes that end with the one that started them, so that a killed run leaves nobody training into its folder."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""Source: linux/prctl.h."""


def die_with_parent() -> None:
    """Asks the kernel to kill this process when the thread that started it ends; nothing on systems other than Linux."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the kernel was asked
        os.kill(os.getpid(), signal.SIGKILL)
